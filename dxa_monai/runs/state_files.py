"""The state of a training on disk: the two newest, each whole."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, flush_to_disk, output_folder
from dxa_monai.input_files import open_input
from dxa_monai.networks.checkpoint import load_tensors, write_tensors

logger = logging.getLogger(__name__)

FOLDER = "resume"
"""Below the folder of a run."""
KEPT = 2
_SEAL = b"dxa_monai state, SHA-256 "
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
        _seal(temporary)
        _load_whole(temporary)
    flush_to_disk(folder)  # a renamed file survives a power cut only when its folder is on disk, too
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


def _seal(path: Path) -> None:
    """Put the SHA-256 of all bytes in front of them: a zip's own sums leave out its names, and torch reads none."""
    content = path.read_bytes()
    path.write_bytes(_SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _load_whole(path: Path) -> dict[str, Any]:
    """The content of a state file whose every byte is as it was written."""
    try:
        with open_input(path, None, "a state of a training") as file:
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: expected a whole state of a training, got '{error.strerror}'.") from error
    if content.startswith(b"PK"):
        raise InputError(f"{path}: expected a state of this version, got one of 0.7.0 or before; go on with that one.")
    seal, _, content = content.partition(b"\n")
    if seal != _SEAL + hashlib.sha256(content).hexdigest().encode():
        raise InputError(f"{path}: expected a whole state of a training, got bytes that its SHA-256 is not of.")
    state: dict[str, Any] = load_tensors(path, content=content)
    return state
