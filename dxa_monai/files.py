"""Output that is whole or not there, and paths that stay inside the folder they belong to."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dxa_monai.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says of a full disk, a used-up quota, a file over the process's limit."""
_STEM_CHARACTERS, _SUFFIX_CHARACTERS = 40, 20
_PARTIAL = re.compile(r"\..+\.[a-z0-9_]{8}\.partial(\.\w+){0,2}")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, with the same ending; rename it to ``path`` when the block succeeds.

    The file is flushed to disk before the rename, so that after a crash either the old or the new content is there.
    If the block raises, the temporary file is deleted and ``path`` is untouched.

    Raises:
        InputError: there is no room for the file (full disk, quota, limit of file size).
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        temporary = _temporary_beside(path)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise InputError(
            f"{path}: expected room to write it, got '{error.strerror}'; what was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_partial(*folders: str | Path) -> None:
    """Delete the temporary files of :func:`atomic_path` that killed processes left in folders, not those below.

    To be called when nobody writes there: the file that another process is writing would be deleted, too.
    """
    for folder in folders:
        for path in Path(folder).glob(".*.partial*"):
            if _PARTIAL.fullmatch(path.name):
                path.unlink(missing_ok=True)


def _temporary_beside(path: Path) -> Path:
    # a name as long as a file system takes leaves no room for more
    suffix = "".join(path.suffixes[-2:])
    suffix = suffix if len(suffix) <= _SUFFIX_CHARACTERS else path.suffix
    prefix = f".{path.stem[:_STEM_CHARACTERS]}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=f".partial{suffix}", dir=path.parent)
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
    except OSError as error:
        reason = error.strerror or type(error).__name__
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
