"""The folder of a training run: what was run, on whom, and whether it came to its end."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.bundle import ConfigParser

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.handlers.tracking_server import without_password
from dxa_monai.scan.splits import write_split

RECORD, CONFIG, FINISHED = "run.json", "config.json", "finished.json"


def begin_run(folder: str | Path, record: Mapping[str, Any], split: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write ``run.json`` (what is run), ``config.json`` (the whole config) and ``split.csv`` (on whom) before training.

    ``config.json`` is the config that calls this, overlays and command line merged; run again, it does the same.

    A folder whose run was interrupted is used again from the start; one that holds a finished run is left alone.

    Args:
        folder: of the run; made if need be.
        record: settings of the run, plain types.
        split: manifest rows by the name of their part, as :func:`dxa_monai.scan.splits.split_by_subject` gives them.

    Raises:
        InputError: the folder cannot be written to or holds a finished run.
    """
    if idist.get_rank() != 0:
        return
    path = output_folder(folder)
    if (path / FINISHED).exists():
        raise InputError(f"{path}: expected a folder without a finished run, got one with {FINISHED}; choose another.")
    with atomic_path(path / RECORD) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n")
    config = running_config()
    if config is not None:
        text = without_password(json.dumps(config, indent=2, default=str))
        with atomic_path(path / CONFIG) as temporary:
            temporary.write_text(text + "\n")
    write_split(split, path)


def running_config() -> dict[str, Any] | None:
    """The config one of whose expressions calls this, directly or not; None if none does.

    MONAI lets an expression name the entries of its config, not the config itself: its parser is found among the
    callers.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, ConfigParser):
            return dict(caller.config) if isinstance(caller.config, dict) else None
        frame = frame.f_back
    return None


def finish_run(folder: str | Path, **outcome: Any) -> None:
    """Write ``finished.json`` with the run's outcome (plain types): what lies in the folder is whole."""
    if idist.get_rank() != 0:
        return
    with atomic_path(Path(folder) / FINISHED) as temporary:
        temporary.write_text(json.dumps(outcome, indent=2) + "\n")
