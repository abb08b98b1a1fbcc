"""Runs that came to their end: left alone, and tidied up where a process was killed right after it."""

from __future__ import annotations

from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.files import remove_partial
from dxa_monai.runs.state_files import remove_states

FINISHED = "finished.json"
"""In the folder of a run: what lies there is whole."""


def refuse_finished(folder: str | Path) -> None:
    """Raise InputError if the folder holds a finished run, which is left alone."""
    if (Path(folder) / FINISHED).exists():
        raise InputError(
            f"{folder}: expected a folder without a finished run, got one with {FINISHED}; choose another."
        )


def tidy_finished(folder: str | Path) -> bool:
    """Whether a folder holds a finished run; what a process that was killed at its very end left there is deleted."""
    if not (Path(folder) / FINISHED).exists():
        return False
    tidy_abandoned(folder)
    return True


def tidy_abandoned(folder: str | Path) -> None:
    """Delete what processes that were killed left in the folder of a run that nobody will go on with."""
    remove_states(folder)
    remove_partial(folder)


def leave_if_finished(folder: str | Path) -> None:
    """End the command, with 0 and a line, if the run that it is to resume is finished: nothing is left to be done.

    So a scheduler can give the same command with ``--resume True`` again and again.

    Raises:
        SystemExit: with 0.
    """
    if tidy_finished(folder):
        print(f"{folder}: this run is finished; nothing is left to resume")
        raise SystemExit(0)
