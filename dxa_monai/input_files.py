"""Files from outside: opened in one way, whatever they are, so that no reader waits for a pipe or fills the memory.

What is opened is a regular file of at most so many bytes, read once. What a parser then makes of the bytes has a budget
of its own: JSON of so many values here, images and meshes in :mod:`dxa_monai.scan.limits` and
:mod:`dxa_monai.mesh.limits`.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from dxa_monai.errors import InputError, shown

MAX_JSON_BYTES = 2_000_000
"""Of a JSON file that people edit: a hundred times a full set of landmarks."""
MAX_JSON_VALUES = 200_000
"""Python takes up to a hundred bytes for each."""

MAX_RECORD_BYTES = 100_000_000
"""Of a JSON file that a command writes: what it knows of some hundred thousand scans."""
MAX_RECORD_VALUES = 5_000_000

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_input(path: str | os.PathLike[str], most_bytes: int | None, expected: str, advice: str = "") -> BinaryIO:
    """Open a regular file for reading; what is none (a pipe, a device) is told and not waited for.

    Args:
        path: the file; a link to one is followed.
        most_bytes: largest file; None: any.
        expected: what should be there, for the sentence, such as "a scan file".
        advice: added to the sentence about a file that is too large.

    Raises:
        InputError: there is none, it is something else, it is too large, or it cannot be opened.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)), "rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        got = "a link to nothing" if os.path.islink(path) else "no such file"
        raise InputError(f"{path}: expected {expected}, got {got}.") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected {expected}, got a folder.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: expected {expected} that can be read, got '{reason}'.") from error
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        file.close()
        raise InputError(
            f"{path}: expected {expected}, got {_KINDS.get(stat.S_IFMT(about.st_mode), 'no regular file')}."
        )
    if most_bytes is not None and about.st_size > most_bytes:
        file.close()
        raise InputError(
            f"{path}: expected {expected} of at most {most_bytes / 1e6:g} MB, got {about.st_size / 1e6:g} MB{advice}."
        )
    return file


def read_input(path: str | os.PathLike[str], most_bytes: int, expected: str, advice: str = "") -> bytes:
    """The bytes of a regular file of at most ``most_bytes``; arguments and errors are those of :func:`open_input`."""
    with open_input(path, most_bytes, expected, advice) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            content = file.read(size + 1)
        except OSError as error:
            raise InputError(f"{path}: expected {expected} that can be read, got '{error.strerror}'.") from error
    if len(content) > size:
        raise InputError(f"{path}: expected {expected}, got one that somebody is writing.")
    return content


def read_json(path: str | os.PathLike[str], expected: str = "a JSON file", unique: bool = False) -> Any:
    """What a JSON file of at most ``MAX_JSON_BYTES`` holds; UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        expected: what should be there, for the sentence.
        unique: whether a name that an object has twice is refused; else the last one counts, as JSON readers do.

    Raises:
        InputError: see :func:`read_input` and :func:`parse_json`.
    """
    return parse_json(read_input(path, MAX_JSON_BYTES, expected), path, unique)


def read_object(path: str | os.PathLike[str], expected: str) -> dict[str, Any]:
    """The JSON object that a command has written, in a folder that may since have come from anywhere.

    Args:
        path: the file, of at most ``MAX_RECORD_BYTES``.
        expected: what should be there, for the sentence.

    Raises:
        InputError: see :func:`read_input`; or it is no JSON object in UTF-8, or one of too many values.
    """
    content = read_input(path, MAX_RECORD_BYTES, expected)
    values = _most_values(content)
    if values > MAX_RECORD_VALUES:
        raise InputError(f"{path}: expected {expected} of at most {MAX_RECORD_VALUES} values, got {values}.")
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected {expected}, got '{error}'.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected {expected}, got another content.")
    return found


def read_keys(
    path: str | os.PathLike[str], keys: Sequence[str], version: int, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON object of a file that people edit, which has exactly ``keys``, among them ``version``.

    Args:
        path: the file.
        keys: that it must have.
        version: of the form, to be stated in the file.
        optional: further keys that it may have.

    Raises:
        InputError: unreadable, not JSON, a name twice, another version, keys missing or unknown.
    """
    content = read_json(path, unique=True)
    if not isinstance(content, dict) or not set(keys) <= set(content) <= {*keys, *optional}:
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        may = f" (and perhaps {', '.join(optional)})" if optional else ""
        raise InputError(f"{path}: expected a JSON object with the keys {', '.join(keys)}{may}, got {shown(got)}.")
    if content["version"] != version or isinstance(content["version"], bool):
        raise InputError(f"{path}: expected version {version}, got {shown(content['version'])}.")
    return content


def parse_json(content: bytes, path: str | os.PathLike[str], unique: bool = False) -> Any:
    """The value of JSON text that holds at most ``MAX_JSON_VALUES`` values; ``path`` is for the sentence.

    Raises:
        InputError: no JSON text in UTF-8, too many values, nested too deeply, or (``unique``) a name twice.
    """
    values = _most_values(content)
    if values > MAX_JSON_VALUES:
        raise InputError(f"{path}: expected JSON of at most {MAX_JSON_VALUES} values, got {values}.")
    pairs_hook = (lambda pairs: _without_repeats(pairs, path)) if unique else None
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=pairs_hook)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of thousands of digits, too deep
        raise InputError(f"{path}: expected JSON text, got '{error}'.") from error


def files_below(folder: Path, endings: Sequence[str]) -> tuple[list[Path], dict[str, int]]:
    """The files of a folder and its subfolders that have one of the endings, by path, and what else lies there.

    Hidden files and folders are left out. A link to a folder is refused: followed it may lead in circles or out of the
    data, passed over its files would be missing without a word.

    Args:
        folder: to look in.
        endings: in lower case.

    Returns:
        The files, and the number of other files by their ending.

    Raises:
        InputError: a link to a folder or to nothing, or a folder that cannot be read.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: expected a folder that can be read, got '{error.strerror}'.") from error

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                raise InputError(
                    f"{os.path.join(place, name)}: expected a folder, got a link to one; "
                    "give the folder that it leads to, or list its files in a manifest."
                )
        for name in (name for name in names if not name.startswith(".")):
            path = Path(place, name)
            if not name.lower().endswith(tuple(endings)):
                others[path.suffix.lower() or name] += 1
            elif path.is_symlink() and not path.exists():
                raise InputError(f"{path}: expected a file, got a link to nothing.")
            else:
                found.append(path)
    return sorted(found), dict(sorted(others.items()))


def _most_values(content: bytes) -> int:
    """How many values JSON text can hold."""
    return sum(content.count(mark) for mark in (b",", b"[", b"{"))


def _without_repeats(pairs: list[tuple[str, Any]], path: str | os.PathLike[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError(f"{path}: expected every name once, got {repr(name)[:80]} twice.")
        found[name] = value
    return found
