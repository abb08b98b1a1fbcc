"""A scan turned upright about the body's long axis, so that cut lines can be sought along rows and columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform, gaussian_filter, label

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MARGIN_MM = 60.0
"""Air added around the field, so that turning a body that fills it cuts nothing off."""
_SMOOTHING_MM = 4.0
"""Standard deviation that calms per-pixel noise and leaves a rib (about 10 mm) visible."""
_SMALLEST_PIECE_SHARE = 0.01
"""Pieces of the silhouette below this share of the largest are specks of noise, not a hand."""


@dataclass(frozen=True)
class UprightScan:
    """Soft tissue, bone and silhouette with the body's long axis along the rows' direction, head at row 0.

    Attributes:
        soft_g_cm2: ``(H', W')`` fat plus lean, smoothed.
        bone_g_cm2: ``(H', W')`` bone mineral, smoothed.
        body: ``(H', W')`` bool.
        pixel_spacing_mm: (row, column).
        origin: ``(2,)`` pixel of the image that lies at pixel (0, 0) here.
        turn: ``(2, 2)`` matrix; image pixel = turn @ upright pixel + origin.
    """

    soft_g_cm2: FloatArray
    bone_g_cm2: FloatArray
    body: BoolArray
    pixel_spacing_mm: tuple[float, float]
    origin: FloatArray
    turn: FloatArray

    def to_image(self, points: FloatArray) -> FloatArray:
        """``(N, 2)`` (row, column) of this frame -> the same points in the image's pixels."""
        moved: FloatArray = np.asarray(points, dtype=np.float64) @ self.turn.T + self.origin
        return moved

    def mirrored(self) -> UprightScan:
        """Left and right exchanged: one rule then serves both arms. Columns count from the other side."""
        return UprightScan(
            self.soft_g_cm2[:, ::-1],
            self.bone_g_cm2[:, ::-1],
            self.body[:, ::-1],
            self.pixel_spacing_mm,
            self.origin,
            self.turn,
        )


def clean_silhouette(body: BoolArray) -> BoolArray:
    """``(H, W)`` bool without the specks: the largest connected piece and every one of a hand's size."""
    pieces, count = label(body)
    if count == 0:
        return np.zeros(body.shape, dtype=bool)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    kept: BoolArray = (sizes >= _SMALLEST_PIECE_SHARE * sizes.max())[pieces]
    return kept


def smooth_maps(
    areal_density_g_cm2: FloatArray, body: BoolArray, pixel_spacing_mm: tuple[float, float]
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Soft tissue (fat plus lean, whose noise cancels), bone mineral and silhouette of one scan, calmed."""
    body = clean_silhouette(body)
    sigma = tuple(_SMOOTHING_MM / spacing for spacing in pixel_spacing_mm)
    density = np.where(body, np.nan_to_num(areal_density_g_cm2, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    soft = gaussian_filter(np.maximum(density[0] + density[1], 0.0), sigma)
    return soft, gaussian_filter(density[2], sigma), body


def turned_upright(
    soft_g_cm2: FloatArray,
    bone_g_cm2: FloatArray,
    body: BoolArray,
    pixel_spacing_mm: tuple[float, float],
    tilt_rad: float,
) -> UprightScan:
    """Resample so that a body axis leaning by ``tilt_rad`` (its column grows towards the feet) stands upright.

    Angles are measured in millimetres, not pixels: x_image = R x_upright about the middle of the body, of
    which there must be some.
    """
    spacing = np.asarray(pixel_spacing_mm)
    margin = np.ceil(MARGIN_MM / spacing).astype(int)
    shape = tuple(int(side) for side in np.array(body.shape) + 2 * margin)
    rotation = np.array([[np.cos(tilt_rad), -np.sin(tilt_rad)], [np.sin(tilt_rad), np.cos(tilt_rad)]])
    turn = rotation * spacing[None, :] / spacing[:, None]  # S^-1 R S with S = diag(spacing)
    # Turning about the middle of the body, not of the field: the same body elsewhere is sampled alike.
    occupied = np.argwhere(body)
    middle = (occupied.min(axis=0) + occupied.max(axis=0)) / 2.0
    origin = middle - turn @ ((np.array(shape) - 1) / 2.0) if tilt_rad != 0.0 else -margin.astype(np.float64)

    def resample(image: FloatArray) -> FloatArray:
        if tilt_rad == 0.0:
            return np.pad(image, [(side, side) for side in margin])
        resampled: FloatArray = affine_transform(image, turn, origin, output_shape=shape, order=1)
        return resampled

    return UprightScan(
        resample(soft_g_cm2),
        resample(bone_g_cm2),
        resample(body.astype(np.float32)) > 0.5,
        (float(spacing[0]), float(spacing[1])),
        origin,
        turn,
    )
