"""What is doubtful about a scan, said in plain sentences, so that no wrong number passes in silence.

A fatal flag means that the scan has no numbers: they would be those of something else than a body.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.analysis.channel_agreement import channel_misfit_nepers
from dxa_monai.analysis.flags import Flag
from dxa_monai.analysis.landmark_finder import FLAGS as LANDMARK_FLAGS
from dxa_monai.analysis.landmark_finder import SMALLEST_BODY_CM2
from dxa_monai.analysis.landmarks import SIDES, Landmarks
from dxa_monai.analysis.metal import metal_flags
from dxa_monai.analysis.segments import Point
from dxa_monai.physics.correction import ScanCorrection
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

EMPTY_CM2 = 50.0
"""A silhouette smaller than this is nothing: a hand has about 150 cm2."""
LITTLE_OPEN_AIR_SHARE = 0.1
"""A person of 200 kg leaves about a third of the field free."""
STARVED_VARIANCE = 0.04
"""Relative variance of the signal in an air channel, about that of 25 photons; behind the wheel's segments nothing is
left then."""
STARVED_SHARE, STARVED_FATAL_SHARE = 0.01, 0.25
FAT_SHARE_RANGE = (-0.05, 1.0)
"""Median share of fat in soft tissue: outside, R lies outside of what lean tissue and fat can give."""
SOFT_G_CM2 = 3.0
MOST_BONE_SHARE = 0.9
"""Of the body's pixels; 0.5 to 0.7 are usual, the mask of bone is wide."""
MISFIT_NEPERS = 3e-4
"""Most of :func:`dxa_monai.analysis.channel_agreement.channel_misfit_nepers`. Calibrated models leave up to 0.16e-3;
the nominal model of a scanner some kV and some of its filter away leaves 0.3e-3 to 4.6e-3, with errors of kilograms
(6 virtual people, 5 scanners)."""
LEAST_OF_OTHER_LIMB = {"arm": 0.8, "leg": 0.88}
"""Mass over that of the other side. Of 211 scans of virtual people, whose sides differ, no leg holds less than 0.90;
6 % have a hand under a thigh."""
MOST_HIDDEN_SHARE = 0.7
"""Of an arm's cut below the armpit. Of 235 scans of virtual people (cohort seed 78) 56 have more; among them are 18 of
the 23 whose arms' mass is more than a kilogram off, and 14 of those where it is right within half of one."""
_FEWEST_SOFT_PIXELS = 100
_OUT_OF_FIELD = ("head_out_of_field", "feet_out_of_field", "left_arm_out_of_field", "right_arm_out_of_field")
_BY_NETWORK = "placed_by_network"
_EDGES: dict[str, tuple[Any, ...]] = {
    "first row (head)": np.s_[0, :],
    "last row (feet)": np.s_[-1, :],
    "first column (patient's right)": np.s_[:, 0],
    "last column (patient's left)": np.s_[:, -1],
}


def field_flags(raw: torch.Tensor, body: BoolArray, correction: ScanCorrection, pixel_area_cm2: float) -> list[Flag]:
    """Judge what lies in the field, before anything is decomposed.

    Args:
        raw: ``(6, H, W)`` the corrected scan.
        body: ``(H, W)`` bool.
        correction: what was taken off it.
        pixel_area_cm2: area of one pixel.
    """
    flags = []
    air = int(correction.zero.air.sum())
    area = float(body.sum()) * pixel_area_cm2
    if area < EMPTY_CM2:
        return [Flag("empty_scan", f"The scan is empty: only {area:.0f} cm2 attenuate the beam.", fatal=True)]
    if area < SMALLEST_BODY_CM2:
        sentence = (
            f"A silhouette of {area:.0f} cm2 is no whole body; a part of one, for example an arm, is not analysed."
        )
        return [Flag("not_a_whole_body", sentence, fatal=True)]
    if air < LITTLE_OPEN_AIR_SHARE * body.size:
        sentence = f"Only {100 * air / body.size:.0f} % of the field is open air, so parts of the body may lie outside."
        flags.append(Flag("little_open_air", sentence))
    edges = [name for name, edge in _EDGES.items() if body[edge].any()]
    if edges:
        sentence = f"The body reaches the image's {' and '.join(edges)}: what lies outside is not counted."
        flags.append(Flag("limb_out_of_field", sentence))
    return flags + _thick(raw, body, correction)


def limb_flags(totals: Mapping[str, float]) -> list[Flag]:
    """Arms or legs of which one holds much less than the other.

    Args:
        totals: ``{side}_{limb}_mass_g``; without them there is nothing to judge.
    """
    flags = []
    for limb, least in LEAST_OF_OTHER_LIMB.items():
        sides = {side: totals.get(f"{side}_{limb}_mass_g", 0.0) for side in ("left", "right")}
        smaller, larger = sorted(sides, key=lambda side: sides[side])
        if sides[larger] > 0 and sides[smaller] < least * sides[larger]:
            sentence = (
                f"The {smaller} {limb} holds {100 * sides[smaller] / sides[larger]:.0f} % of the mass of the {larger} "
                "one: a part is missing, lies under or over something else, or was cut in the wrong place."
            )
            flags.append(Flag("limbs_differ", sentence))
    return flags


def arm_flags(landmarks: Landmarks, silhouette: BoolArray) -> list[Flag]:
    """Arms that lie on or against the trunk: where no air shows, nothing says how much of the tissue is the arm's.

    Args:
        landmarks: as they were found.
        silhouette: ``(H, W)`` bool.
    """
    hidden = {side: _share_inside(landmarks.arm_cut(side)[1:], silhouette) for side in SIDES}
    told = [f"{100 * share:.0f} % of the {side} arm's" for side, share in hidden.items() if share > MOST_HIDDEN_SHARE]
    if not told:
        return []
    sentence = (
        f"From the armpit down {' and '.join(told)} cut runs through tissue, without air between arm and trunk: either "
        "may hold a kilogram of the other."
    )
    return [Flag("arms_touch", sentence)]


def _share_inside(line: Sequence[Point], mask: BoolArray) -> float:
    """Share of a line's length that runs through a mask, at steps of half a pixel."""
    points = []
    for start, end in pairwise(np.asarray(line, dtype=np.float64)):
        steps = max(int(np.ceil(2.0 * np.abs(end - start).max())), 1)
        points.append(start + (end - start) * (np.arange(steps) / steps)[:, None])
    rows, columns = np.rint(np.concatenate(points)).astype(int).T
    return float(mask[rows.clip(0, mask.shape[0] - 1), columns.clip(0, mask.shape[1] - 1)].mean())


def _thick(raw: torch.Tensor, body: BoolArray, correction: ScanCorrection) -> list[Flag]:
    model = correction.model
    channels = [CHANNELS.index("air_high"), CHANNELS.index("air_low")]
    open_beam = model.variance_weights.sum(axis=0)[channels] / model.signal_weights.sum(axis=0)[channels] ** 2
    nepers = raw[channels].double().cpu().numpy() * model.full_scale_nepers
    # Signal and variance fall with the same attenuation, hardening of the beam apart.
    variance = open_beam[:, None, None] / model.photons_per_pixel * np.exp(nepers)
    saturated = correction.saturated.cpu().numpy()
    starved = float(((variance.max(axis=0) > STARVED_VARIANCE) | saturated)[body].mean())
    if starved < STARVED_SHARE:
        return []
    sentence = f"{100 * starved:.0f} % of the body is so thick that hardly a photon passes: its numbers are uncertain."
    return [Flag("too_thick", sentence, fatal=starved > STARVED_FATAL_SHARE)]


def tissue_flags(
    raw: torch.Tensor,
    areal_density_g_cm2: FloatArray,
    body: BoolArray,
    bone: BoolArray,
    model: ScannerModel,
    predicted: bool = False,
) -> list[Flag]:
    """Judge what the decomposition found.

    Args:
        raw: ``(6, H, W)`` in [0, 1].
        areal_density_g_cm2: ``(3, H, W)`` fat, lean and bone mineral.
        body: ``(H, W)`` bool.
        bone: ``(H, W)`` bool.
        model: the scanner.
        predicted: by a network, whose channels disagree by more than those of a wrong scanner, and jut out nowhere.
    """
    found = [] if predicted else metal_flags(raw, areal_density_g_cm2, body, model)
    found += _soft_tissue(raw, areal_density_g_cm2, body, bone, model)
    return [flag for flag in found if not (predicted and flag.name == "scanner_mismatch")]


def _soft_tissue(
    raw: torch.Tensor, areal_density_g_cm2: FloatArray, body: BoolArray, bone: BoolArray, model: ScannerModel
) -> list[Flag]:
    soft = body & ~bone
    fat, lean = areal_density_g_cm2[:2, soft].astype(np.float64)
    thick = fat + lean > SOFT_G_CM2
    if thick.sum() < _FEWEST_SOFT_PIXELS or bone.sum() > MOST_BONE_SHARE * body.sum():
        sentence = (
            f"R is that of bone in {100 * bone.sum() / body.sum():.0f} % of the body, "
            "and there is too little soft tissue to tell fat from lean by."
        )
        return [Flag("implausible_r", sentence, fatal=True)]
    flags = []
    share = float(np.median(fat[thick] / (fat + lean)[thick]))
    lowest, highest = FAT_SHARE_RANGE
    if not lowest <= share <= highest:
        sentence = (
            f"R of soft tissue lies outside of what lean tissue and fat give on this scanner (median share of fat "
            f"{100 * share:.0f} %): another scanner's calibration, or no living tissue."
        )
        flags.append(Flag("implausible_r", sentence, fatal=True))
    misfit = channel_misfit_nepers(
        raw, areal_density_g_cm2, soft & (areal_density_g_cm2.sum(axis=0) > SOFT_G_CM2), model
    )
    if misfit > MISFIT_NEPERS:
        sentence = (
            f"The six channels do not agree on the soft tissue ({misfit:.4f} nepers apart): the scanner's model "
            "does not fit this scan, and fat and lean may be wrong by many kilograms."
        )
        flags.append(Flag("scanner_mismatch", sentence))
    return flags


def landmark_flags(names: tuple[str, ...], found: bool) -> list[Flag]:
    """What the search for landmarks says.

    Args:
        names: flags of :class:`dxa_monai.analysis.landmark_finder.LandmarkResult`.
        found: whether there are landmarks at all.
    """
    said = "; ".join(LANDMARK_FLAGS[name] for name in names if name not in (*_OUT_OF_FIELD, _BY_NETWORK))
    if not found:
        return [
            Flag("not_a_whole_body", f"No landmarks of a whole body were found: {said or 'not in the field'}.", True)
        ]
    if _BY_NETWORK in names:
        why = f"the rules found none ({said})" if said else "as was asked for"
        return [Flag("landmarks_by_network", f"A network placed all cut lines, {why}: look at the picture.")]
    return [Flag("landmarks_guessed", f"Look at the cut lines: {said}.")] if said else []
