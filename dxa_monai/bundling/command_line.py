"""What a user says to a command, checked before anything runs: known names, values of the declared kind.

MONAI adds an unknown name to the config, where nobody reads it, and takes a value for what it looks like. Here the raw
words of the command line, the values of a Python call and those of overlays are read by :data:`.options.OPTIONS`, and
the running config gets what they mean.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

import fire.core
from fire.inspectutils import GetFullArgSpec
from fire.parser import SeparateFlagArgs
from monai.bundle import ConfigParser, ConfigWorkflow, create_workflow, run
from monai.bundle.utils import DEFAULT_EXP_MGMT_SETTINGS

from dxa_monai.bundling.callers import arguments_of_caller, caller_of_type, runs_in
from dxa_monai.bundling.explain import explain
from dxa_monai.bundling.known_ids import arguments_of, plain_id, refuse_unknown_ids_of
from dxa_monai.bundling.option_kinds import Flag, Kind, MappingOf, PathTo, like
from dxa_monai.bundling.options import NONE, OPTIONS, Option
from dxa_monai.errors import InputError, shown

EXPLAIN = "explain"
_MONAIS = {
    *inspect.signature(run).parameters,
    *inspect.signature(create_workflow).parameters,
    *inspect.signature(ConfigWorkflow.__init__).parameters,
}
"""Names that MONAI's own functions take."""
_LANGUAGE = ("$", "@", "%")
"""How values begin that MONAI works out: an expression, a reference, part of a file."""


def settle_options() -> None:
    """Check what the running command was told, and let its config have the values that this means.

    To be called by an expression of the config. A workflow that was not made by MONAI's ``run`` or ``create_workflow``
    is left alone.

    Raises:
        InputError: an unknown name (the nearest one is told), or a value of another kind.
        SystemExit: the options were asked for (``--explain True``) and are printed.
    """
    workflow, call = caller_of_type(ConfigWorkflow), arguments_of_caller(create_workflow)
    if workflow is None or call is None:
        return
    given = {name: value for name, value in {**call["_args"], **call["kwargs"]}.items() if name not in _MONAIS}
    texts = _texts() if runs_in(fire.core.__name__) else {}
    files = ConfigParser()
    files.read_config(call["config_file"])
    where = str(call["config_file"] if isinstance(call["config_file"], str) else call["config_file"][0])
    if given.pop(EXPLAIN, False):
        explain(files, where)
        raise SystemExit(0)
    if workflow.run_id not in workflow.parser:
        raise InputError(
            f"run_id: expected an id of {where}, got '{workflow.run_id}'; a value with blanks needs quotes, and every "
            "option its name."
        )
    monais: Any = DEFAULT_EXP_MGMT_SETTINGS["mlflow"]["configs"] if call["_args"].get("tracking") else {}
    refuse_unknown_ids_of(with_other_targets(files, given), [name for name in given if name not in monais], where)
    said = {name: texts.get(name, value) if plain_id(name) in OPTIONS else value for name, value in given.items()}
    in_files = {name: files.get(name) for name in OPTIONS if name not in map(plain_id, given)}
    plain = {name: value for name, value in in_files.items() if value is not None and not _is_made(value)}
    # those of the files first: what is given may change a part of one
    for name, value in [*plain.items(), *said.items()]:
        settled = settled_value(name, value, files)
        if name not in monais and not (name in plain and settled == value):
            workflow.parser[name] = settled
    workflow.parser.parse(reset=True)
    for name in given:
        _check_what_monai_made(name, said[name], workflow.parser)


def with_other_targets(config: ConfigParser, given: Mapping[str, Any]) -> ConfigParser:
    """A copy of a config with the components, or what they call, that are given in place of its own."""
    changed = ConfigParser()
    changed.read_config(config.get())
    for name, value in given.items():
        parent = plain_id(name).rpartition("#")[0]
        replaces = name in changed and isinstance(value, Mapping) and "_target_" in value
        if replaces or (plain_id(name).endswith("#_target_") and isinstance(changed.get(parent), dict)):
            changed[name] = value
    return changed


def settled_value(name: str, given: Any, config: ConfigParser) -> Any:
    """What stands in a config for what a user gives.

    Args:
        name: id of the config.
        given: text of a command line or a value.
        config: the config as its files make it.

    Raises:
        InputError: it is of another kind than the option, or than what stands there.
    """
    present = config.get(plain_id(name))
    option = OPTIONS.get(plain_id(name))
    if option is None or _is_component(present):
        return _settled_argument(name, given, present, config)
    if _is_language(given) and given not in NONE and not isinstance(option.kind, PathTo):
        return given
    value = option.read(plain_id(name), given, nullable=present is None)
    return _literal(value, isinstance(option.kind, PathTo))


def _settled_argument(name: str, given: Any, present: Any, config: ConfigParser) -> Any:
    """The value of what no table declares: a flag or a number stays one."""
    if not isinstance(given, str) or _is_language(given):
        return given
    kind = like(present) if present is not None else _kind_of_argument(name, config)
    return given if kind is None else Option(kind, "", nullable=True).read(plain_id(name), given)


def _kind_of_argument(name: str, config: ConfigParser) -> Kind | None:
    """What an argument that the config does not set is by its default."""
    parent, _, last = plain_id(name).rpartition("#")
    called = config.get(parent) if parent else None
    found = (arguments_of(called) if isinstance(called, dict) else None) or []
    default = next((each.default for each in found if each.name == last), None)
    return Flag() if isinstance(default, bool) else None


def _check_what_monai_made(name: str, given: Any, config: ConfigParser) -> None:
    """An expression or a reference is judged by what it stands for."""
    option = OPTIONS.get(plain_id(name))
    if option is None or not _is_language(given) or given in NONE or isinstance(option.kind, (PathTo, MappingOf)):
        return
    try:
        value = config.get_parsed_content(name)
    except Exception as error:
        cause = error.__cause__ or error
        raise InputError(
            f"{name}: expected {option.kind.expected}, got {shown(given)}, which MONAI cannot work out "
            f"({type(cause).__name__}: {cause})."
        ) from None
    option.read(plain_id(name), value, nullable=True)


def _texts() -> dict[str, str]:
    """The words of the command line by option, as Fire tells them apart, before it guesses what they are."""
    words = SeparateFlagArgs(sys.argv[1:])[0]
    texts: dict[str, str] = fire.core._ParseKeywordArgs(words, GetFullArgSpec(run))[0]
    return texts


def _is_language(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(_LANGUAGE)


def _is_made(value: Any) -> bool:
    """Whether MONAI makes something else of what stands in a config."""
    return _is_component(value) or _is_language(value)


def _is_component(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _literal(value: Any, verbatim: bool) -> Any:
    """A value as MONAI has to see it to leave it as it is: it would take ``#`` for the separator of ids."""
    if isinstance(value, list):
        return [_literal(each, verbatim) for each in value]
    if isinstance(value, dict):
        return {name: _literal(each, verbatim) for name, each in value.items()}
    if not isinstance(value, str) or (_is_language(value) and not verbatim):
        return value
    if "#" not in value and not _is_language(value):
        return value
    return "$" + "".join(f"\\x{ord(each):02x}" if each in "#$@%" else each for each in repr(value))
