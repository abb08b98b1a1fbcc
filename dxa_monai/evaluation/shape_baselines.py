"""What needs no network: ridge regression from principal components of shape to images, and to body composition.

Shape is given by the vertices of meshes of one topology, where a vertex is the same place on every body. Meshes of a
scanner have no such vertices; then there is no such baseline, and a line says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV

from dxa_monai.errors import InputError
from dxa_monai.evaluation.measure_baselines import MOST_COMPONENTS, PENALTIES
from dxa_monai.evaluation.reconstructed_composition import raw_image
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import principal_components

FloatArray = npt.NDArray[np.float64]

SHAPE_COMPONENTS = 80
"""With 40 the images of held-out people are 0.4 dB worse, with 160 no better."""
_NEGLIGIBLE = 1e-9
"""Components of less than this share of the first one's variance are rounding."""
_AXES_OF_FILES = ("unit", "up_axis", "facing")


Shapes = Mapping[str, npt.NDArray[np.float32]]
"""Vertices ``(3 V,)`` in metres by the file of the mesh, all of one topology."""


def load_shapes(rows: Sequence[Mapping[str, Any]], mesh: Mapping[str, Any] | None = None) -> Shapes:
    """Vertices of the rows' meshes, each body standing on the floor about the axis.

    Args:
        rows: manifest rows with ``mesh``.
        mesh: how meshes are read; of the arguments of ``LoadMeshPointsd`` only the unit and the axes matter here.

    Raises:
        InputError: a mesh cannot be read, or has other faces than the first.
    """
    axes = {name: value for name, value in (mesh or {}).items() if name in _AXES_OF_FILES}
    shapes: dict[str, npt.NDArray[np.float32]] = {}
    faces, first = np.empty((0, 3), dtype=np.int64), ""
    for path in dict.fromkeys(str(row["mesh"]) for row in rows):
        body = centred(load_mesh(path, **axes, announce=False))
        if not first:
            faces, first = body.faces, path
        if not np.array_equal(body.faces, faces):
            raise InputError(
                f"{path}: expected the topology of {first} with {len(faces)} faces, got another with {len(body.faces)}."
            )
        shapes[path] = body.vertices_m.astype(np.float32).ravel()
    sizes = {len(shape) for shape in shapes.values()}
    if len(sizes) > 1:
        raise InputError(f"meshes: expected one number of vertices, got {', '.join(str(n // 3) for n in sizes)}.")
    return shapes


def shape_table(rows: Sequence[Mapping[str, Any]], shapes: Shapes) -> npt.NDArray[np.float32]:
    """The shape of each row, ``(N, 3 V)``."""
    return np.stack([shapes[str(row["mesh"])] for row in rows])


class ShapeRidge:
    """Ridge regression on principal components of shape, the penalty chosen by leave-one-out for each target.

    Components are in units of the first one's standard deviation, one scale for all: a direction in which bodies hardly
    differ is trusted little.

    Args:
        shapes: ``(N, D)`` of the training people, at least three.
        wanted: ``(N, T)`` what is predicted.
        components: principal components of shape, at most N - 1.
    """

    def __init__(
        self, shapes: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating], components: int = SHAPE_COMPONENTS
    ) -> None:
        self.mean_shape = shapes.mean(axis=0, dtype=np.float64)
        moved = shapes - self.mean_shape
        variance, vectors = np.linalg.eigh(moved @ moved.T)
        largest = np.argsort(variance)[::-1][: min(components, len(shapes) - 1)]
        largest = largest[variance[largest] > _NEGLIGIBLE * variance.max()]
        deviation = np.sqrt(variance[largest])
        # unit vectors of the components, over the deviation of the first one
        self.projection = (moved.T @ (vectors[:, largest] / deviation)) * (np.sqrt(len(shapes)) / deviation[0])
        self.mean, spread = wanted.mean(axis=0), wanted.std(axis=0)
        self.spread = np.where(spread > 0.0, spread, 1.0)
        self.ridge = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
        self.ridge.fit(moved @ self.projection, (wanted - self.mean) / self.spread)

    def predict(self, shapes: npt.NDArray[np.floating]) -> FloatArray:
        """``(N, T)`` of shapes ``(N, D)``."""
        predicted = self.ridge.predict((shapes - self.mean_shape) @ self.projection).reshape(len(shapes), -1)
        return np.asarray(predicted * self.spread + self.mean)


class ShapeToImage:
    """Ridge regression from shape to principal components of the images.

    Args:
        shapes: ``(N, D)`` of the training people.
        rows: manifest rows of their scans.
        mean_image: ``(6, H, W)`` of them.
    """

    def __init__(
        self, shapes: npt.NDArray[np.floating], rows: Sequence[Mapping[str, Any]], mean_image: torch.Tensor
    ) -> None:
        self.mean_image = mean_image
        count = min(MOST_COMPONENTS, len(rows) - 1)
        self.components, _ = principal_components(rows, mean_image, count, ScanSource())
        flat = self.components.flatten(1)
        codes = np.stack([(flat @ (raw_image(row)[0] - mean_image).flatten()).numpy() for row in rows])
        self.ridge = ShapeRidge(shapes, codes.astype(np.float64))

    def predict(self, shapes: npt.NDArray[np.floating]) -> torch.Tensor:
        """Scans ``(N, 6, H, W)`` in [0, 1] of shapes ``(N, D)``."""
        codes = torch.from_numpy(self.ridge.predict(shapes)).float()
        images = self.mean_image + torch.einsum("nk,kchw->nchw", codes, self.components)
        return images.clamp(0.0, 1.0)
