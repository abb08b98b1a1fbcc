"""What a file says of its size, held against a limit and against its bytes before any room is made for it.

A raw scan takes 0.2 MB. A header of a few bytes can announce terabytes, a kilobyte can inflate to gigabytes, and the
headers of some formats can name another file to read from: all of that is refused here.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError

MAX_SCAN_BYTES = 64_000_000
"""Of a scan's file and of what it holds when decompressed: hundreds of times a whole-body scan in float64."""

MAX_ARRAYS = 32
"""In an archive."""

_HEADER_BYTES = 65536
_PIECE_BYTES = 1_000_000
_DETACHED = re.compile(rb"^\s*data\s*file\s*:|^\s*ElementDataFile\s*=(?!\s*LOCAL\s*$)", re.I | re.M)
_SIZES = re.compile(
    rb"^\s*(?:sizes\s*:|DimSize\s*=|ElementNumberOfChannels\s*=)([^\n]*)$", re.IGNORECASE | re.MULTILINE
)


def read_bounded(path: Path) -> bytes:
    """The bytes of a file of at most ``MAX_SCAN_BYTES``; decompressed if its name ends in ``.gz``.

    Raises:
        InputError: it is larger, or decompresses to more.
        OSError, EOFError, zlib.error: it cannot be read, or is no whole gzip file.
    """
    _check_bytes(path, path.stat().st_size)
    if not path.name.lower().endswith(".gz"):
        return path.read_bytes()
    pieces: list[bytes] = []
    held = 0
    with gzip.open(path) as stream:
        # In pieces, as read(n) makes room for n bytes or more at once; to the end, where a wrong checksum is noticed.
        while piece := stream.read(_PIECE_BYTES):
            pieces.append(piece)
            held += len(piece)
            _check_bytes(path, held)
    return b"".join(pieces)


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
    _check_bytes(path, path.stat().st_size)
    arrays, left = {}, MAX_SCAN_BYTES
    with open(path, "rb") as file:
        if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
            raise InputError(f"{path}: expected an .npz archive of arrays, got a single array.")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_ARRAYS:
            raise InputError(f"{path}: expected an archive of at most {MAX_ARRAYS} arrays, got {len(members)}.")
        for member in members:
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # others inflate a whole piece at once, however little is asked for
                raise InputError(f"{path}: expected arrays as NumPy writes them, got another compression.")
            # the directory may lie about sizes, too: no more is inflated than fits
            with archive.open(member) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            _check_bytes(path, MAX_SCAN_BYTES - left)
            arrays[member.filename.removesuffix(".npy")] = read_npy(path, io.BytesIO(content), len(content))
    return arrays


def check_itk_header(path: Path) -> None:
    """Refuse an NRRD or MetaImage file that announces more than ``MAX_SCAN_BYTES``, or data in another file.

    Raises:
        InputError: it does.
    """
    _check_bytes(path, path.stat().st_size)
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    # a MetaImage header ends with the line that says where the data are, an NRRD header with an empty line
    end = re.search(rb"^\s*ElementDataFile[^\n]*\n|\r?\n\r?\n", head, re.I | re.M)
    head = head[: end.end()] if end else head
    detached = _DETACHED.search(head)
    if detached is not None:
        line = head[detached.start() :].strip().splitlines()[0][:80].decode("ascii", "replace")
        raise InputError(f"{path}: expected the data in the file itself, got a header with '{line}'.")
    numbers = [int(number) for line in _SIZES.findall(head) for number in re.findall(rb"\d+", line)]
    _check_bytes(path, math.prod(numbers))


def check_nifti_header(path: Path, shape: tuple[int, ...], item_bytes: int, offset: float, held: int) -> None:
    """Refuse a NIfTI header that announces more data than the ``held`` bytes of the file.

    Raises:
        InputError: it does, or says nothing sensible.
    """
    announced = math.prod(int(size) for size in shape) * item_bytes
    if min((*shape, 0)) < 0 or not 0 <= offset <= held or announced > held - offset:
        raise InputError(f"{path}: expected a whole .nii file, got {announced} bytes announced, of {held}.")


def _check_bytes(path: Path, count: int) -> None:
    if count > MAX_SCAN_BYTES:
        raise InputError(f"{path}: expected a scan of at most {MAX_SCAN_BYTES / 1e6:g} MB, got {count / 1e6:.0f} MB.")
