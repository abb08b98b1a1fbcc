"""The patient lies a little differently: rotation, shift and zoom of the whole scan, in millimetres.

Pixels of a whole-body scan are 13.0 x 6.06 mm. MONAI's ``RandAffine`` rotates and zooms in voxel units, which would
shear a body on such a grid (by as much as the pixels are unequal), so the affine map is built here in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends, convert_to_dst_type, convert_to_tensor

from dxa_monai.physics.calibration import air_level
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.transforms.same_for_all_keys import SameForAllKeysd

ROTATION_DEGREES = 5.0
COLUMN_SHIFT = 0.08
ROW_SHIFT = (-0.013, 0.005)
ZOOM = 0.05
"""Default ranges: the augmentation of the published code (github.com/LambertLeong/DXA-VAE), which uses no flips."""


@dataclass(frozen=True)
class FieldGeometry:
    """One position of the body in the field of view, relative to the scan as it was taken.

    A point ``p`` (mm from the centre of the field) moves to ``zoom * R(rotation) p + shift``.

    Attributes:
        rotation_degrees: counter-clockwise as displayed (row 0 on top).
        row_shift: towards the feet, as a fraction of the field's height.
        column_shift: towards the right of the display, as a fraction of the field's width.
        zoom: factor of size; above 1 the body is larger.
    """

    rotation_degrees: float = 0.0
    row_shift: float = 0.0
    column_shift: float = 0.0
    zoom: float = 1.0


def move_in_field(
    image: torch.Tensor, geometry: FieldGeometry, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> torch.Tensor:
    """The image as it would look with the body moved: bilinear interpolation, open air outside the field.

    What comes in from outside reads what each channel of this scan reads in open air
    (:func:`dxa_monai.physics.calibration.air_level`): the scanner's zero, its table, and the attenuation of the
    calibration wheel. It has no noise. A body that reached over the border ends there. Interpolation averages
    neighbouring pixels, so a moved scan is less noisy than a taken one. The table moves with the body; its profile
    across columns is small beside what that changes.

    Args:
        image: ``(C, H, W)``, a raw scan.
        geometry: where the body goes.
        pixel_spacing_mm: distance between rows and between columns.

    Returns:
        float32 ``(C, H, W)``; the input itself if the body does not move.
    """
    if geometry == FieldGeometry():
        return image
    air = air_level(image[None].float())[0]
    return move_map(image.float() - air, geometry, pixel_spacing_mm) + air


def move_map(
    image: torch.Tensor, geometry: FieldGeometry, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> torch.Tensor:
    """Maps ``(C, H, W)`` that are 0 in open air, as they would look with the body moved; see :func:`move_in_field`."""
    theta = _backward_map(geometry, tuple(image.shape[-2:]), pixel_spacing_mm).to(image.device)
    grid = F.affine_grid(theta[None], [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None].float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def move_points(
    points: npt.NDArray[np.floating],
    geometry: FieldGeometry,
    image_shape: tuple[int, int],
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> npt.NDArray[np.float64]:
    """Where points ``(L, 2)`` (row, column) of an image lie once the body was moved; pixel centres at integers."""
    angle = math.radians(geometry.rotation_degrees)
    cosine, sine = math.cos(angle), math.sin(angle)
    middle, spacing = (np.array(image_shape) - 1) / 2.0, np.array(pixel_spacing_mm)
    row_mm, column_mm = ((np.asarray(points, dtype=np.float64) - middle) * spacing).T
    turned = geometry.zoom * np.stack([cosine * row_mm - sine * column_mm, sine * row_mm + cosine * column_mm], axis=1)
    shift = np.array([geometry.row_shift, geometry.column_shift]) * image_shape
    moved: npt.NDArray[np.float64] = turned / spacing + shift + middle
    return moved


def _backward_map(
    geometry: FieldGeometry, shape: tuple[int, ...], pixel_spacing_mm: tuple[float, float]
) -> torch.Tensor:
    """``(2, 3)``: from where, in torch's normalised (x, y), each output point takes its value."""
    half_height_mm = shape[0] * pixel_spacing_mm[0] / 2
    half_width_mm = shape[1] * pixel_spacing_mm[1] / 2
    angle = math.radians(geometry.rotation_degrees)
    cosine, sine = math.cos(angle) / geometry.zoom, math.sin(angle) / geometry.zoom
    # p = R^T (q - shift) / zoom with y pointing down; lengths are divided by the half field, [-1, 1] in torch
    turn = torch.tensor(
        [[cosine, -sine * half_height_mm / half_width_mm], [sine * half_width_mm / half_height_mm, cosine]],
        dtype=torch.float64,
    )
    shift = 2 * torch.tensor([[geometry.column_shift], [geometry.row_shift]], dtype=torch.float64)
    return torch.cat([turn, -turn @ shift], dim=1).float()


class RandFieldGeometry(RandomizableTransform):
    """Move the body in the field by a random rotation, shift and zoom, each drawn uniformly.

    The affine in the image's metadata is kept: it describes the detector's pixel grid, and it is the body that moves.
    Zoom changes the body's height and width by the same factor, and leaves its thickness as it is.

    Args:
        prob: probability that a scan is moved at all.
        rotation_degrees: range of the angle; one number ``a`` means ``(-a, a)``, here and below.
        column_shift: range of the shift to the right, as a fraction of the field's width.
        row_shift: range of the shift towards the feet, as a fraction of the field's height.
        zoom: range of the change of size; -0.05 makes the body 5 % smaller.
        pixel_spacing_mm: distance between rows and between columns.

    Raises:
        ValueError: a range is not finite or not ascending, a zoom does not leave a positive size, or a spacing is not
            positive.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        prob: float = 1.0,
        rotation_degrees: float | Sequence[float] = ROTATION_DEGREES,
        column_shift: float | Sequence[float] = COLUMN_SHIFT,
        row_shift: float | Sequence[float] = ROW_SHIFT,
        zoom: float | Sequence[float] = ZOOM,
        pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM,
    ) -> None:
        super().__init__(prob)
        self.rotation_degrees = _as_range("rotation_degrees", rotation_degrees)
        self.column_shift = _as_range("column_shift", column_shift)
        self.row_shift = _as_range("row_shift", row_shift)
        self.zoom = _as_range("zoom", zoom)
        if self.zoom[0] <= -1:
            raise ValueError(f"zoom: expected changes of size above -1, got {self.zoom[0]}.")
        if len(pixel_spacing_mm) != 2 or min(pixel_spacing_mm) <= 0:
            raise ValueError(f"pixel_spacing_mm: expected two positive distances, got {tuple(pixel_spacing_mm)}.")
        self.pixel_spacing_mm = (float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1]))
        self.geometry = FieldGeometry()

    def randomize(self, data: Sequence[int] | None = None) -> None:
        """Draw the next position into ``self.geometry``."""
        super().randomize(None)
        drawn = FieldGeometry(
            rotation_degrees=self.R.uniform(*self.rotation_degrees),
            row_shift=self.R.uniform(*self.row_shift),
            column_shift=self.R.uniform(*self.column_shift),
            zoom=1 + self.R.uniform(*self.zoom),
        )
        self.geometry = drawn if self._do_transform else FieldGeometry()

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Move an image ``(C, H, W)``; with ``randomize=False`` to the same position as the last one."""
        if randomize:
            self.randomize()
        image = convert_to_tensor(img, track_meta=get_track_meta())
        if self.geometry == FieldGeometry():
            return image
        plain = convert_to_tensor(image, track_meta=False)
        return convert_to_dst_type(move_in_field(plain, self.geometry, self.pixel_spacing_mm), image)[0]


class RandFieldGeometryd(SameForAllKeysd):
    """Dictionary version of :class:`RandFieldGeometry`: all keys move together, so that an input stays on its target.

    With ``keys=["image"]`` the target stays where it was and the network also learns to undo the motion, as in the
    published code.

    Args:
        keys: the images to move.
        allow_missing_keys: skip keys that a sample does not have.

    The other arguments are those of :class:`RandFieldGeometry`.
    """

    backend = RandFieldGeometry.backend

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        rotation_degrees: float | Sequence[float] = ROTATION_DEGREES,
        column_shift: float | Sequence[float] = COLUMN_SHIFT,
        row_shift: float | Sequence[float] = ROW_SHIFT,
        zoom: float | Sequence[float] = ZOOM,
        pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(
            keys,
            RandFieldGeometry(prob, rotation_degrees, column_shift, row_shift, zoom, pixel_spacing_mm),
            allow_missing_keys,
        )


def _as_range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    low, high = (-abs(value), abs(value)) if isinstance(value, (int, float)) else map(float, value)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"{name}: expected a number or an ascending pair of numbers, got {value}.")
    return float(low), float(high)
