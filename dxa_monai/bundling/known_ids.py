"""Which ids a config has: a mistyped one would be added by MONAI and read by nobody."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pydoc import locate
from typing import Any

from monai.bundle import ConfigComponent, ConfigParser

from dxa_monai.bundling.options import OPTIONS
from dxa_monai.errors import InputError

_A_TERM = "the weight or the loss of a term (loss_def#terms#NAME#weight)"
RENAMED_IDS = {
    "perceptual_arm": "an overlay after train.json (configs/loss_dxa.json, configs/loss_dxa_masked.json)",
    "perceptual_loss": "a term (loss_def#terms#raw_perceptual, loss_def#terms#calibrated_perceptual)",
    "composition_loss": "a term (loss_def#terms#composition)",
    "reconstruction_loss": "loss_def, and warm_up_epochs and ramp_epochs",
    "latent_matching": "a term (loss_def#terms#latent)",
    "trunk": "initial_weights (random, imagenet or a checkpoint)",
    "loss_def#pixel_weight": _A_TERM,
    "loss_def#perceptual_weight": _A_TERM,
    "loss_def#composition_weight": _A_TERM,
    "loss_def#kl_weight": _A_TERM,
    "loss_def#latent_weight": _A_TERM,
    "loss_def#orthogonality_weight": _A_TERM,
    "loss_def#warm_up_epochs": "warm_up_epochs",
    "loss_def#ramp_epochs": "ramp_epochs",
    "loss_def#balance_gradients": "the terms' own setting (loss_def#terms#NAME#balanced)",
}
"""Ids of configs before 0.5.0, and what does it now."""
_CLOSED = ("train", "validate")
"""Parts of a training config that nothing reads as a whole: a new id in them has no meaning."""


def plain_id(name: str) -> str:
    """An id with ``#`` between its parts; MONAI takes ``::`` as well."""
    return name.replace("::", "#")


def refuse_renamed_ids(config: Mapping[str, Any]) -> None:
    """Raise InputError if a config has one of ``RENAMED_IDS``, which nothing would read."""
    for name, instead in RENAMED_IDS.items():
        if _has(config, name):
            raise InputError(f"{name}: expected {instead} in its place since 0.5.0, got the earlier id.")


def refuse_unknown_ids(config_files: Sequence[str], names: Iterable[str]) -> None:
    """Refuse what a config does not have: a mistyped setting would be ignored in silence.

    The last part of a nested id may be new where it can have a meaning, as an argument that the config leaves at its
    default has.

    Raises:
        InputError: a name leads nowhere (the nearest one is told), is no argument of what the config calls, or is that
            of an earlier version.
    """
    parser = ConfigParser()
    parser.read_config(list(config_files))
    refuse_unknown_ids_of(parser, names, str(config_files[0]))


def refuse_unknown_ids_of(parser: ConfigParser, names: Iterable[str], where: str) -> None:
    """The same for a config that was read.

    Args:
        parser: with the config.
        names: ids.
        where: the config's file, for the message.
    """
    for name in map(plain_id, names):
        parent, _, last = name.rpartition("#")
        if name not in parser:
            refuse_renamed_ids(_nested(name))
        if not (name in parser or (parent and _may_be_new(name, parent, parser.get(parent)))):
            raise InputError(
                f"{name}: expected a setting of {where}, got a name that is not there{_nearest(parser, name)}"
            )
        _refuse_unknown_argument(name, last, parser.get(parent) if parent else None)


def _may_be_new(name: str, parent: str, there: Any) -> bool:
    """Whether what stands at ``parent`` could read an id below it that no config names."""
    declared = any(other.startswith(f"{parent}#") for other in OPTIONS)
    if declared or (parent in _CLOSED and isinstance(there, dict)):
        return name in OPTIONS
    return isinstance(there, (dict, list))


def _nearest(parser: ConfigParser, name: str) -> str:
    """The known name that looks most like an unknown one, as the end of a sentence."""
    parts = name.split("#")
    while len(parts) > 1 and "#".join(parts[:-1]) not in parser:
        parts.pop()  # the first part that leads nowhere is the mistyped one
    parent = "#".join(parts[:-1])
    here: Any = parser.get(parent) if parent else parser.get()
    known = list(here) if isinstance(here, Mapping) else []
    if not parent:
        known = [each for each in known if each in OPTIONS or isinstance(here[each], Mapping)]
    found = difflib.get_close_matches(parts[-1], known, 1)
    return f"; did you mean {'#'.join([*parts[:-1], found[0]])}?" if found else "; --explain True lists all."


def _refuse_unknown_argument(name: str, argument: str, called: Any) -> None:
    """Raise InputError if a config calls something that has no such argument."""
    if not isinstance(called, dict) or argument in called or argument in ConfigComponent.non_arg_keys:
        return
    arguments = arguments_of(called)
    if arguments is not None and not any(each.name == argument or each.kind is each.VAR_KEYWORD for each in arguments):
        known = ", ".join(each.name for each in arguments)
        raise InputError(f"{name}: expected an argument of {called['_target_']} ({known}), got another name.")


def arguments_of(called: Mapping[str, Any]) -> list[inspect.Parameter] | None:
    """The parameters of what a component calls; None where nobody can tell."""
    if "_target_" not in called:
        return None
    target = ConfigComponent(config=called).resolve_module_name()
    target = locate(target) if isinstance(target, str) else target
    if not callable(target):
        return None  # whoever calls it says so
    try:
        return list(inspect.signature(target).parameters.values())
    except ValueError:  # built in, without a signature
        return None


def value_at(config: Any, name: str, default: Any = None) -> Any:
    """What a config has at a nested id; ``default`` where it has nothing."""
    for part in name.split("#"):
        if not isinstance(config, Mapping) or part not in config:
            return default
        config = config[part]
    return config


_NOTHING = object()


def _has(config: Any, name: str) -> bool:
    return value_at(config, name, _NOTHING) is not _NOTHING


def _nested(name: str) -> dict[str, Any]:
    first, _, rest = name.partition("#")
    return {first: _nested(rest) if rest else None}
