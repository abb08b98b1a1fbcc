"""Sizes and directions of the faces of a triangle mesh.

Vertices are ``(V, 3)`` float64, faces ``(F, 3)`` int64 indices whose corners run counter-clockwise seen from outside.
Lengths are in the unit of the vertices.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def face_vectors(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """``(F, 3)`` outward normals of the faces, each as long as the face's area: half the cross product of two sides."""
    return triangle_vectors(vertices[faces])


def triangle_vectors(corners: FloatArray) -> FloatArray:
    """The same ``(F, 3)`` of triangles ``(F, 3, 3)``, by their corners."""
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    return np.asarray(np.cross(second - first, third - first) / 2.0)


def face_areas(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """``(F,)`` area of each face."""
    return np.asarray(np.linalg.norm(face_vectors(vertices, faces), axis=1))


def face_centres(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """``(F, 3)`` mean of the corners of each face."""
    return np.asarray((vertices[faces[:, 0]] + vertices[faces[:, 1]] + vertices[faces[:, 2]]) / 3.0)


def vertex_normals(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """``(V, 3)`` unit normals, area-weighted over the faces around each vertex; zero where no face is."""
    vectors = face_vectors(vertices, faces)
    normals = np.empty_like(vertices, dtype=np.float64)
    for axis in range(3):
        normals[:, axis] = sum(
            np.bincount(faces[:, corner], vectors[:, axis], minlength=len(vertices)) for corner in range(3)
        )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, length, out=np.zeros_like(normals), where=length > 0)


def bounds(vertices: FloatArray, faces: IntArray) -> FloatArray:
    """``(2, 3)`` smallest and largest coordinates of the faces; vertices without a face do not count."""
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    return np.stack([vertices[used].min(axis=0), vertices[used].max(axis=0)])
