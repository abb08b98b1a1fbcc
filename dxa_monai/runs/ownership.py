"""One folder, one owner: while a command writes into a folder, another one is refused.

A lock of the operating system (``flock``) on ``.in_use``: it is let go when the process ends, however it ends. The file
says who has it. It stays where it is, since another process may be waiting at it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder

logger = logging.getLogger(__name__)

LOCK_NAME = ".in_use"
_COMMAND_CHARACTERS = 120
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What the system says of a disk on which files cannot be locked."""
_SILENT_S, _UNTIL_IT_IS_FREE = 1.0, -1
_held: dict[Path, FileLock] = {}


def own_folder(folder: str | Path) -> Path:
    """Make a folder if need be and keep other processes from owning it, until this one lets go or ends.

    A process may own a folder as often as it likes: an analysis may be part of a prediction.

    Raises:
        InputError: another process has it (who, where and since when is told), or it cannot be written to.
    """
    folder = output_folder(folder)
    key = folder.resolve()
    try:
        _acquire(folder, key, 0)
    except Timeout:
        raise InputError(
            f"{folder}: expected a folder that no other command is writing, got one that {_owner(key / LOCK_NAME)}; "
            "wait for its end, or choose another output_dir."
        ) from None
    return folder


@contextmanager
def taking_turns(folder: str | Path) -> Iterator[Path]:
    """Own a folder that commands share, for a block: one that another process has is waited for, with a line.

    Raises:
        InputError: it cannot be written to.
    """
    folder = output_folder(folder)
    key = folder.resolve()
    with letting_go():
        try:
            _acquire(folder, key, _SILENT_S)
        except Timeout:
            logger.warning("%s: waits for this folder, which %s", folder, _owner(key / LOCK_NAME))
            _acquire(folder, key, _UNTIL_IT_IS_FREE)
        yield folder


def _acquire(folder: Path, key: Path, patience_s: float) -> None:
    """Lock a folder; Timeout if another process has it for longer than that."""
    if key in _held:
        return
    # no soft lock in its place: that would outlive a killed process
    lock = FileLock(key / LOCK_NAME, thread_local=False, fallback_to_soft=False, on_acquired=_sign)
    try:
        lock.acquire(timeout=patience_s)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _WITHOUT_LOCKS:
            raise
        logger.warning("%s: files cannot be locked here, so nothing keeps a second command away", folder)
        return
    _held[key] = lock


@contextmanager
def letting_go() -> Iterator[None]:
    """Let go, at the end of a block or of a function that this decorates, of the folders that became owned in it."""
    before = set(_held)
    try:
        yield
    finally:
        for key in _held.keys() - before:
            _let_go(key)


def let_go(folder: str | Path) -> None:
    """Let other processes have a folder; one that this process does not own is left alone."""
    _let_go(Path(folder).resolve())


def _let_go(key: Path) -> None:
    lock = _held.pop(key, None)
    if lock is not None:
        lock.release()


def _sign(descriptor: int) -> None:
    """Write into the lock's file who has it."""
    owner = {
        "pid": os.getpid(),
        "host": platform.node(),
        "since": time.time(),
        "command": shlex.join(sys.argv)[:_COMMAND_CHARACTERS],
    }
    with suppress(OSError):  # a file of another user can be locked without being written
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)


def _owner(path: Path) -> str:
    """Who has a lock, in words."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        owner = json.loads(path.read_text(encoding="utf-8"))
        age = _in_words(time.time() - owner["since"])
        return f"process {owner['pid']} on {owner['host']} has had for {age} ({owner['command']})"
    return "another process has"


def _in_words(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
