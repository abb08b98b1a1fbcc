"""What predicts scans: trained networks and baselines alike, each an arm of the same table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.ridge import ComponentProcess, ComponentRidge
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics, principal_components
from dxa_monai.transforms.point_clouds import load_points

Rows = Sequence[Mapping[str, Any]]

MEAN_ARM = "training_mean"
"""The baseline that answers everybody with the mean of the training people."""
PRINCIPAL_ARM = "principal_components"
"""Start of the linear baseline's name, which the number of components follows."""
IMAGE_RIDGE_ARM = "ridge_shape_to_image"
IMAGE_PROCESS_ARM = "gaussian_process_shape_to_image"
MOST_IMAGE_COMPONENTS = 160
SHAPE_COMPONENTS = 80
"""With 40 the images of held-out people are 0.4 dB worse, with 160 no better."""
_AXES_OF_FILES = ("unit", "up_axis", "facing")


@dataclass(frozen=True, eq=False)
class Batch:
    """Some people held out.

    Attributes:
        rows: manifest rows, N of them.
        scans: their scans ``(N, 6, H, W)`` in [0, 1], read once for all arms.
    """

    rows: Rows
    scans: torch.Tensor


class ScanPredictor(Protocol):
    """An arm of a table of scans."""

    def predict(self, batch: Batch) -> torch.Tensor:
        """Scans ``(N, 6, H, W)`` in [0, 1] on the CPU."""


class Reconstruction:
    """A DXA-VAE's reconstruction of the scan itself.

    Args:
        network: is put on the device, in evaluation mode.
        device: where to compute.
    """

    def __init__(self, network: DXAVAE, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device).eval()
        self.device = device

    @property
    def code_size(self) -> int:
        """Numbers in the code of a scan."""
        architecture = self.network.architecture()
        return int(architecture["latent_channels"] * math.prod(architecture["latent_shape"]))

    @torch.no_grad()
    def predict(self, batch: Batch) -> torch.Tensor:
        return self.network.reconstruct(batch.scans.to(self.device)).cpu()


class ScanOfBody:
    """What a network makes of the points of a body (:func:`dxa_monai.transforms.point_clouds.draw_point_clouds`).

    Args:
        network: is put on the device, in evaluation mode.
        points: of each body; rows need ``points``, the file of a body's cloud.
        device: where to compute.
    """

    def __init__(self, network: PseudoDXA, points: int, device: str | torch.device = "cpu") -> None:
        self.network = network.to(device).eval()
        self.points = points
        self.device = device

    @torch.no_grad()
    def predict(self, batch: Batch) -> torch.Tensor:
        clouds = torch.stack([load_points(row, self.points) for row in batch.rows])
        return self.network.predict(clouds.to(self.device)).cpu()

    @torch.no_grad()
    def sums(self, rows: Rows) -> npt.NDArray[np.float64] | None:
        """What the regions of each body hold ``(N, SUMMED_REGIONS, SUMS)``, read without an image; None: no maps."""
        if self.network.material_path is None:
            return None
        clouds = (load_points(row, self.points)[None].to(self.device) for row in rows)
        return np.concatenate([self.network.materials(cloud)[1].double().cpu().numpy() for cloud in clouds])


class MeanScan:
    """The training people's mean image as the answer to everybody.

    Args:
        mean_image: ``(6, H, W)``.
    """

    def __init__(self, mean_image: torch.Tensor) -> None:
        self.mean_image = mean_image

    def predict(self, batch: Batch) -> torch.Tensor:
        return self.mean_image.expand_as(batch.scans)


class PrincipalComponents:
    """The scan's projection on principal components of the training scans, clamped to [0, 1].

    Args:
        rows: manifest rows of the training people.
        source: how their scans are read.
        mean_image: ``(6, H, W)`` of them.
        components: how many.

    Raises:
        InputError: there are not more scans than components.
    """

    def __init__(self, rows: Rows, source: ScanSource, mean_image: torch.Tensor, components: int) -> None:
        channels, height, width = mean_image.shape
        self.mean_image = mean_image
        self.path = LinearPath(components, (channels, height, width))
        self.path.set_components(*principal_components(rows, mean_image, components, source))
        self.name = f"{PRINCIPAL_ARM}_{components}"

    @torch.no_grad()
    def predict(self, batch: Batch) -> torch.Tensor:
        deviations = self.path.decode(self.path.encode(batch.scans - self.mean_image))
        return (deviations + self.mean_image).clamp(0.0, 1.0)


ShapeRegression = ComponentRidge | ComponentProcess
Shapes = Mapping[str, npt.NDArray[np.float32]]
"""Vertices ``(3 V,)`` in metres by the file of the mesh, all of one topology."""


class ImageCodes:
    """Principal components of the training people's images, and their codes ``(N, K)``.

    Args:
        rows: manifest rows of the training people.
        source: how their scans are read.
        mean_image: ``(6, H, W)`` of them.
    """

    def __init__(self, rows: Rows, source: ScanSource, mean_image: torch.Tensor) -> None:
        count = min(MOST_IMAGE_COMPONENTS, len(rows) - 1)
        self.components, _ = principal_components(rows, mean_image, count, source)
        flat = self.components.flatten(1)
        codes = np.stack([(flat @ (source.image(row["scan"]) - mean_image).flatten()).numpy() for row in rows])
        self.codes = codes.astype(np.float64)


class RegressionFromShape:
    """Regression from principal components of shape to principal components of the images.

    Args:
        rows: manifest rows of the training people.
        source: how their scans are read.
        mean_image: ``(6, H, W)`` of them.
        shapes: of everybody.
        images: their codes, where another regression has them already.
    """

    def __init__(
        self,
        rows: Rows,
        source: ScanSource,
        mean_image: torch.Tensor,
        shapes: Shapes,
        images: ImageCodes | None = None,
    ) -> None:
        images = ImageCodes(rows, source, mean_image) if images is None else images
        self.mean_image = mean_image
        self.shapes = shapes
        self.components = images.components
        self.regression = self._fitted(shape_table(rows, shapes), images.codes, rows)

    def predict(self, batch: Batch) -> torch.Tensor:
        codes = torch.from_numpy(self.regression.predict(shape_table(batch.rows, self.shapes))).float()
        images = self.mean_image + torch.einsum("nk,kchw->nchw", codes, self.components)
        return images.clamp(0.0, 1.0)

    def _fitted(self, table: npt.NDArray[np.float32], codes: npt.NDArray[np.float64], rows: Rows) -> ShapeRegression:
        raise NotImplementedError


class RidgeFromShape(RegressionFromShape):
    """Ridge regression."""

    def _fitted(self, table: npt.NDArray[np.float32], codes: npt.NDArray[np.float64], rows: Rows) -> ShapeRegression:
        return ComponentRidge(table, codes, SHAPE_COMPONENTS)


class ProcessFromShape(RegressionFromShape):
    """Gaussian-process regression."""

    def _fitted(self, table: npt.NDArray[np.float32], codes: npt.NDArray[np.float64], rows: Rows) -> ShapeRegression:
        return ComponentProcess(table, codes, SHAPE_COMPONENTS, [str(row["subject_id"]) for row in rows])


def mean_of_training(rows: Rows, source: ScanSource) -> torch.Tensor:
    """The mean image ``(6, H, W)`` of the training people."""
    return image_statistics(rows, source)[0]


def load_shapes(rows: Rows, mesh: Mapping[str, Any] | None = None) -> Shapes:
    """Vertices of the rows' meshes, each body standing on the floor about the axis.

    Shape is given by the vertices of meshes of one topology, where a vertex is the same place on every body. Meshes of
    a scanner have no such vertices.

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


def shape_table(rows: Rows, shapes: Shapes) -> npt.NDArray[np.float32]:
    """The shape of each row, ``(N, 3 V)``."""
    return np.stack([shapes[str(row["mesh"])] for row in rows])
