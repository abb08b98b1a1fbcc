"""How far the trunk reaches to the front, to the back and to the sides at every height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dxa_monai.phantom.mesh import FloatArray, IntArray

MIDLINE_M = 0.03
"""Half the width of the strip in which back and breastbone are sought."""


@dataclass(frozen=True)
class TrunkSkin:
    """Extent of the trunk by height: the narrower of skin and lean surface.

    Attributes:
        z_m: ``(n,)`` heights.
        front_m, back_m: ``(n,)`` y near the midline.
        blade_back_m: ``(n,)`` y of the back, anywhere.
        half_width_m: ``(n,)``.
        skin_half_width_m: ``(n,)`` of the skin alone.
    """

    z_m: FloatArray
    front_m: FloatArray
    back_m: FloatArray
    blade_back_m: FloatArray
    half_width_m: FloatArray
    skin_half_width_m: FloatArray

    @staticmethod
    def of(skin_m: FloatArray, lean_m: FloatArray, edges: IntArray, z_m: FloatArray) -> TrunkSkin:
        """Measure both surfaces ``(S, 3)`` where the trunk's ``edges`` ``(E, 2)`` cross the heights ``(n,)``."""
        extents = [_slice_extents(points[edges], z_m) for points in (skin_m, lean_m)]
        front, back, blade, half = (
            sign * np.minimum(sign * extents[0][k], sign * extents[1][k])
            for k, sign in enumerate((-1.0, 1.0, 1.0, 1.0))
        )
        return TrunkSkin(z_m, front, back, blade, half, extents[0][3])


def _slice_extents(edges_m: FloatArray, z_m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Per height: least y and largest y near the midline, largest y, largest |x|, of ``(E, 2, 3)`` edges."""
    low, high = edges_m[:, 0, 2], edges_m[:, 1, 2]
    height, edge = np.nonzero((low[None] > z_m[:, None]) != (high[None] > z_m[:, None]))
    share = ((z_m[height] - low[edge]) / (high[edge] - low[edge]))[:, None]
    points = (1.0 - share) * edges_m[edge, 0, :2] + share * edges_m[edge, 1, :2]
    x, y = points[:, 0], points[:, 1]

    def largest(values: FloatArray, chosen: npt.NDArray[np.bool_]) -> FloatArray:
        extent = np.full(len(z_m), -np.inf)
        np.maximum.at(extent, height[chosen], values[chosen])
        known = np.isfinite(extent)
        return np.interp(z_m, z_m[known], extent[known])

    everywhere, midline = np.ones(len(x), dtype=bool), np.abs(x) < MIDLINE_M
    return -largest(-y, midline), largest(y, midline), largest(y, everywhere), largest(np.abs(x), everywhere)
