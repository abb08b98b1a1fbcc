"""Wavefront OBJ: the vertices and faces alone, in the file's own order.

Read here rather than by trimesh, which takes the index 0 for valid, counts relative indices from the end of the file,
splits vertices at texture seams (so that a fixed topology is lost) and follows ``mtllib`` to other files.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.mesh.limits import check_element_count, check_text_size

_MAX_LINE_BYTES = 65536
"""Of a vertex or a face: thousands of corners."""
_FREE_FORM = (b"cstype", b"curv", b"curv2", b"surf")


def read_obj(path: Path, content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices and faces of an OBJ file; polygons become fans of triangles.

    Groups, materials, texture coordinates, normals, lines and points are passed over, and no other file is opened.

    Args:
        path: for messages.
        content: the file's bytes.

    Returns:
        Vertices ``(V, 3)`` and faces ``(F, 3)``, indices from 0.

    Raises:
        InputError: text or a line too long, a line that cannot be read (a weighted vertex, too), a face with an index
            that is no vertex so far, or a free-form surface.
    """
    check_text_size(path, len(content))
    check_element_count(path, (content.count(b"\n") + content.count(b"\r")) // 4, "groups of four lines")
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    content = content.removeprefix(codecs.BOM_UTF8).replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    for number, line in enumerate(content.splitlines(), start=1):
        kind = next(iter(line.split(None, 1)), b"")
        if kind in _FREE_FORM:
            raise InputError(
                f"{path}: expected faces, got a free-form curve or surface ({kind.decode()}) in line {number}: "
                "export polygons."
            )
        if kind not in (b"v", b"f", b"fo"):
            continue
        if len(line) > _MAX_LINE_BYTES:
            raise InputError(
                f"{path}: expected lines of at most {_MAX_LINE_BYTES} bytes, got {len(line)} in line {number}."
            )
        fields = line.split()
        try:
            if b"_" in line:  # Python takes 1_000 for a number
                raise ValueError
            if fields[0] == b"v":
                if len(fields) == 5 and float(fields[4]) != 1.0:
                    raise ValueError
                vertices.append((float(fields[1]), float(fields[2]), float(fields[3])))
                check_element_count(path, len(vertices), "vertices")
            else:
                check_element_count(path, len(faces), "faces")
                corners = [_vertex_index(field, len(vertices)) for field in _before_comment(fields[1:])]
                if len(corners) < 3:
                    raise ValueError
                faces.extend(zip([corners[0]] * (len(corners) - 2), corners[1:-1], corners[2:], strict=True))
        except InputError:
            raise
        except (ValueError, IndexError):
            shown = " ".join(line[:60].decode("ascii", "replace").split())
            raise InputError(
                f"{path}: expected a vertex (v x y z) or a face of three or more earlier or later vertices "
                f"(f 1 2 3), got '{shown}' in line {number}."
            ) from None
    return np.array(vertices, dtype=np.float64).reshape(-1, 3), np.array(faces, dtype=np.int64).reshape(-1, 3)


def _before_comment(fields: list[bytes]) -> list[bytes]:
    comment = next((index for index, field in enumerate(fields) if field.startswith(b"#")), len(fields))
    return fields[:comment]


def _vertex_index(field: bytes, vertices_so_far: int) -> int:
    """Index from 0 of ``17``, ``17/3`` or ``17//5``; negative ones count back from the last vertex so far."""
    index = int(field.split(b"/", 1)[0])
    if index == 0 or index < -vertices_so_far:
        raise ValueError
    return index - 1 if index > 0 else vertices_so_far + index
