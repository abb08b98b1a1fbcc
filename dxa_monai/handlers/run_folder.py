"""The folder of a training run: what was run, on whom, and whether it came to its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.scan.splits import write_split

RECORD, FINISHED = "run.json", "finished.json"


def begin_run(folder: str | Path, record: Mapping[str, Any], split: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write ``run.json`` (what is run) and ``split.csv`` (on whom) before training begins.

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
    write_split(split, path)


def finish_run(folder: str | Path, **outcome: Any) -> None:
    """Write ``finished.json`` with the run's outcome (plain types): what lies in the folder is whole."""
    if idist.get_rank() != 0:
        return
    with atomic_path(Path(folder) / FINISHED) as temporary:
        temporary.write_text(json.dumps(outcome, indent=2) + "\n")
