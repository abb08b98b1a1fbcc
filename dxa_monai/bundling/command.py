"""What every command begins with: a user's mistake ends in one sentence, also an id of an earlier version."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow

import dxa_monai
from dxa_monai.bundling.callers import caller_of_type
from dxa_monai.bundling.command_line import settle_options
from dxa_monai.bundling.known_ids import refuse_renamed_ids, value_at
from dxa_monai.bundling.versions import version_remark
from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.runs.finished import leave_if_finished
from dxa_monai.terminal import lasting_output, one_line_of_errors, printable

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
        InputError: the command was told what it does not know, or a value of another kind than the option's
            (:func:`dxa_monai.bundling.command_line.settle_options`); the config that calls this has an id of an
            earlier version, or an ``arm`` that an overlay beside the config makes, ``arm_{name}.json``, and another
            ``overlay``, or not the parts of that overlay.
        SystemExit: with 0, a training that is to be resumed is finished.
    """
    global _other_version
    lasting_output()
    one_line_of_errors()
    _quiet_readers()
    sys.excepthook = _print_sentence_or_traceback
    remark = version_remark(metadata) if metadata else None
    if remark is not None:
        print(f"warning: {remark}", file=sys.stderr)
    _other_version = remark if metadata and metadata.get("version") != dxa_monai.__version__ else None
    settle_options()
    config = running_config() or {}
    refuse_renamed_ids(config)
    parser = caller_of_type(ConfigParser)
    if parser is not None and config.get("resume") is True:
        leave_if_finished(parser.get_parsed_content("output_dir"))
    workflow = caller_of_type(ConfigWorkflow)
    if workflow is not None and "overlay" in config:
        folder = Path(workflow.config_root_path)
        refuse_label_of_another_arm(config["arm"], config["overlay"], folder)
        refuse_arm_without_its_parts(config, folder)


def _quiet_readers() -> None:
    """MONAI makes a reader of every kind for every ``LoadImage``, and tells of those whose libraries are not there."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "NvImgCodecPydicomReader: ")


def refuse_label_of_another_arm(arm: str, overlay: str, folder: Path) -> None:
    """Raise InputError if the overlay that makes ``arm`` lies in ``folder`` and another one was read last."""
    path = folder / f"arm_{arm}.json"
    if arm != overlay and path.is_file():
        raise InputError(
            f"arm: expected the overlay {path} after train.json, which sets the loss of '{arm}', got the name alone, "
            f"which is a label, and the loss of '{overlay}'."
        )


def refuse_arm_without_its_parts(config: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError if a config bears the name of an arm and lacks a part of it.

    The parts are what ``arm_{name}.json`` in ``folder`` has as components, as lists of them, or takes away with null: a
    preset that was read after it may have other ones. Numbers are the user's.
    """
    arm, path = config.get("arm"), folder / f"arm_{config.get('arm')}.json"
    if config.get("overlay") != arm or not path.is_file():
        return
    for name, wanted in ConfigParser.load_config_file(path).items():
        got = value_at(config, name)
        if not isinstance(wanted, (str, float, int)) and _kinds(got) != _kinds(wanted):
            raise InputError(
                f"{name}: expected {_kinds(wanted)} as {path} has it, which makes the arm '{arm}', got {_kinds(got)}; "
                "read that file after the preset, or give the arm another name."
            )


def running_config() -> dict[str, Any] | None:
    """The config one of whose expressions calls this, directly or not; None if none does."""
    parser = caller_of_type(ConfigParser)
    return dict(parser.config) if parser is not None and isinstance(parser.config, dict) else None


def _kinds(part: Any) -> str:
    """What a part of a config calls, in words."""
    if part is None or part == "$None":
        return "none"
    parts = part if isinstance(part, list) else [part]
    kinds = [_kind(each) for each in parts]
    return ", ".join(kinds) or "an empty list"


def _kind(part: Any) -> str:
    if not isinstance(part, Mapping):
        return repr(part)
    called = part.get("loss", part)  # of a term the loss
    named = str(called.get("_target_", "a part") if isinstance(called, Mapping) else called)
    keys = f" of {part['keys']}" if "keys" in part else ""
    return named.rpartition(".")[2] + keys


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
