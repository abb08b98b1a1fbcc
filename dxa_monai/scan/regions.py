"""The regions of a whole-body scan, and what a set of areal-density maps holds in each of them."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

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

BONE_AREA_THRESHOLD_G_CM2 = 0.1
"""A pixel counts as bone area from this areal density of bone mineral on (our choice; the clinical one is closed)."""


def regional_totals(areal_density_g_cm2: Array, region_map: Array, pixel_area_cm2: float) -> dict[str, float]:
    """What each region holds: fat, lean, bone mineral, mass, % fat, bone area and bone mineral density.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` maps of fat, lean and bone mineral.
        region_map: ``(H, W)`` integers of :class:`Region`.
        pixel_area_cm2: area of one pixel.

    Returns:
        ``{region}_{quantity}`` for every group of ``REGION_GROUPS``: ``_fat_g``, ``_lean_g``, ``_bmc_g``, ``_mass_g``,
        ``_fat_percent``, ``_bone_area_cm2``, ``_bmd_g_cm2``. Mass is the sum over pixels times the pixel area, in
        float64, so groups add up. A region without bone has BMD 0, one without mass % fat 0.
    """
    density = np.asarray(areal_density_g_cm2, dtype=np.float64)
    codes = np.asarray(region_map)
    count = max(Region) + 1
    fat, lean, bmc = (
        np.bincount(codes.ravel(), weights=channel.ravel(), minlength=count) * pixel_area_cm2 for channel in density
    )
    bone = density[2] >= BONE_AREA_THRESHOLD_G_CM2
    bone_area = np.bincount(codes[bone], minlength=count) * pixel_area_cm2
    bone_in_area = np.bincount(codes[bone], weights=density[2][bone], minlength=count) * pixel_area_cm2

    totals: dict[str, float] = {}
    for name, members in REGION_GROUPS.items():
        index = [int(member) for member in members]
        region_fat, region_lean, region_bmc = fat[index].sum(), lean[index].sum(), bmc[index].sum()
        mass, area = region_fat + region_lean + region_bmc, bone_area[index].sum()
        totals[f"{name}_fat_g"] = float(region_fat)
        totals[f"{name}_lean_g"] = float(region_lean)
        totals[f"{name}_bmc_g"] = float(region_bmc)
        totals[f"{name}_mass_g"] = float(mass)
        totals[f"{name}_fat_percent"] = float(100.0 * region_fat / mass) if mass > 0 else 0.0
        totals[f"{name}_bone_area_cm2"] = float(area)
        totals[f"{name}_bmd_g_cm2"] = float(bone_in_area[index].sum() / area) if area > 0 else 0.0
    return totals
