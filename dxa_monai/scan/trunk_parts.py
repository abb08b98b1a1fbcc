"""Parts of the chest that clinical reports tell apart: ribs by side, spine above and below the border of T12 and L1.

They follow from a region map, whoever drew it, and enter no sum beside their regions.
"""

from __future__ import annotations

import numpy as np

from dxa_monai.scan.format import Array
from dxa_monai.scan.regions import FloatArray, Region, trunk_lines, weighted_totals

TRUNK_PARTS = ("left_ribs", "right_ribs", "thoracic_spine", "lumbar_spine")
"""The first two make up the ribs, the others the spine."""
THORACOLUMBAR_SHARE = 0.26
"""Height of the border of T12 and L1 above the pelvis line, over the distance from there to the neck line: mean of 40
virtual people, whose vertebrae are known (standard deviation 0.033, or 14 mm; women 0.24, men 0.28, children 0.32). No
landmark is looked for."""


def trunk_parts(region_map: Array) -> dict[str, FloatArray]:
    """The share of each pixel in each of ``TRUNK_PARTS``.

    A pixel of the ribs is on the side of the spine's axis, a straight line fitted to its pixels, that its centre lies
    on. The spine is cut parallel to the pelvis line; pixels on that line belong to both in part.

    Args:
        region_map: ``(H, W)`` integers of :class:`dxa_monai.scan.regions.Region`.

    Returns:
        Arrays ``(H, W)``, 0 to 1; all 0 where there is no spine, or head and chest or chest and pelvis do not adjoin.
    """
    codes = np.asarray(region_map)
    lines = trunk_lines(codes)
    rows, columns = np.nonzero(codes == Region.SPINE)
    if lines is None or np.unique(rows).size < 2:
        return {name: np.zeros(codes.shape) for name in TRUNK_PARTS}
    slope, start = np.polyfit(rows, columns, 1)
    row, column = np.indices(codes.shape)
    left = column > start + slope * row
    ribs, spine = codes == Region.RIBS, codes == Region.SPINE
    lumbar = lines.share_between(-np.inf, THORACOLUMBAR_SHARE * lines.distance)
    shares = (ribs & left, ribs & ~left, spine * (1.0 - lumbar), spine * lumbar)
    return {name: np.asarray(share, dtype=np.float64) for name, share in zip(TRUNK_PARTS, shares, strict=True)}


def trunk_part_totals(areal_density_g_cm2: Array, region_map: Array, pixel_area_cm2: float) -> dict[str, float]:
    """What the parts hold, ``{part}_{quantity}`` as :func:`dxa_monai.scan.regions.regional_totals`.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` maps of fat, lean and bone mineral.
        region_map: ``(H, W)`` integers of :class:`dxa_monai.scan.regions.Region`.
        pixel_area_cm2: area of one pixel.
    """
    return {
        f"{name}_{quantity}": value
        for name, share in trunk_parts(region_map).items()
        for quantity, value in weighted_totals(areal_density_g_cm2, share, pixel_area_cm2).items()
    }
