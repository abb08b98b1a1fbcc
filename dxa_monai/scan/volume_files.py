"""NRRD and MetaImage files, read strictly: every line of a header is one that this module knows, in its spelling.

Readers of these formats are lenient, each in its own way, and both formats can name another file to read the data from.
A header that is looked at by one reader and read by another may say two things. So one parser says what a file holds,
what it does not know is refused, and the data are decoded from the bytes behind the header.

References:
    Teem: Definition of NRRD File Format. https://teem.sourceforge.net/nrrd/format.html
    Insight Software Consortium: MetaIO. https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.scan.format import Array
from dxa_monai.scan.limits import check_announced, inflated, read_scan_bytes

_HEADER_BYTES, _HEADER_LINES = 65536, 1000
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_SPACES_TO_RAS = {
    **dict.fromkeys(("left-posterior-superior", "LPS"), _LPS_TO_RAS),
    **dict.fromkeys(("right-anterior-superior", "RAS"), np.eye(3)),
    **dict.fromkeys(("left-anterior-superior", "LAS"), np.diag([-1.0, 1.0, 1.0])),
}
_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("long long", "long long int", "longlong", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("unsigned long long", "unsigned long long int", "ulonglong", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_NRRD_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"} | dict.fromkeys(
    ("ascii", "text", "txt"), "text"
)
_NRRD_FIELDS = (
    *("type", "dimension", "sizes", "space", "space directions", "space origin", "kinds", "endian", "encoding"),
    *("spacings", "thicknesses", "axis mins", "axis maxs", "centers", "centerings", "labels", "units", "space units"),
    *("content", "min", "max", "old min", "old max", "sample units", "measurement frame", "space dimension"),
)
_META_TYPES = {
    **{"MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4"},
    **{"MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_META_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_META_BYTE_ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_META_FIELDS = (
    *("ObjectType", "ObjectSubType", "NDims", "DimSize", "BinaryData", "CompressedData", "CompressedDataSize"),
    *("CompressionLevel", "Offset", "Position", "Origin", "CenterOfRotation", "AnatomicalOrientation"),
    *("ElementSpacing", "ElementSize", "ElementNumberOfChannels", "ElementType", "ElementMin", "ElementMax"),
    *("ElementDataFile", "Comment", "Name", "ID", "ParentID", "Modality", "Color", "TransformType"),
    *_META_MATRICES,
    *_META_BYTE_ORDERS,
)
_VECTOR = re.compile(r"none|\(\s*[^(),\s]+\s*(?:,\s*[^(),\s]+\s*)*\)")
_MILLIMETRES = re.compile(r'(?:\s*"mm")*')
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MOST_NUMBERS_OF_TEXT = 2_000_000
_Value = TypeVar("_Value")
_FROM_TO = {"R": "L", "L": "R", "A": "P", "P": "A", "I": "S", "S": "I"}


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in space, as a file holds it.

    Attributes:
        values: ``(I, J, K)`` or, with components, ``(I, J, K, C)``, of the file's own type.
        directions_ras: ``(3, 3)``, columns along I, J and K, to the right, the front and the head.
        spacing_mm: along I, J and K.
    """

    values: Array
    directions_ras: Array
    spacing_mm: list[float]


def read_volume(path: Path) -> Volume:
    """The image of an NRRD or MetaImage file of one part, with an orientation in patient space.

    Raises:
        InputError: a header that is not known line by line, states no orientation, names another file, or announces
            more or less than there is.
        EOFError, OSError, ValueError, zlib.error: damaged data.
    """
    content = read_scan_bytes(path)
    return (_read_nrrd if path.suffix.lower() == ".nrrd" else _read_metaimage)(content, path)


def _lines(content: bytes, path: Path, is_last: Callable[[str], bool]) -> tuple[list[str], bytes]:
    """The lines of a header up to its last one, and the bytes behind it."""
    lines: list[str] = []
    begin = 0
    while len(lines) < _HEADER_LINES:
        end = content.find(b"\n", begin, _HEADER_BYTES)
        if end < 0:
            break
        line = content[begin:end].removesuffix(b"\r")
        if b"\r" in line or b"\0" in line:
            break
        lines.append(line.decode("utf-8", "replace"))
        begin = end + 1
        if is_last(lines[-1]):
            return lines, content[begin:]
    raise InputError(
        f"{path}: expected a whole {path.suffix} file, got no end of a header of at most {_HEADER_LINES} lines and "
        f"{_HEADER_BYTES} bytes."
    )


def _read_nrrd(content: bytes, path: Path) -> Volume:
    lines, data = _lines(content, path, lambda line: line == "")
    if not re.fullmatch(r"NRRD000[1-5]", lines[0]):
        raise InputError(f"{path}: expected an NRRD file of version 1 to 5, got '{lines[0][:20]}'.")
    told: dict[str, str] = {}
    for line in lines[1:-1]:
        if line.startswith("#") or re.match(r"[^:]+:=", line):
            continue  # comments, and what a program keeps for itself
        _take(told, *line.partition(": ")[::2], _NRRD_FIELDS, path, line)
    needed = ("type", "dimension", "sizes", "encoding")
    _check_needed(told, needed, path)
    if "space" not in told or "space directions" not in told:
        raise InputError(
            f"{path}: expected an NRRD file that states its orientation (space, space directions), got one without."
        )
    to_ras = _known(told, "space", _SPACES_TO_RAS, path)
    if not _MILLIMETRES.fullmatch(told.get("space units", "")):
        raise InputError(f"{path}: expected space units of mm, got {told['space units'][:60]}.")
    sizes = _whole_numbers(told["sizes"], "sizes", path)
    directions = told["space directions"]
    vectors = _VECTOR.findall(directions)
    if _VECTOR.sub("", directions).strip() or len(vectors) != len(sizes):
        raise InputError(f"{path}: expected a direction for each of {len(sizes)} axes, got '{directions[:80]}'.")
    if [str(len(sizes))] != told["dimension"].split():
        raise InputError(f"{path}: expected {told['dimension'][:20]} sizes, got {len(sizes)}.")
    axes = [index for index, vector in enumerate(vectors) if vector != "none"]
    if len(axes) != 3 or len(sizes) > 4:
        raise InputError(f"{path}: expected three axes in space and one of components, got '{directions[:80]}'.")
    steps = np.array([_numbers(vectors[axis].strip("()").replace(",", " "), 3, "vector", path) for axis in axes])
    for name in ("spacings", "axis mins", "axis maxs"):
        if any(_NUMBER.fullmatch(word) for word in told.get(name, "").split()):
            raise InputError(f"{path}: expected space directions alone, got {name} beside them.")
    encoding = _known(told, "encoding", _NRRD_ENCODINGS, path)
    kind = np.dtype(_known(told, "type", _NRRD_TYPES, path))
    if kind.itemsize > 1 and encoding != "text":
        _check_needed(told, ("endian",), path)
        kind = kind.newbyteorder(_known(told, "endian", {"little": "<", "big": ">"}, path))
    values = _decoded(data, kind, sizes, encoding, path)
    values = np.moveaxis(values, axes, (0, 1, 2))
    spacing = [math.hypot(*step) for step in steps]
    return Volume(values, to_ras @ steps.T, spacing)


def _read_metaimage(content: bytes, path: Path) -> Volume:
    lines, data = _lines(content, path, lambda line: line.strip().lower().startswith("elementdatafile"))
    told: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        _take(told, name.removesuffix(" "), value, _META_FIELDS, path, line)
    if told["ElementDataFile"] != "LOCAL":
        raise _detached(path, lines[-1])
    _check_needed(told, ("ObjectType", "NDims", "DimSize", "BinaryData", "ElementType", "ElementSpacing"), path)
    _known(told, "ObjectType", {"Image": True}, path)
    if told["NDims"] != "3":
        raise InputError(f"{path}: expected a volume of 3 dimensions, got {told['NDims'][:20]}.")
    matrices = [name for name in _META_MATRICES if name in told]
    if len(matrices) != 1:
        raise InputError(
            f"{path}: expected a MetaImage file that states its orientation (TransformMatrix), "
            f"got {'one without' if not matrices else ' and '.join(matrices)}."
        )
    to_ras = _LPS_TO_RAS @ np.array(_numbers(told[matrices[0]], 9, matrices[0], path)).reshape(3, 3).T
    spacing = _numbers(told["ElementSpacing"], 3, "ElementSpacing", path)
    if "ElementSize" in told and _numbers(told["ElementSize"], 3, "ElementSize", path) != spacing:
        raise InputError(f"{path}: expected ElementSize as ElementSpacing, got two spacings.")
    _check_letters(told.get("AnatomicalOrientation", "???"), to_ras, path)
    channels = _whole_numbers(told.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path)
    sizes = [*channels, *_whole_numbers(told["DimSize"], "DimSize", path)]
    if len(sizes) != 4:
        raise InputError(f"{path}: expected three sizes and a number of channels, got '{told['DimSize'][:60]}'.")
    truth = {"True": True, "False": False}
    encoding = "raw" if _known(told, "BinaryData", truth, path) else "text"
    if "CompressedData" in told and _known(told, "CompressedData", truth, path):
        if encoding == "text":
            raise InputError(f"{path}: expected binary data or uncompressed text, got compressed text.")
        encoding = "zlib"
        size = _whole_numbers(told.get("CompressedDataSize", str(len(data))), "CompressedDataSize", path)
        check_announced(path, tuple(size), 1, len(data))
    kind = np.dtype(_known(told, "ElementType", _META_TYPES, path))
    if kind.itemsize > 1 and encoding != "text":
        orders = [name for name in _META_BYTE_ORDERS if name in told]
        if len(orders) != 1:
            raise InputError(f"{path}: expected the order of bytes once ({_META_BYTE_ORDERS[0]}), got {len(orders)}.")
        kind = kind.newbyteorder(">" if _known(told, orders[0], truth, path) else "<")
    values = np.moveaxis(_decoded(data, kind, sizes, encoding, path), 0, 3)
    return Volume(values[..., 0] if sizes[0] == 1 else values, to_ras, spacing)


def _take(told: dict[str, str], name: str, value: str, known: tuple[str, ...], path: Path, line: str) -> None:
    """Keep what a line of a header tells, if the name is known and told for the first time."""
    if name.lower().replace(" ", "").replace("_", "") in ("datafile", "elementdatafile") and name not in known:
        raise _detached(path, line)
    shown = line[:60].encode("ascii", "replace").decode()
    if name not in known:
        raise InputError(f"{path}: expected a {path.suffix} header of known fields, got '{shown}'.")
    if name in told:
        raise InputError(f"{path}: expected every field of the header once, got '{shown}' after another.")
    told[name] = value.strip(" ")


def _detached(path: Path, line: str) -> InputError:
    shown = line[:80].encode("ascii", "replace").decode()
    return InputError(f"{path}: expected the data in the file itself, got a header with '{shown}'.")


def _check_needed(told: dict[str, str], names: tuple[str, ...], path: Path) -> None:
    missing = [name for name in names if name not in told]
    if missing:
        raise InputError(f"{path}: expected a {path.suffix} header with '{missing[0]}', got none.")


def _known(told: dict[str, str], name: str, values: Mapping[str, _Value], path: Path) -> _Value:
    if told[name] not in values:
        raise InputError(f"{path}: expected '{name}' to be one of {', '.join(values)}, got '{told[name][:60]}'.")
    return values[told[name]]


def _numbers(text: str, count: int, name: str, path: Path) -> list[float]:
    words = text.split()
    values = [float(word) for word in words if _NUMBER.fullmatch(word)]
    if len(words) != count or len(values) != count or not np.isfinite(values).all():
        raise InputError(f"{path}: expected {count} numbers of {name}, got '{text[:60]}'.")
    return values


def _whole_numbers(text: str, name: str, path: Path) -> list[int]:
    words = text.split()
    if not words or not all(re.fullmatch(r"\d{1,9}", word, re.ASCII) for word in words):
        raise InputError(f"{path}: expected whole numbers of {name}, got '{text[:60]}'.")
    return [int(word) for word in words]


def _check_letters(letters: str, to_ras: Array, path: Path) -> None:
    """MetaImage says the orientation twice: the letters are where the axes come from."""
    if "?" in letters or not np.isfinite(to_ras).all():
        return
    largest = np.abs(to_ras).argmax(axis=0)
    to = [("RAS" if to_ras[axis, column] > 0 else "LPI")[axis] for column, axis in enumerate(largest)]
    stated = "".join(_FROM_TO[letter] for letter in to)
    if letters != stated:
        raise InputError(
            f"{path}: expected one orientation, got AnatomicalOrientation {letters[:9]} and a matrix of {stated}."
        )


def _decoded(data: bytes, kind: np.dtype[np.generic], sizes: list[int], encoding: str, path: Path) -> Array:
    """The values with axes in the order of ``sizes``, the first of which varies fastest in the file."""
    announced = check_announced(path, tuple(sizes), kind.itemsize, len(data) if encoding == "raw" else None)
    if encoding == "text":
        count = math.prod(sizes)
        words = data.split(maxsplit=count) if count <= _MOST_NUMBERS_OF_TEXT else []
        if len(words) != count or not all(_NUMBER.fullmatch(word.decode("latin-1")) for word in words):
            raise InputError(f"{path}: expected {count} numbers of text, got something else.")
        values = np.array([float(word) for word in words])
    else:
        raw = data if encoding == "raw" else inflated(data, encoding, path, announced)
        if len(raw) != announced:
            raise InputError(f"{path}: expected a whole {path.suffix} file, got {len(raw)} bytes of {announced}.")
        values = np.frombuffer(raw, dtype=kind)
    return values.reshape(sizes[::-1]).transpose()
