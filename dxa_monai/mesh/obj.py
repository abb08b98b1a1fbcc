"""Wavefront OBJ: the vertices and faces alone, in the file's own order.

Read here rather than by trimesh, which takes the index 0 for valid, counts relative indices from the end of the file,
splits vertices at texture seams (so that a fixed topology is lost) and follows ``mtllib`` to other files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.mesh.limits import check_element_count, check_text_size


def read_obj(path: Path, content: bytes) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Vertices and faces of an OBJ file; polygons become fans of triangles.

    Groups, materials, texture coordinates, normals, lines and points are passed over, and no other file is opened.

    Args:
        path: for messages.
        content: the file's bytes.

    Returns:
        Vertices ``(V, 3)`` and faces ``(F, 3)``, indices from 0.

    Raises:
        InputError: text too long, a line that cannot be read, or a face with an index that is no vertex so far.
    """
    check_text_size(path, len(content))
    check_element_count(path, content.count(b"\nv "), "vertices")
    check_element_count(path, content.count(b"\nf "), "faces")
    vertices: list[tuple[float, float, float]] = []
    faces: list[tuple[int, int, int]] = []
    lines = content.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ").splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0] not in (b"v", b"f"):
            continue
        try:
            if fields[0] == b"v":
                vertices.append((float(fields[1]), float(fields[2]), float(fields[3])))
            else:
                corners = [_vertex_index(field, len(vertices)) for field in _before_comment(fields[1:])]
                if len(corners) < 3:
                    raise ValueError
                faces.extend(zip([corners[0]] * (len(corners) - 2), corners[1:-1], corners[2:], strict=True))
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
