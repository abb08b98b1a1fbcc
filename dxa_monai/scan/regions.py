"""The regions of a whole-body scan, and what a set of areal-density maps holds in each of them."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dxa_monai.scan.format import Array


class Region(IntEnum):
    """Codes of the integer region map; every pixel has exactly one."""

    BACKGROUND = 0
    HEAD = 1
    LEFT_ARM = 2
    RIGHT_ARM = 3
    LEFT_LEG = 4
    RIGHT_LEG = 5
    RIBS = 6
    SPINE = 7
    PELVIS = 8


_LIMBS = (Region.LEFT_ARM, Region.RIGHT_ARM, Region.LEFT_LEG, Region.RIGHT_LEG)
_TRUNK = (Region.RIBS, Region.SPINE, Region.PELVIS)

REGION_GROUPS: dict[str, tuple[Region, ...]] = {
    "head": (Region.HEAD,),
    "left_arm": (Region.LEFT_ARM,),
    "right_arm": (Region.RIGHT_ARM,),
    "left_leg": (Region.LEFT_LEG,),
    "right_leg": (Region.RIGHT_LEG,),
    "ribs": (Region.RIBS,),
    "spine": (Region.SPINE,),
    "pelvis": (Region.PELVIS,),
    "trunk": _TRUNK,
    "arms": (Region.LEFT_ARM, Region.RIGHT_ARM),
    "legs": (Region.LEFT_LEG, Region.RIGHT_LEG),
    "subtotal": (*_TRUNK, *_LIMBS),
    "total": (Region.HEAD, *_TRUNK, *_LIMBS),
}
"""What is reported, and which codes it gathers; 'subtotal' is the body without the head, as in clinical reports."""

BONE_AREA_THRESHOLD_G_CM2 = 0.3
"""A pixel counts as bone area from this areal density of bone mineral on (our choice; the clinical one is closed)."""


OVERLAPPING_REGIONS = ("android", "gynoid")
"""Regions of :func:`android_gynoid`, reported beside the groups; they share pixels with them and enter no sum."""
ANDROID_HEIGHT_SHARE = 0.2
"""Height of the android region over the distance from the pelvis line to the neck line."""
GYNOID_DROP, GYNOID_HEIGHT = 1.5, 2.0
"""Drop of the gynoid region's upper edge below the pelvis line, and its height, in android heights."""
SUMMED_REGIONS = (*(region.name.lower() for region in Region if region), *OVERLAPPING_REGIONS)
"""Of which sums are kept: the codes of :class:`Region` without the background, and those that overlap them."""
SUMS = ("fat_g", "lean_g", "bmc_g", "bone_area_cm2", "bone_g")
"""What of a region is a sum over pixels; ``bone_g`` is the bone mineral inside of the bone area."""

FloatArray = npt.NDArray[np.float64]


def android_gynoid(region_map: Array) -> tuple[FloatArray, FloatArray]:
    """The android and the gynoid region of a region map, whoever drew it.

    Android: the trunk from the pelvis line (upper edge of the pelvis) upwards by 20 % of the distance to the neck line
    (lower edge of the head), between the arms' cuts. Gynoid: trunk and legs between the arms from 1.5 android heights
    below the pelvis line down by two android heights. The proportions are those known of GE Lunar's software, as used
    in [1]; they are from memory and not checked against the maker's manual. All edges run parallel to the pelvis line,
    a straight line fitted to the pixels' edges.

    A row is about 13 mm high, a seventh of the android region, so the regions are not masks: a pixel that an edge
    passes through belongs to them in part.

    Args:
        region_map: ``(H, W)`` integers of :class:`Region`.

    Returns:
        Two arrays ``(H, W)``, share of each pixel in the android and in the gynoid region, 0 to 1. All 0 if head and
        chest or chest and pelvis do not adjoin.

    References:
        [1] Stults-Kolehmainen et al., "DXA estimates of fat in abdominal, trunk and hip regions varies by ethnicity in
            men", Nutrition & Diabetes 3:e64, 2013, doi:10.1038/nutd.2013.5.
    """
    codes = np.asarray(region_map)
    lines = trunk_lines(codes)
    if lines is None:
        return np.zeros(codes.shape), np.zeros(codes.shape)
    height = ANDROID_HEIGHT_SHARE * lines.distance
    legs = (codes == Region.LEFT_LEG) | (codes == Region.RIGHT_LEG)
    trunk = np.isin(codes, _TRUNK)
    android = lines.share_between(0.0, height) * trunk
    gynoid = lines.share_between(-(GYNOID_DROP + GYNOID_HEIGHT) * height, -GYNOID_DROP * height) * (trunk | legs)
    return android, gynoid


class TrunkLines(NamedTuple):
    """The pelvis line of a region map, a straight line fitted to the pelvis' upper edge, and how far the neck is.

    Attributes:
        above: ``(H, W)`` rows from each pixel's centre down to the pelvis line.
        distance: rows from the pelvis line up to the neck line, at the middle of the neck.
    """

    above: FloatArray
    distance: float

    def share_between(self, lowest: float, highest: float) -> FloatArray:
        """``(H, W)`` share of each pixel between two levels, in rows above the pelvis line."""
        return np.clip(np.minimum(self.above + 0.5, highest) - np.maximum(self.above - 0.5, lowest), 0.0, 1.0)


def trunk_lines(region_map: Array) -> TrunkLines | None:
    """The lines that parts of the trunk are measured from.

    Args:
        region_map: ``(H, W)`` integers of :class:`Region`.

    Returns:
        None if head and chest or chest and pelvis do not adjoin.
    """
    codes = np.asarray(region_map)
    chest = (codes == Region.RIBS) | (codes == Region.SPINE)
    neck_row, neck_column = np.nonzero((codes[:-1] == Region.HEAD) & chest[1:])
    pelvis_row, pelvis_column = np.nonzero(chest[:-1] & (codes[1:] == Region.PELVIS))
    if neck_row.size == 0 or pelvis_row.size == 0:
        return None
    spread = pelvis_column - pelvis_column.mean()
    slope = float((spread * pelvis_row).sum() / max((spread**2).sum(), 1.0))

    def pelvis_line(column: FloatArray | float) -> FloatArray:
        return np.asarray(pelvis_row.mean() + 0.5 + slope * (column - pelvis_column.mean()), dtype=np.float64)

    distance = float(pelvis_line(float(neck_column.mean())) - (neck_row.mean() + 0.5))
    rows, columns = np.indices(codes.shape, dtype=np.float64)
    return TrunkLines(pelvis_line(columns) - rows, distance) if distance > 0.0 else None


def weighted_totals(areal_density_g_cm2: Array, share: Array, pixel_area_cm2: float) -> dict[str, float]:
    """What a region of whole and part pixels holds: the quantities of :func:`regional_totals` without a region's name.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` maps of fat, lean and bone mineral.
        share: ``(H, W)`` share of each pixel in the region, 0 to 1.
        pixel_area_cm2: area of one pixel.
    """
    return _quantities(*_weighted_sums(np.asarray(areal_density_g_cm2, dtype=np.float64), share, pixel_area_cm2))


def regional_sums(areal_density_g_cm2: Array, region_map: Array, pixel_area_cm2: float) -> FloatArray:
    """What of a scan is a sum over the pixels of each region, ``(SUMMED_REGIONS, SUMS)``; see :func:`totals_of_sums`.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` maps of fat, lean and bone mineral.
        region_map: ``(H, W)`` integers of :class:`Region`.
        pixel_area_cm2: area of one pixel.
    """
    density = np.asarray(areal_density_g_cm2, dtype=np.float64)
    codes = np.asarray(region_map)
    count = max(Region) + 1
    bone = density[2] >= BONE_AREA_THRESHOLD_G_CM2
    columns = [np.bincount(codes.ravel(), weights=channel.ravel(), minlength=count) for channel in density]
    columns.append(np.bincount(codes[bone], minlength=count).astype(np.float64))
    columns.append(np.bincount(codes[bone], weights=density[2][bone], minlength=count))
    of_regions = np.stack(columns, axis=1)[1:] * pixel_area_cm2
    overlapping = [_weighted_sums(density, share, pixel_area_cm2) for share in android_gynoid(codes)]
    return np.concatenate([of_regions, overlapping])


def totals_of_sums(sums: npt.NDArray[np.floating]) -> dict[str, float]:
    """What :func:`regional_totals` reports, from the sums alone.

    Args:
        sums: ``(SUMMED_REGIONS, SUMS)``.
    """
    totals: dict[str, float] = {}
    for name, members in REGION_GROUPS.items():
        of_group = sums[[int(member) - 1 for member in members]].sum(axis=0)
        totals |= {f"{name}_{quantity}": value for quantity, value in _quantities(*of_group).items()}
    for name, of_region in zip(OVERLAPPING_REGIONS, sums[-len(OVERLAPPING_REGIONS) :], strict=True):
        totals |= {f"{name}_{quantity}": value for quantity, value in _quantities(*of_region).items()}
    return totals


def regional_totals(areal_density_g_cm2: Array, region_map: Array, pixel_area_cm2: float) -> dict[str, float]:
    """What each region holds: fat, lean, bone mineral, mass, % fat, bone area and bone mineral density.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` maps of fat, lean and bone mineral.
        region_map: ``(H, W)`` integers of :class:`Region`.
        pixel_area_cm2: area of one pixel.

    Returns:
        ``{region}_{quantity}`` for every group of ``REGION_GROUPS`` and for android and gynoid, which overlap them
        (:func:`android_gynoid`): ``_fat_g``, ``_lean_g``, ``_bmc_g``, ``_mass_g``,
        ``_fat_percent``, ``_bone_area_cm2``, ``_bmd_g_cm2``. Mass is the sum over pixels times the pixel area, in
        float64, so groups add up. A region without bone has BMD 0, one without mass % fat 0.
    """
    return totals_of_sums(regional_sums(areal_density_g_cm2, region_map, pixel_area_cm2))


def _weighted_sums(density: FloatArray, share: Array, pixel_area_cm2: float) -> FloatArray:
    """``(SUMS,)`` of maps ``(3, H, W)`` in a region of whole and part pixels."""
    weight = np.asarray(share, dtype=np.float64) * pixel_area_cm2
    bone = weight * (density[2] >= BONE_AREA_THRESHOLD_G_CM2)
    return np.array([*(density * weight).sum(axis=(1, 2)), bone.sum(), (density[2] * bone).sum()])


def _quantities(fat_g: float, lean_g: float, bmc_g: float, bone_area_cm2: float, bone_g: float) -> dict[str, float]:
    """The reported quantities of one region; ``bone_g`` is the bone mineral inside the bone area."""
    mass_g = fat_g + lean_g + bmc_g
    return {
        "fat_g": float(fat_g),
        "lean_g": float(lean_g),
        "bmc_g": float(bmc_g),
        "mass_g": float(mass_g),
        "fat_percent": float(100.0 * fat_g / mass_g) if mass_g > 0 else 0.0,
        "bone_area_cm2": float(bone_area_cm2),
        "bmd_g_cm2": float(bone_g / bone_area_cm2) if bone_area_cm2 > 0 else 0.0,
    }
