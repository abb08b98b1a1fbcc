"""What a file says of its size, held against a limit and against its bytes before any room is made for it.

A raw scan takes 0.2 MB. A header of a few bytes can announce terabytes, and a kilobyte can inflate to gigabytes: both
are refused here.
"""

from __future__ import annotations

import bz2
import io
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.input_files import read_input

MAX_SCAN_BYTES = 64_000_000
"""Of a scan's file and of what it holds when decompressed: hundreds of times a whole-body scan in float64."""

MAX_ARRAYS = 32
"""In an archive."""

_PIECE_BYTES = 1_000_000
_FED_BYTES = 65_536
_MOST_STREAMS = 10_000
"""One after another in a file: blocks of 64 kB that fill ``MAX_SCAN_BYTES``, ten times over."""


class _Decompressor(Protocol):
    """What :mod:`bz2` and the object below have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end, with the right checksum."""

    @property
    def needs_input(self) -> bool:
        """Whether all that was handed over has been used."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """The next ``max_length`` bytes or fewer."""


class _Zlib:
    """:func:`zlib.decompressobj` that keeps what it has not read yet, as :class:`bz2.BZ2Decompressor` does."""

    def __init__(self, window_bits: int) -> None:
        self._stream = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": lambda: _Zlib(31),
    "zlib": lambda: _Zlib(47),  # or gzip, as its first bytes say
    "bzip2": bz2.BZ2Decompressor,
}


def read_scan_bytes(path: Path) -> bytes:
    """The bytes of a scan's file of at most ``MAX_SCAN_BYTES``; decompressed if its name ends in ``.gz``.

    Raises:
        InputError: there is none, it is larger, or decompresses to more.
        EOFError, OSError, zlib.error: it is no whole gzip file.
    """
    content = read_input(path, MAX_SCAN_BYTES, "a scan file")
    return inflated(content, "gzip", path) if path.name.lower().endswith(".gz") else content


def inflated(content: bytes, method: str, path: Path, most_bytes: int = MAX_SCAN_BYTES) -> bytes:
    """Compressed bytes as they were; no more than ``most_bytes`` are made.

    Args:
        content: one stream after another, to the end.
        method: "gzip", "zlib" or "bzip2".
        path: for the sentence.
        most_bytes: limit.

    Raises:
        InputError: it decompresses to more.
        EOFError, OSError, zlib.error: it is cut off, damaged, or something else.
    """
    pieces: list[bytes] = []
    held = at = 0
    for _ in range(_MOST_STREAMS):
        stream = _DECOMPRESSORS[method]()
        while not stream.eof:
            # In pieces: room is made for all that is asked for, and a stream copies what it is handed and not used.
            data = content[at : at + _FED_BYTES] if stream.needs_input else b""
            at += len(data)
            piece = stream.decompress(data, _PIECE_BYTES)
            if not (piece or data or stream.eof):
                raise EOFError("compressed data ended before the end of the stream was reached")
            held += len(piece)
            if held > most_bytes:
                _check_bytes(path, held)
                raise InputError(f"{path}: expected {most_bytes} bytes when decompressed, got more.")
            pieces.append(piece)
        at -= len(stream.unused_data)
        # some programs pad the file
        if content[at : at + 1] in (b"", b"\0") and not content[at:].strip(b"\0"):
            return b"".join(pieces)
    raise InputError(f"{path}: expected compressed data of at most {_MOST_STREAMS} streams, got more.")


def read_npy(path: Path, file: BinaryIO, size: int) -> npt.NDArray[Any]:
    """The array of a ``.npy`` stream of ``size`` bytes; one that announces more than there is, or a pickle, is refused.

    Raises:
        InputError: it announces another size.
        ValueError: it is no ``.npy``.
    """
    begin = file.tell()
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later ones allow headers of gigabytes, for tables of named columns
        raise ValueError(f"version {version[0]}.{version[1]} of the format is not that of an image")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    held = size - (file.tell() - begin)
    if dtype.hasobject:
        raise ValueError("object arrays are pickles and are not opened (allow_pickle=False)")
    announced = math.prod(shape) * dtype.itemsize
    if announced != held or min((*shape, 0)) < 0:
        raise InputError(
            f"{path}: expected a whole {path.suffix} file, got an array announced with {announced} bytes, of {held}."
        )
    file.seek(begin)
    array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an ``.npz`` archive, which hold at most ``MAX_SCAN_BYTES``.

    Nothing is extracted to disk, so that names of members lead nowhere.

    Raises:
        InputError: it holds more, or an array announces another size than it has.
        ValueError, zipfile.BadZipFile, zlib.error: it is no archive of arrays, or damaged.
    """
    content = read_input(path, MAX_SCAN_BYTES, "a scan file")
    arrays, left = {}, MAX_SCAN_BYTES
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        raise InputError(f"{path}: expected an .npz archive of arrays, got a single array.")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) < len(names):
            raise InputError(f"{path}: expected arrays of different names, got two of one name.")
        if len(members) > MAX_ARRAYS:
            raise InputError(f"{path}: expected an archive of at most {MAX_ARRAYS} arrays, got {len(members)}.")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # others inflate a whole piece at once, however little is asked for
                raise InputError(f"{path}: expected arrays as NumPy writes them, got another compression.")
            # the directory may lie about sizes, too: no more is inflated than fits
            with archive.open(member) as stream:
                array = stream.read(left + 1)
            left -= len(array)
            _check_bytes(path, MAX_SCAN_BYTES - left)
            arrays[member.filename.removesuffix(".npy")] = read_npy(path, io.BytesIO(array), len(array))
    return arrays


def check_announced(path: Path, shape: tuple[int, ...], item_bytes: int, held: int | None = None) -> int:
    """The bytes that an image of this shape takes, if a scan can have as many and the file has them.

    Args:
        path: for the sentence.
        shape: as announced.
        item_bytes: of a value.
        held: bytes behind the header; None: they are compressed, or text.

    Raises:
        InputError: more than ``MAX_SCAN_BYTES``, sizes below 1, or another number of bytes than there are.
    """
    announced = math.prod(int(size) for size in shape) * item_bytes
    if min((*shape, 1)) < 1 or (held is not None and announced != held):
        raise InputError(
            f"{path}: expected a whole {path.suffix} file, got {' x '.join(map(str, shape))} values of {item_bytes} "
            f"bytes announced, {'of compressed data' if held is None else f'and {held} bytes'}."
        )
    _check_bytes(path, announced)
    return announced


def _check_bytes(path: Path, count: int) -> None:
    if count > MAX_SCAN_BYTES:
        raise InputError(f"{path}: expected a scan of at most {MAX_SCAN_BYTES / 1e6:g} MB, got {count / 1e6:.0f} MB.")
