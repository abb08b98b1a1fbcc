"""The header of a PLY file against the bytes that follow it.

Turk G. The PLY Polygon File Format. Stanford University, 1994.
"""

from __future__ import annotations

from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.mesh.limits import check_element_count, check_text_size

_MAX_HEADER_BYTES = 65536
_TYPE_BYTES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8),
}
_FORMATS = ("ascii", "binary_little_endian", "binary_big_endian")


def checked_ply(path: Path, content: bytes) -> bytes:
    """A PLY file without its comments, refused if its header announces more than the file holds.

    A binary file needs at least each element's fixed properties and the empty lists' lengths; a text file at least a
    line an element. Comments may be in any encoding and hold anything, so no reader gets to see them.

    Args:
        path: for the sentence.
        content: of the file.

    Raises:
        InputError: no PLY header, one that cannot be read, too many elements, faces as strips, or fewer bytes or lines
            than announced.
    """
    lines, begin = _header_lines(content)
    if not lines or lines[0].strip() != b"ply":
        raise InputError(f"{path}: expected a PLY file (ply ... end_header), got {_beginning(content)}.")
    kept = [line for line in lines if line.split()[:1] not in ([b"comment"], [b"obj_info"])]
    _check_announced(path, content, [line.decode("ascii", "replace") for line in kept[1:-1]], begin)
    return b"".join(kept) + content[begin:] if len(kept) < len(lines) else content


def _header_lines(content: bytes) -> tuple[list[bytes], int]:
    """The lines of the header with their ends, the last one being ``end_header``, and where the data begin."""
    lines: list[bytes] = []
    begin = 0
    while begin < _MAX_HEADER_BYTES:
        end = content.find(b"\n", begin) + 1
        if end == 0:
            break
        lines.append(content[begin:end])
        begin = end
        if lines[-1].strip() == b"end_header":
            return lines, begin
    return [], 0


def _check_announced(path: Path, content: bytes, lines: list[str], begin: int) -> None:
    """Hold what the header announces against what lies behind it."""
    body_bytes = len(content) - begin
    elements, form = _read_header(path, lines)
    for name, count, _ in elements:
        check_element_count(path, count, f"elements '{name}'")
    if form == "ascii":
        check_text_size(path, len(content))
        announced, found, unit = sum(count for _, count, _ in elements), content.count(b"\n", begin) + 1, "lines"
        check_element_count(path, found // 2, "pairs of lines")
    else:
        announced, found, unit = sum(count * size for _, count, size in elements), body_bytes, "bytes"
    strips = [name for name, count, _ in elements if name in ("tristrips", "trimesh") and count]
    if strips:
        raise InputError(f"{path}: expected faces one by one, got them as '{strips[0]}': export plain triangles.")
    if found < announced:
        counts = ", ".join(f"{count} {name}" for name, count, _ in elements)
        raise InputError(
            f"{path}: expected at least {announced} {unit} after the header for its {counts}, got {found}: "
            "the file is cut off."
        )


def _read_header(path: Path, lines: list[str]) -> tuple[list[tuple[str, int, int]], str]:
    """Each element's name, count and smallest size in bytes, and the file's format."""
    elements: list[tuple[str, int, int]] = []
    form = ""
    told: set[tuple[str, ...]] = set()
    for line in lines:
        fields = line.split()
        try:
            if not fields:
                continue
            if fields[0] == "format" and fields[1] in _FORMATS and fields[2:] == ["1.0"]:
                form = fields[1]
                said: tuple[str, ...] = ("format",)
            elif fields[0] == "element" and int(fields[2]) >= 0:
                elements.append((fields[1], int(fields[2]), 0))
                said = ("element", fields[1])
            elif fields[0] == "property":
                # A list costs at least its length field; trimesh reads it as such.
                name, count, size = elements[-1]
                kind = fields[2] if fields[1] == "list" else fields[1]
                elements[-1] = (name, count, size + _TYPE_BYTES[kind])
                said = ("property", name, fields[-1])
            else:
                raise ValueError
        except (ValueError, IndexError, KeyError):
            raise InputError(f"{path}: expected a PLY header line, got '{line[:60].strip()}'.") from None
        if said in told:
            raise InputError(f"{path}: expected a PLY header that says it once, got '{line[:60].strip()}' again.")
        told.add(said)
    if not form:
        raise InputError(f"{path}: expected a PLY format of {', '.join(_FORMATS)}, got a header without one.")
    return elements, form


def _beginning(content: bytes) -> str:
    return ascii(content[:12].decode("latin-1")) if content else "an empty file"
