"""The regions that clinical software draws on a whole-body scan, from the posed body that made it."""

from __future__ import annotations

import numpy as np

from dxa_monai.phantom.body.joints import ILIAC_CREST_LEVEL, TrunkAxes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import PART_NAMES
from dxa_monai.phantom.tissue.projection import Frame
from dxa_monai.scan.format import Array
from dxa_monai.scan.regions import Region

SPINE_HALF_WIDTH_SHARE = 0.075
"""Half width of the spine's band relative to the trunk's length (about 3.5 cm)."""
CROTCH_DROP_SHARE = 0.17
"""How far below the hip joints the oblique lines through the femoral necks meet, relative to the trunk's length."""
ARM_IN_FRONT_SHARE = 0.15
"""Where arm and trunk or thigh share a pixel the arm has it from this share of the thickness on."""


def region_map(part_thickness_cm: FloatArray, axes: TrunkAxes, frame: Frame) -> Array:
    """Give every pixel of the body exactly one region.

    The part with the greatest thickness has the pixel; an arm has it before trunk and legs. The trunk ends at the two
    oblique lines through the hip joints (femoral necks); a horizontal line at the iliac crests divides it into pelvis
    and chest, and a vertical band about the spine's joints divides the chest into spine and ribs.

    Args:
        part_thickness_cm: ``(6, H, W)`` thickness of each of ``PART_NAMES``.
        axes: the body's trunk axes.
        frame: the pixel grid.

    Returns:
        ``(H, W)`` uint8 of :class:`dxa_monai.scan.regions.Region`; 0 where there is no body.
    """
    thickness = np.maximum(part_thickness_cm, 0.0)
    total = thickness.sum(axis=0)
    part = thickness.argmax(axis=0)
    for arm in (PART_NAMES.index("left_arm"), PART_NAMES.index("right_arm")):
        part[thickness[arm] > ARM_IN_FRONT_SHARE * total] = arm

    z, x = frame.pixel_centres_m()
    left, level = axes.coordinates(x[None, :], z[:, None])
    regions = np.zeros(frame.shape, dtype=np.uint8)
    regions[part == PART_NAMES.index("head")] = Region.HEAD
    regions[part == PART_NAMES.index("left_arm")] = Region.LEFT_ARM
    regions[part == PART_NAMES.index("right_arm")] = Region.RIGHT_ARM

    below_trunk = np.isin(part, [PART_NAMES.index(name) for name in ("trunk", "left_leg", "right_leg")])
    # Both oblique lines rise outwards from the crotch through the hip joints.
    line = CROTCH_DROP_SHARE * (np.abs(left) / axes.hip_half_width_m - 1.0)
    leg = below_trunk & (level < line)
    regions[leg & (left >= 0.0)] = Region.LEFT_LEG
    regions[leg & (left < 0.0)] = Region.RIGHT_LEG

    trunk = below_trunk & ~leg
    pelvis = trunk & (level < ILIAC_CREST_LEVEL)
    spine_left, spine_level = axes.coordinates(axes.spine_m[:, 0], axes.spine_m[:, 2])
    on_spine = np.abs(left - np.interp(level, spine_level, spine_left)) < SPINE_HALF_WIDTH_SHARE * axes.length_m
    regions[trunk] = Region.RIBS
    regions[trunk & on_spine] = Region.SPINE
    regions[pelvis] = Region.PELVIS
    regions[total <= 0.0] = Region.BACKGROUND
    return regions
