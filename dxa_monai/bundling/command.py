"""What every command begins with: a user's mistake ends in one sentence, also an id of an earlier version."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

from dxa_monai.bundling.callers import caller_of_type
from dxa_monai.bundling.command_line import settle_options
from dxa_monai.bundling.known_ids import refuse_renamed_ids
from dxa_monai.bundling.versions import version_remark
from dxa_monai.errors import InputError, describe_user_error


def begin_command(metadata: Mapping[str, Any] | None = None) -> None:
    """Let the running command end with one sentence on stderr where a user made a mistake; it exits with 1.

    To be called first in the ``initialize`` of a config. MONAI wraps what a config component raises, so the whole chain
    of causes is searched for a user's error; any other one keeps its traceback. A library that imports ``dxa_monai`` is
    left alone.

    Args:
        metadata: of the bundle whose command runs (``@_meta_`` in a config): a ``dxa_monai`` of another version than
            the bundle's is told on stderr, and the command goes on.

    Raises:
        InputError: the command was told what it does not know, or a value of another kind than the option's
            (:func:`dxa_monai.bundling.command_line.settle_options`); the config that calls this has an id of an
            earlier version, or an ``arm`` that an overlay beside the config makes, ``arm_{name}.json``, and another
            ``overlay``.
    """
    sys.excepthook = _print_sentence_or_traceback
    remark = version_remark(metadata) if metadata else None
    if remark is not None:
        print(f"warning: {remark}", file=sys.stderr)
    settle_options()
    config = running_config() or {}
    refuse_renamed_ids(config)
    workflow = caller_of_type(ConfigWorkflow)
    if workflow is not None and "overlay" in config:
        refuse_label_of_another_arm(config["arm"], config["overlay"], Path(workflow.config_root_path))


def refuse_label_of_another_arm(arm: str, overlay: str, folder: Path) -> None:
    """Raise InputError if the overlay that makes ``arm`` lies in ``folder`` and another one was read last."""
    path = folder / f"arm_{arm}.json"
    if arm != overlay and path.is_file():
        raise InputError(
            f"arm: expected the overlay {path} after train.json, which sets the loss of '{arm}', got the name alone, "
            f"which is a label, and the loss of '{overlay}'."
        )


def running_config() -> dict[str, Any] | None:
    """The config one of whose expressions calls this, directly or not; None if none does."""
    parser = caller_of_type(ConfigParser)
    return dict(parser.config) if parser is not None and isinstance(parser.config, dict) else None


def _print_sentence_or_traceback(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    sentence = "interrupted" if issubclass(kind, KeyboardInterrupt) else describe_user_error(error)
    if sentence is None:
        sys.__excepthook__(kind, error, traceback)
    else:
        print(f"error: {sentence}", file=sys.stderr)
