"""A body scan from the front, shaded: an orthographic picture of a triangle mesh without any 3D library."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from dxa_monai.mesh.geometry import face_centres, face_vectors
from dxa_monai.mesh.io import BodyMesh

LIGHT = (0.35, -0.85, 0.4)
"""Direction to the light: in front of the person, from above and from the person's left."""
AMBIENT = 0.25
"""Brightness of a face turned away from the light."""


def draw_mesh(axes: Axes, mesh: BodyMesh) -> None:
    """Draw a body as an observer in front of it sees it, which is how a scan is displayed: its right side on the left.

    Faces that look away are left out, the others painted from back to front (painter's algorithm) in the brightness
    of matt skin (Lambert: the cosine between normal and light).

    Args:
        axes: are scaled in metres; nothing but the body is left in them.
        mesh: x towards the person's left, y towards the back, z up.
    """
    vectors = face_vectors(mesh.vertices_m, mesh.faces)
    seen = np.flatnonzero(vectors[:, 1] < 0.0)
    depth = face_centres(mesh.vertices_m, mesh.faces[seen])[:, 1]
    order = seen[np.argsort(-depth)]
    corners = mesh.vertices_m[mesh.faces[order]][:, :, [0, 2]]
    grey = np.repeat(_brightness(vectors[order])[:, None], 3, axis=1)
    # an edge of the face's own colour closes the hairlines between neighbours
    axes.add_collection(
        PolyCollection(list(corners), facecolors=grey, edgecolors=grey, linewidths=0.3, rasterized=True)
    )
    low, high = mesh.bounds_m[:, [0, 2]]
    margin = 0.03 * (high - low).max()
    axes.set_xlim(low[0] - margin, high[0] + margin)
    axes.set_ylim(low[1] - margin, high[1] + margin)
    axes.set_aspect("equal")
    axes.axis("off")


def _brightness(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``(F,)`` in 0..1 of faces with area vectors ``(F, 3)``."""
    light = np.asarray(LIGHT) / np.linalg.norm(LIGHT)
    cosine = vectors @ light / np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float64).tiny)
    return np.asarray(AMBIENT + (1.0 - AMBIENT) * cosine.clip(0.0, 1.0))
