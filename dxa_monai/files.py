"""Output that is whole or not there, and paths that stay inside the folder they belong to."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dxa_monai.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)
"""What the system says of a full disk, a used-up quota, a file over the process's limit; NumPy says nothing."""
NOT_KNOWN_THERE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
"""What a disk or share says of what it has no idea of, such as permissions on a memory stick."""
_PARTIAL = re.compile(r"\..*\.[a-z0-9_]{8}\.partial(\..*)?", re.DOTALL)
_STEM_BYTES, _SUFFIX_BYTES = 60, 30
"""Of a file's name in that of its temporary file, which has to fit, too."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, with the same ending; rename it to ``path`` when the block succeeds.

    The file is flushed to disk before the rename, so that after a crash either the old or the new content is there.
    If the block raises, the temporary file is deleted and ``path`` is untouched.

    Raises:
        InputError: it cannot be written: no room (full disk, quota, limit of file size), no permission, too long a
            name, too many open files.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        temporary = _temporary_beside(path)
        yield temporary
        flush_to_disk(temporary)
        with suppress(PermissionError, NotImplementedError):  # a memory stick or a share has none to change
            os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        what = "room to write it" if error.errno in NO_ROOM else "to write it"
        raise InputError(
            f"{path}: expected {what}, got '{error.strerror or error}'; what was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """A file, or the names in a folder, are on disk when this returns, where the disk knows how to do that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NOT_KNOWN_THERE:
            raise
    finally:
        os.close(handle)


def remove_partial(*folders: str | Path) -> None:
    """Delete the temporary files of :func:`atomic_path` that killed processes left in folders, not those below.

    To be called when nobody writes there: the file that another process is writing would be deleted, too.
    """
    for folder in folders:
        for path in Path(folder).glob(".*.partial*"):
            if _PARTIAL.fullmatch(path.name) and path.is_file():
                remove_file(path)


def remove_file(path: Path) -> None:
    """Delete a file if it is there.

    Raises:
        InputError: it cannot be deleted.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be deleted, got '{error.strerror}'.") from error


def _temporary_beside(path: Path) -> Path:
    # a name as long as a file system takes leaves no room for more
    suffix = "".join(path.suffixes[-2:])
    suffix = next((each for each in (suffix, path.suffix) if len(os.fsencode(each)) <= _SUFFIX_BYTES), "")
    stem = os.fsdecode(os.fsencode(path.stem)[:_STEM_BYTES])
    try:
        handle, name = tempfile.mkstemp(prefix=f".{stem}.", suffix=f".partial{suffix}", dir=path.parent)
    except ValueError as error:
        raise InputError(f"{str(path)!a}: expected a name that a file can have, got '{error}'.") from error
    os.close(handle)
    return Path(name)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def output_folder(path: str | Path) -> Path:
    """Make ``path`` (and its parents) if need be and return it.

    Raises:
        InputError: it cannot be made, is not a folder, or cannot be written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"{folder}: expected a folder that can be written to, got '{reason}'.") from error
    return folder


def path_inside(folder: str | Path, relative: str | Path) -> Path:
    """``folder / relative``, refused if it would lie outside ``folder`` (absolute, ``..`` or through a link).

    Raises:
        InputError: the path leaves the folder.
    """
    root = Path(folder).resolve()
    joined = (root / relative).resolve()
    if not joined.is_relative_to(root):
        raise InputError(f"{relative}: expected a path inside {folder}, got one that leads to {joined}.")
    return joined
