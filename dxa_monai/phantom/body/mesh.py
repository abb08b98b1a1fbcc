"""Triangle meshes as plain arrays: holes and their caps, volume, area, smoothing, binary PLY files.

Vertices are ``(V, 3)`` floats, faces ``(F, 3)`` int64 indices whose corners run counter-clockwise seen from outside.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse

from dxa_monai.compiled import compiled
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.mesh.geometry import face_areas

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def boundary_loops(faces: IntArray) -> list[IntArray]:
    """The holes of a consistently oriented surface, each as the closed walk of its boundary edges.

    An edge is on the boundary if no face runs along it in the opposite direction. Loops follow the direction of the
    faces' own edges, start at their smallest vertex index and are ordered by it.

    Args:
        faces: ``(F, 3)`` vertex indices.

    Returns:
        One int64 array of vertex indices a hole, without repeating the first; empty for a closed surface.

    Raises:
        InputError: a vertex belongs to two holes at once, or the faces' orientations disagree, so that a hole has no
            unique walk.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    stride = np.int64(edges.max() + 1) if len(edges) else np.int64(1)
    forward = edges[:, 0] * stride + edges[:, 1]
    backward = edges[:, 1] * stride + edges[:, 0]
    open_edges = edges[~np.isin(forward, backward)]
    successor = {int(start): int(end) for start, end in open_edges}
    if len(successor) != len(open_edges) or set(successor) != set(successor.values()):
        raise InputError("faces: expected holes that do not touch each other, got a vertex on two of them.")
    loops = []
    for start in sorted(successor):
        if start not in successor:
            continue
        loop = [start]
        while (following := successor.pop(loop[-1])) != start:
            loop.append(following)
        loops.append(np.array(loop, dtype=np.int64))
    return loops


def cap_faces(loops: list[IntArray], first_centre: int) -> IntArray:
    """Triangle fans that close the holes, one new centre vertex a hole.

    Args:
        loops: what :func:`boundary_loops` returned.
        first_centre: index of the first hole's centre; the others follow. :func:`append_centres` makes them.

    Returns:
        ``(sum of loop lengths, 3)`` int64 faces, oriented like the surface they close.
    """
    fans = [
        np.column_stack([np.roll(loop, -1), loop, np.full(len(loop), first_centre + index)])
        for index, loop in enumerate(loops)
    ]
    return np.concatenate(fans).astype(np.int64) if fans else np.empty((0, 3), dtype=np.int64)


def append_centres(vertices: FloatArray, loops: list[IntArray]) -> FloatArray:
    """``(V + len(loops), 3)``: the vertices followed by the mean vertex of each loop."""
    centres = [vertices[loop].mean(axis=0) for loop in loops]
    return np.concatenate([vertices, np.array(centres).reshape(-1, 3)])


def enclosed_volume_m3(vertices: FloatArray, faces: IntArray) -> float:
    """Volume inside a closed surface by the divergence theorem; negative if the faces point inwards."""
    return float(_signed_volume(vertices, faces))


def surface_area_m2(vertices: FloatArray, faces: IntArray) -> float:
    """Sum of the faces' areas."""
    return float(face_areas(vertices, faces).sum())


def smoothing_matrix(faces: IntArray, vertex_count: int) -> scipy.sparse.csr_matrix:
    """``(V, V)`` operator that replaces each vertex's value by the plain mean of its neighbours' values.

    Rows sum to one. A vertex without faces keeps its value.
    """
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.bincount(both[:, 0], minlength=vertex_count)
    lonely = np.flatnonzero(degree == 0)
    rows = np.concatenate([both[:, 0], lonely])
    columns = np.concatenate([both[:, 1], lonely])
    return scipy.sparse.csr_matrix(
        (1.0 / np.maximum(degree, 1)[rows], (rows, columns)), shape=(vertex_count, vertex_count)
    )


@compiled
def _signed_volume(vertices, faces):  # type: ignore[no-untyped-def]
    """Sum of the tetrahedra between the faces and one vertex (near the surface, so that offsets cancel no digits)."""
    total = 0.0
    x0, y0, z0 = vertices[faces[0, 0], 0], vertices[faces[0, 0], 1], vertices[faces[0, 0], 2]
    for face in range(faces.shape[0]):
        a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
        ax, ay, az = vertices[a, 0] - x0, vertices[a, 1] - y0, vertices[a, 2] - z0
        bx, by, bz = vertices[b, 0] - x0, vertices[b, 1] - y0, vertices[b, 2] - z0
        cx, cy, cz = vertices[c, 0] - x0, vertices[c, 1] - y0, vertices[c, 2] - z0
        total += (ay * bz - az * by) * cx + (az * bx - ax * bz) * cy + (ax * by - ay * bx) * cz
    return total / 6.0


def write_ply(path: str | Path, vertices: FloatArray, faces: IntArray) -> None:
    """Write a binary little-endian PLY (float32 vertices, int32 triangles); equal input gives equal bytes.

    Written here rather than by a mesh library because the bytes of a cohort must not depend on that library's version.

    Raises:
        InputError: ``vertices`` is not ``(V, 3)`` or ``faces`` not ``(F, 3)``.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"{path}: expected vertices (V, 3) and faces (F, 3), got {vertices.shape} and {faces.shape}.")
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    records = np.empty(len(faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    records["count"] = 3
    records["corners"] = faces
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(header.encode("ascii"))
        stream.write(np.ascontiguousarray(vertices, dtype="<f4").tobytes())
        stream.write(records.tobytes())


def read_ply_vertices(path: str | Path) -> npt.NDArray[np.float32]:
    """The vertices ``(V, 3)`` of a file that :func:`write_ply` wrote.

    Raises:
        InputError: the file cannot be read, was not written by :func:`write_ply` or is cut off.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a mesh file, got '{error}'.") from error
    found = re.match(
        rb"ply\nformat binary_little_endian 1\.0\nelement vertex (\d+)\n[a-z0-9_ \n]*?end_header\n", content
    )
    begin = found.end() if found else 0
    if not found or len(content) < begin + 12 * int(found[1]):
        raise InputError(f"{path}: expected a whole mesh of the cohort generator, got {len(content)} other bytes.")
    return np.frombuffer(content, dtype="<f4", count=3 * int(found[1]), offset=begin).reshape(-1, 3)
