"""What every command begins with: a user's mistake ends in one sentence, also an id of an earlier version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

import dxa_monai
from dxa_monai.bundling.running import among_callers, running_config
from dxa_monai.bundling.versions import version_remark
from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.runs.finished import leave_if_finished
from dxa_monai.terminal import lasting_output, printable

_A_TERM = "the weight or the loss of a term (loss_def#terms#NAME#weight)"
RENAMED_IDS = {
    "perceptual_arm": "an overlay after train.json (configs/loss_dxa.json, configs/loss_dxa_masked.json)",
    "perceptual_loss": "a term (loss_def#terms#raw_perceptual, loss_def#terms#calibrated_perceptual)",
    "composition_loss": "a term (loss_def#terms#composition)",
    "reconstruction_loss": "loss_def, and warm_up_epochs and ramp_epochs",
    "latent_matching": "a term (loss_def#terms#latent)",
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
_other_version: str | None = None
"""What is to be said of versions, where an error of Python may come of them."""


def begin_command(metadata: Mapping[str, Any] | None = None) -> None:
    """Let the running command end with one sentence on stderr where a user made a mistake; it exits with 1.

    To be called first in the ``initialize`` of a config. MONAI wraps what a config component raises, so the whole chain
    of causes is searched for a user's error; any other one keeps its traceback. A library that imports ``dxa_monai`` is
    left alone.

    Args:
        metadata: of the bundle whose command runs (``@_meta_`` in a config): a ``dxa_monai`` of another version than
            the bundle's is told on stderr, and the command goes on; if it then fails for a reason of Python, that is
            told with the two versions.

    Raises:
        InputError: the config that calls this has an id of an earlier version, or an ``arm`` that an overlay beside the
            config makes, ``arm_{name}.json``, and another ``overlay``.
        SystemExit: with 0, a training that is to be resumed is finished.
    """
    global _other_version
    lasting_output()
    sys.excepthook = _print_sentence_or_traceback
    remark = version_remark(metadata) if metadata else None
    if remark is not None:
        print(f"warning: {remark}", file=sys.stderr)
    _other_version = remark if metadata and metadata.get("version") != dxa_monai.__version__ else None
    config = running_config() or {}
    refuse_renamed_ids(config)
    parser = among_callers(ConfigParser)
    if parser is not None and config.get("resume") is True:
        leave_if_finished(parser.get_parsed_content("output_dir"))
    workflow = among_callers(ConfigWorkflow)
    if workflow is not None and "overlay" in config:
        refuse_label_of_another_arm(config["arm"], config["overlay"], Path(workflow.config_root_path))


def refuse_renamed_ids(config: Mapping[str, Any]) -> None:
    """Raise InputError if a config has one of ``RENAMED_IDS``, which nothing would read."""
    for name, instead in RENAMED_IDS.items():
        if _has(config, name):
            raise InputError(f"{name}: expected {instead} in its place since 0.5.0, got the earlier id.")


def refuse_label_of_another_arm(arm: str, overlay: str, folder: Path) -> None:
    """Raise InputError if the overlay that makes ``arm`` lies in ``folder`` and another one was read last."""
    path = folder / f"arm_{arm}.json"
    if arm != overlay and path.is_file():
        raise InputError(
            f"arm: expected the overlay {path} after train.json, which sets the loss of '{arm}', got the name alone, "
            f"which is a label, and the loss of '{overlay}'."
        )


def _has(config: Any, name: str) -> bool:
    for part in name.split("#"):
        if not isinstance(config, Mapping) or part not in config:
            return False
        config = config[part]
    return True


def _first_cause(error: BaseException) -> BaseException:
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__ or error
    return error


def _print_sentence_or_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    sentence = "interrupted" if issubclass(kind, KeyboardInterrupt) else describe_user_error(error)
    if sentence is None and _other_version is not None and issubclass(kind, Exception):
        # a name that the other version does not have, an argument that it does not know
        cause = _first_cause(error)
        sentence = f"{_other_version} What came of it: {type(cause).__name__}, {(str(cause).splitlines() or [''])[0]}"
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"error: {printable(sentence)}", file=sys.stderr)
