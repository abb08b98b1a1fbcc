"""Commands that are killed at one of their renames, each in a forked process that ends at once, tidying nothing up."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import torch

from dxa_monai.runs.ownership import LOCK_NAME

Command = Callable[..., Any]
_KILLED, _FINISHED = 77, 0
_PATIENCE_S = 120.0


def killed_at(moment: int, command: Command, *arguments: Any) -> bool:
    """Run a command and end its process before (even moments) or after (odd ones) a rename; False: it ended itself."""

    def kill(now: int) -> None:
        if now == moment:
            os._exit(_KILLED)

    return _exit_code(kill, command, *arguments) == _KILLED


def run_apart(command: Command, *arguments: Any) -> None:
    """Run a command in a process of its own, to its end."""
    assert _exit_code(lambda _: None, command, *arguments) == _FINISHED


def kept_at_every_rename(folder: Path, shelf: Path, command: Command, *arguments: Any) -> list[Path]:
    """Run a command; copies of a folder before and after each of its renames, as a kill at that moment would leave it.

    In half the time that it takes to kill the command at each.
    """
    assert _exit_code(lambda now: shutil.copytree(folder, shelf / f"{now:04d}"), command, *arguments) == _FINISHED
    return sorted(shelf.iterdir())


def files_in(folder: Path) -> dict[str, bytes]:
    """What a command has left below a folder, but for the locks, which nobody holds any more."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != LOCK_NAME
    }


def _exit_code(at_rename: Callable[[int], Any], command: Command, *arguments: Any) -> int | None:
    """Of a forked process that runs the command and is asked at each moment, counted from 0."""
    process = multiprocessing.get_context("fork").Process(target=_run, args=(at_rename, command, *arguments))
    process.start()
    process.join(_PATIENCE_S)
    assert process.exitcode in (_KILLED, _FINISHED)
    return process.exitcode


def _run(at_rename: Callable[[int], Any], command: Command, *arguments: Any) -> None:
    replace, moments = os.replace, count()

    def watched(source: Any, target: Any, **others: Any) -> None:
        at_rename(next(moments))
        replace(source, target, **others)
        at_rename(next(moments))

    gc.freeze()  # what the parent had is no garbage of the command's, and looking through it takes longer than that
    os.replace = watched
    torch.set_num_threads(1)
    command(*arguments)
    os._exit(_FINISHED)
