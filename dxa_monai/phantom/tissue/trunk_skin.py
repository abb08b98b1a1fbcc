"""How far the trunk reaches to the front, to the back and to the sides at every height."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dxa_monai.phantom.body.mesh import FloatArray, IntArray

MIDLINE_M = 0.03
"""Half the width of the strip in which back and breastbone are sought."""
FLANK_M = 0.11
FLANK_BAND_M = 0.02
"""Where the anterior iliac spines lie beside the midline, and half the width of the strip there."""


@dataclass(frozen=True)
class TrunkSkin:
    """Extent of the trunk by height: the narrower of skin and lean surface.

    Attributes:
        z_m: ``(n,)`` heights.
        front_m, back_m: ``(n,)`` y near the midline.
        flank_front_m: ``(n,)`` y of the skin's front ``FLANK_M`` beside the midline.
        blade_back_m: ``(n,)`` y of the back, anywhere.
        half_width_m: ``(n,)``.
        skin_half_width_m: ``(n,)`` of the skin alone.
    """

    z_m: FloatArray
    front_m: FloatArray
    back_m: FloatArray
    flank_front_m: FloatArray
    blade_back_m: FloatArray
    half_width_m: FloatArray
    skin_half_width_m: FloatArray

    @staticmethod
    def of(skin_m: FloatArray, lean_m: FloatArray, edges: IntArray, z_m: FloatArray) -> TrunkSkin:
        """Measure both surfaces ``(S, 3)`` where the trunk's ``edges`` ``(E, 2)`` cross the heights ``(n,)``."""
        skin, lean = (_slice_extents(points[edges], z_m) for points in (skin_m, lean_m))
        back, blade, half = (np.minimum(skin[k], lean[k]) for k in (1, 3, 4))
        return TrunkSkin(z_m, np.maximum(skin[0], lean[0]), back, skin[2], blade, half, skin[4])


def _slice_extents(edges_m: FloatArray, z_m: FloatArray) -> tuple[FloatArray, ...]:
    """Per height: least and largest y near the midline, least y in the flanks, largest y, largest |x|.

    Args:
        edges_m: ``(E, 2, 3)`` ends of the surface's edges.
        z_m: ``(n,)`` heights of the cuts.
    """
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
    flank = np.abs(np.abs(x) - FLANK_M) < FLANK_BAND_M
    return (
        -largest(-y, midline),
        largest(y, midline),
        -largest(-y, flank),
        largest(y, everywhere),
        largest(np.abs(x), everywhere),
    )
