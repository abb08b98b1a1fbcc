"""Organs that a scan of the trunk shows: lungs about heart and mediastinum, the diaphragm's domes, liver, bowel gas.

Every organ is a profile over the pixels, thickness along the beam on an arbitrary scale, in the trunk's own axes;
:func:`dxa_monai.phantom.tissue.maps.compose` fills it up to the person's volume. Places and sizes are those of general
anatomy (a supine adult at the end of a quiet breath) in shares of the trunk; their scatter is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.phantom.body.joints import LUNG_APEX_LEVEL, NAVEL_LEVEL, TrunkAxes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.people.population import Person
from dxa_monai.phantom.tissue.projection import Frame

LUNG_HALF_WIDTH = 0.71
"""Widest reach of the lungs beside the midline, in half widths of the shoulders."""
LUNG_WIDEST_LEVEL = 0.80
DOME_LEVEL = {"right": 0.73, "left": 0.70}
"""Top of the diaphragm: right about the tenth thoracic vertebra, left half a vertebra lower."""
DOME_DROP = 0.10
"""How much lower than its top the diaphragm meets the flank and the midline."""
RECESS = 0.13
"""Behind the dome the lung reaches down by this much, ever thinner: the costophrenic recess ends near T12."""
MEDIASTINUM_HALF_WIDTH = 0.16
"""Half width of the vessels, windpipe and spine between the lungs, in half widths of the shoulders ..."""
MEDIASTINUM_AIR = 0.25
"""... and what is left there of the lungs' thickness, since they reach about it in front and behind."""
HEART_CENTRE = (0.19, 0.83)
HEART_HALF_SIZE = (0.37, 0.13)
"""Middle of the heart to the left (half widths of the shoulders) and level, and its half extents: about 45 % of the
chest's breadth, two thirds of it left of the midline."""
HEART_TILT_DEG = 35.0
HEART_DEPTH = 0.74
"""Share of the chest's depth that the middle of the heart takes from the lungs."""
LIVER_CENTRE = (-0.35, 0.62)
LIVER_HALF_SIZE = (0.55, 0.13)
LIVER_FREE_OF_FAT = 0.5
"""Where the liver lies there is less room for visceral fat."""
BOWEL_PLACES = (
    (0.40, 0.62), (0.62, 0.56), (0.30, 0.47), (-0.05, 0.45), (-0.40, 0.47), (-0.50, 0.30), (0.52, 0.30), (0.05, 0.10),
)  # fmt: skip
"""Stomach, splenic flexure, transverse colon three times, caecum, descending colon, rectum: left and level."""
_STREAM = 3


@dataclass(frozen=True)
class Organs:
    """Where one person's organs lie off the average, drawn from the person's own stream.

    Attributes:
        dome_shift: of both domes of the diaphragm, in levels.
        dome_difference: right dome above the left one, in levels.
        heart_scale: size of the heart.
        heart_shift: towards the left, in half widths of the shoulders.
        gas_share: share of the bowel's gas at each of ``BOWEL_PLACES``.
        gas_shift: ``(8, 2)`` displacement of each.
    """

    dome_shift: float
    dome_difference: float
    heart_scale: float
    heart_shift: float
    gas_share: FloatArray
    gas_shift: FloatArray

    @staticmethod
    def of(person: Person) -> Organs:
        """The person's; the same in every visit."""
        rng = person.generator(_STREAM)
        z = np.clip(rng.standard_normal(4), -2.0, 2.0)
        return Organs(
            dome_shift=float(0.018 * z[0]),
            dome_difference=float(DOME_LEVEL["right"] - DOME_LEVEL["left"] + 0.010 * z[1]),
            heart_scale=float(np.exp(0.08 * z[2])),
            heart_shift=float(0.04 * z[3]),
            gas_share=rng.dirichlet(np.full(len(BOWEL_PLACES), 0.7)),
            gas_shift=rng.normal(0.0, 1.0, (len(BOWEL_PLACES), 2)) * [0.07, 0.025],
        )


@dataclass(frozen=True)
class TrunkGrid:
    """The pixels in the trunk's axes: ``(H, W)`` to the left in half widths of the shoulders, and level."""

    left: FloatArray
    level: FloatArray

    @staticmethod
    def of(axes: TrunkAxes, frame: Frame) -> TrunkGrid:
        z, x = frame.pixel_centres_m()
        left, level = axes.coordinates(x[None, :], z[:, None])
        return TrunkGrid(left / axes.shoulder_half_width_m, level)


def lung_profile(organs: Organs, grid: TrunkGrid) -> FloatArray:
    """Air of both lungs: the chest's depth above the domes, less what mediastinum and heart take."""
    left, level = grid.left, grid.level
    above = np.clip((level - LUNG_WIDEST_LEVEL) / (LUNG_APEX_LEVEL - LUNG_WIDEST_LEVEL), 0.0, 1.0)
    half_width = LUNG_HALF_WIDTH * np.sqrt(np.maximum(1.0 - 0.97 * above**2.2, 0.0))
    depth = np.sqrt(np.maximum(1.0 - np.square(left / half_width), 0.0)) * (level < LUNG_APEX_LEVEL)

    right = DOME_LEVEL["right"] + organs.dome_shift
    top = np.where(left < 0.0, right, right - organs.dome_difference)
    middle = 0.5 * LUNG_HALF_WIDTH
    dome = top - DOME_DROP * np.square((np.abs(left) - middle) / middle)
    # From full depth a little above the dome to nothing at the end of the recess behind it.
    open_share = np.clip((level - dome + RECESS) / (RECESS + 0.03), 0.0, 1.0) ** 1.5

    between = np.exp(-(np.square(left / MEDIASTINUM_HALF_WIDTH) ** 2))
    heart = HEART_DEPTH * np.sqrt(np.maximum(1.0 - _heart_radius(organs, grid), 0.0))
    return depth * open_share * (1.0 - (1.0 - MEDIASTINUM_AIR) * between) * (1.0 - heart)


def _heart_radius(organs: Organs, grid: TrunkGrid) -> FloatArray:
    """Squared distance from the heart's middle, 1 on its border; its tip points to the left and down."""
    across = (grid.left - HEART_CENTRE[0] - organs.heart_shift) / (organs.heart_scale * HEART_HALF_SIZE[0])
    along = (grid.level - HEART_CENTRE[1] - organs.dome_shift) / (organs.heart_scale * HEART_HALF_SIZE[1])
    tilt = np.deg2rad(HEART_TILT_DEG)
    long, short = across * np.cos(tilt) - along * np.sin(tilt), across * np.sin(tilt) + along * np.cos(tilt)
    return np.square(long) + np.square(1.25 * short)


def visceral_fat_profile(organs: Organs, grid: TrunkGrid) -> FloatArray:
    """Fat about the bowels: a soft mound around the navel, thinner where the liver lies."""
    mound = np.exp(-0.5 * (np.square(grid.left / 0.65) + np.square((grid.level - NAVEL_LEVEL) / 0.22)))
    across = (grid.left - LIVER_CENTRE[0]) / LIVER_HALF_SIZE[0]
    along = (grid.level - LIVER_CENTRE[1] - organs.dome_shift) / LIVER_HALF_SIZE[1]
    liver = np.sqrt(np.maximum(1.0 - across**2 - along**2, 0.0))
    return mound * (1.0 - LIVER_FREE_OF_FAT * liver)


def bowel_gas_profile(organs: Organs, grid: TrunkGrid) -> FloatArray:
    """Bubbles in stomach and colon, each as wide as a loop of bowel."""
    profile = np.zeros_like(grid.level)
    for (left, level), share, shift in zip(BOWEL_PLACES, organs.gas_share, organs.gas_shift, strict=True):
        square = np.square((grid.left - left - shift[0]) / 0.17) + np.square((grid.level - level - shift[1]) / 0.05)
        profile += share * np.maximum(1.0 - square, 0.0)
    return profile
