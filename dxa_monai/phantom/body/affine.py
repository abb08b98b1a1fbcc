"""Affine maps of points, and the one that carries a bone from joint to joint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.phantom.body.mesh import FloatArray


@dataclass(frozen=True)
class Affine:
    """``x -> linear @ x + offset``.

    Attributes:
        linear: ``(3, 3)``.
        offset: ``(3,)``.
    """

    linear: FloatArray
    offset: FloatArray

    def __call__(self, points: FloatArray) -> FloatArray:
        """Map ``(..., 3)`` points."""
        return points @ self.linear.T + self.offset

    def inverse(self) -> Affine:
        """The map back."""
        linear: FloatArray = np.linalg.inv(self.linear).astype(np.float64)
        return Affine(linear, -linear @ self.offset)


def scale_about(centre: FloatArray, scale: FloatArray, target: FloatArray) -> Affine:
    """Scale along the axes so that ``centre`` comes to lie on ``target``."""
    return Affine(np.diag(scale), target - scale * centre)


def along_bone(
    rest_ends: tuple[FloatArray, FloatArray],
    rest_side: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    side: FloatArray,
    lateral_scale: float,
) -> Affine:
    """Carry a bone's two ends to two given points, without shear.

    Args:
        rest_ends: ``(3,)`` proximal and distal end at rest.
        rest_side: direction that fixes the rotation about the bone's axis.
        ends: where the ends shall be; their distance gives the scale along the axis.
        side: where ``rest_side`` shall point, up to its component along the axis.
        lateral_scale: scale across the axis.
    """
    rest_basis, rest_length = _basis(rest_ends[1] - rest_ends[0], rest_side)
    basis, length = _basis(ends[1] - ends[0], side)
    scale = np.array([length / rest_length, lateral_scale, lateral_scale])
    linear = basis @ (scale[:, None] * rest_basis.T)
    return Affine(linear, ends[0] - linear @ rest_ends[0])


def _basis(axis: FloatArray, side: FloatArray) -> tuple[FloatArray, float]:
    """Right-handed orthonormal columns (along the axis, towards the side, across both) and the axis' length."""
    length = float(np.linalg.norm(axis))
    along = axis / length
    towards = side - (side @ along) * along
    towards = towards / np.linalg.norm(towards)
    across = np.array(
        [
            along[1] * towards[2] - along[2] * towards[1],
            along[2] * towards[0] - along[0] * towards[2],
            along[0] * towards[1] - along[1] * towards[0],
        ]
    )
    return np.column_stack([along, towards, across]), length
