"""The state of a training on disk: the two newest, each whole."""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import open_input
from dxa_monai.networks.checkpoint import load_tensors, write_tensors

logger = logging.getLogger(__name__)

FOLDER = "resume"
"""Below the folder of a run."""
KEPT = 2
_NAME = re.compile(r"iteration_(\d+)\.pt")


def state_files(run_folder: str | Path) -> list[Path]:
    """The states of a run, the newest first."""
    folder = Path(run_folder) / FOLDER
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):  # none yet, or a run that ends has just forgotten them
        return []
    found = [(int(match[1]), folder / name) for name in names if (match := _NAME.fullmatch(name))]
    return [path for _, path in sorted(found, reverse=True)]


def write_state(run_folder: str | Path, iteration: int, state: dict[str, Any]) -> Path:
    """Write the state after an iteration; then forget all but the two newest.

    The file is written under another name, flushed to disk, read again and only then renamed: whenever the process or
    the machine stops, the state before is whole.

    Args:
        run_folder: of the run.
        iteration: of the training, counted from 1.
        state: tensors and plain types.

    Raises:
        InputError: it cannot be written, for example because the disk is full; the states before are untouched.
    """
    folder = output_folder(Path(run_folder) / FOLDER)
    path = folder / f"iteration_{iteration:09d}.pt"
    with atomic_path(path) as temporary:
        write_tensors(state, temporary)
        _load_whole(temporary)
    _flush_folder(folder)
    for old in state_files(run_folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def newest_state(run_folder: str | Path) -> dict[str, Any] | None:
    """The newest state that is whole, or None if the run has none yet.

    Raises:
        InputError: there are states, but none is whole.
    """
    files = state_files(run_folder)
    for path in files:
        try:
            return _load_whole(path)
        except InputError as error:
            logger.warning("%s; the state before it is taken", str(error).rstrip("."))
    if files:
        raise InputError(
            f"{files[0].parent}: expected a whole state of the interrupted training, got {len(files)} damaged; "
            "delete the folder to start again."
        )
    return None


def remove_states(run_folder: str | Path) -> None:
    """Forget the states of a run that has come to its end."""
    shutil.rmtree(Path(run_folder) / FOLDER, ignore_errors=True)


def _load_whole(path: Path) -> dict[str, Any]:
    """The content of a state file all of whose checksums are right; torch does not look at them."""
    try:
        with open_input(path, None, "a state of a training") as file, ZipFile(file) as archive:
            damaged = archive.testzip()
    except (BadZipFile, OSError, EOFError) as error:
        raise InputError(f"{path}: expected a whole state of a training, got '{error}'.") from error
    if damaged is not None:
        raise InputError(f"{path}: expected a whole state of a training, got damage in its part '{damaged}'.")
    content: dict[str, Any] = load_tensors(path)
    return content


def _flush_folder(folder: Path) -> None:
    """A renamed file survives a power cut only when its folder is on disk, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
