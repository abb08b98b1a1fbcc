"""One scan from raw channels to fat, lean and bone by region, with what is doubtful about it.

Scans are analysed one by one: on a CPU a batch was not faster (its intermediate results leave the cache), and each has
flags and landmarks of its own. The maps are computed on the device of the raw scan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.analysis.bone import BoneSettings, find_and_decompose
from dxa_monai.analysis.flags import Flag
from dxa_monai.analysis.landmark_finder import LandmarkFinder, find_landmarks
from dxa_monai.analysis.landmarks import Landmarks
from dxa_monai.analysis.polygons import polygon_coverage
from dxa_monai.analysis.q_scan import read_q
from dxa_monai.analysis.quality import arm_flags, field_flags, landmark_flags, limb_flags, tissue_flags
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.analysis.scanner_quality import scanner_flags, zero_flags
from dxa_monai.analysis.segments import Point
from dxa_monai.analysis.upright import clean_silhouette
from dxa_monai.errors import InputError
from dxa_monai.physics.calibration import MASK_THRESHOLD_NEPERS, body_mask
from dxa_monai.physics.correction import ScanCorrection, find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM, pixel_area_cm2
from dxa_monai.scan.regions import OVERLAPPING_REGIONS, REGION_GROUPS, regional_totals, weighted_totals
from dxa_monai.scan.trunk_parts import TRUNK_PARTS, trunk_part_totals
from dxa_monai.threads import one_thread

QUANTITIES = ("fat_g", "lean_g", "bmc_g", "bone_area_cm2", "bmd_g_cm2", "mass_g", "fat_percent")
METHODS = ("newton", "q_scan")
"""How channels become materials: :mod:`dxa_monai.physics.decomposition` or :mod:`dxa_monai.analysis.q_scan`."""
GHOST_G_CM2 = 1.0
"""In a scan that a network made, less tissue than that is no body: a finger has half as much again. Chosen on twelve
virtual people outside of all trainings: 1 keeps their mass, 2 takes 0.8 kg off it."""
REGION_NAMES = (*REGION_GROUPS, *OVERLAPPING_REGIONS)
"""Regions whose truth a virtual cohort knows."""
REPORTED_REGIONS = (*REGION_NAMES, *TRUNK_PARTS)


@dataclass(frozen=True)
class OtherReading:
    """What the default method makes of a scan that was read by another, for comparison.

    Attributes:
        method: which it is.
        totals: ``total_fat_g``, ``total_lean_g`` and ``total_bmc_g``.
        k_ratio: the wheel's k in this scan over that of the scanner's model, 1 if all is well.
        d0_ratio: d0 likewise.
    """

    method: str
    totals: dict[str, float]
    k_ratio: float
    d0_ratio: float


@dataclass(frozen=True, eq=False)
class BodyComposition:
    """What is known of a scan.

    Attributes:
        areal_density_g_cm2: ``(3, H, W)`` float32 fat, lean and bone mineral; signed noise, zero outside of the body.
        body: ``(H, W)`` bool, where there is enough to decompose.
        landmarks: between which the body was cut; None where no whole body was found.
        landmarks_given: whether a person gave them.
        region_map: ``(H, W)`` uint8 of :class:`dxa_monai.scan.regions.Region` in the whole silhouette; all 0
            without landmarks.
        totals: ``{region}_{quantity}`` of ``REPORTED_REGIONS`` x ``QUANTITIES``, then of the user's polygons; empty
            if a flag is fatal.
        flags: what is doubtful.
        correction: what was taken off the scan before it was analysed: zero, failed columns, displacement.
        method: of ``METHODS``, which made the maps.
        other: what the default method makes of the scan; None where it is the method, or there are no totals.
    """

    areal_density_g_cm2: npt.NDArray[np.float32]
    body: npt.NDArray[np.bool_]
    landmarks: Landmarks | None
    landmarks_given: bool
    region_map: npt.NDArray[np.uint8]
    totals: dict[str, float]
    flags: tuple[Flag, ...]
    correction: ScanCorrection
    method: str = METHODS[0]
    other: OtherReading | None = None

    @property
    def refused(self) -> bool:
        """Whether a flag is fatal."""
        return any(flag.fatal for flag in self.flags)


def check_method(method: str) -> None:
    """Refuse a method that there is not.

    Raises:
        InputError: it names those that there are.
    """
    if method not in METHODS:
        raise InputError(f"method: expected one of {', '.join(METHODS)}, got '{method}'.")


@one_thread()
def analyse_scan(
    raw: torch.Tensor,
    model: ScannerModel,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
    landmarks: Landmarks | None = None,
    polygons: Mapping[str, Sequence[Point]] | None = None,
    settings: BoneSettings | None = None,
    zero_counts: Sequence[float] | None = None,
    method: str = METHODS[0],
    predicted: bool = False,
    find: LandmarkFinder = find_landmarks,
) -> BodyComposition:
    """Fat, lean and bone of one scan by region.

    Bone mineral content is the signed sum over the bone mask, so that noise cancels; bone area counts the pixels of the
    mask from ``BONE_AREA_THRESHOLD_G_CM2`` on. (Blurring the map before that comparison was tried: it widens thin bones
    and made BMD worse at every threshold.)

    Args:
        raw: ``(6, H, W)`` in [0, 1], patient supine, head at row 0, right side at the low columns.
        model: the scanner.
        pixel_spacing_mm: distance between rows and between columns.
        landmarks: of this scan, for example edited by a person; None: they are found.
        polygons: the user's own regions, points (row, column) in pixels by name.
        settings: how bone is told from soft tissue.
        zero_counts: what each channel reads in open air, if the user declares it; None: found in the scan.
        predicted: a network made the scan: that its channels disagree, or what its air reads, tells of the network, and
            not of another scanner, and is not flagged. Haze below ``GHOST_G_CM2`` is no body.
        method: of ``METHODS``, which makes the maps. Bone and landmarks are found by the first in any case.
        find: finds the landmarks; default: the rules. Others: :mod:`dxa_monai.inference.landmark_finders`.

    Returns:
        The analysis. An odd scan raises nothing: it is flagged.

    Raises:
        InputError: ``raw`` has another shape, ``zero_counts`` are not six counts, the landmarks belong to an image of
            another shape, an unknown method, or one that the scanner's wheel does not allow.
    """
    check_method(method)
    if raw.ndim != 3 or raw.shape[0] != len(CHANNELS):
        raise InputError(f"raw: expected shape ({len(CHANNELS)}, H, W), got {tuple(raw.shape)}.")
    area_cm2 = pixel_area_cm2(pixel_spacing_mm)
    shape = (int(raw.shape[1]), int(raw.shape[2]))
    with torch.no_grad():
        raw = raw.float()
        correction = find_correction(raw, model, pixel_spacing_mm, zero_counts)
        raw = correction.apply(raw[None])[0]
        masks, maps = find_and_decompose(raw[None], model, settings, pixel_spacing_mm)
        body = masks.body[0, 0].cpu().numpy()
        reading = read_q(raw[None], model, masks, settings, pixel_spacing_mm) if method == "q_scan" else None
    newton = maps[0].cpu().numpy()
    tissue = _tissue(newton) if predicted else np.ones_like(body)
    body = body & tissue
    areal = newton if reading is None else reading.areal_density_g_cm2[0].cpu().numpy()
    flags = [flag for flag in zero_flags(correction) if not (predicted and flag.name == "zero_mismatch")]
    flags += [] if any(flag.fatal for flag in flags) else field_flags(raw, body, correction, area_cm2)
    if any(flag.fatal for flag in flags):
        return _refused(areal, body, [flag for flag in flags if flag.fatal], correction)
    flags += scanner_flags(correction)
    flags += tissue_flags(raw, newton, body, masks.bone[0, 0].cpu().numpy(), model, predicted)
    given = landmarks is not None
    if landmarks is None:
        found = find(newton, body, pixel_spacing_mm)
        landmarks = found.landmarks
        flags += landmark_flags(found.flags, landmarks is not None)
    if landmarks is None:
        return _refused(areal, body, flags, correction)
    # The decomposition needs more in a pixel than its outline does, where a limb covers only a part of it.
    silhouette = clean_silhouette(
        body_mask(raw[None], MASK_THRESHOLD_NEPERS, model.full_scale_nepers, raw.new_zeros(1, len(CHANNELS), 1, 1))[
            0, 0
        ]
        .cpu()
        .numpy()
    )
    silhouette = silhouette & tissue
    region_map = region_map_from_landmarks(landmarks, silhouette | body)
    totals: dict[str, float] = {}
    if not any(flag.fatal for flag in flags):
        measured = regional_totals(areal, region_map, area_cm2) | trunk_part_totals(areal, region_map, area_cm2)
        names = [f"{region}_{quantity}" for region in REPORTED_REGIONS for quantity in QUANTITIES]
        totals = {name: measured[name] for name in names}
        for name, points in (polygons or {}).items():
            inside = weighted_totals(areal, polygon_coverage(points, shape), area_cm2)
            totals |= {f"{name}_{quantity}": inside[quantity] for quantity in QUANTITIES}
        flags += limb_flags(totals)
        flags += [] if given else arm_flags(landmarks, silhouette | body)
    other = None
    if reading is not None and totals:
        compared = regional_totals(newton, region_map, area_cm2)
        sums = {name: compared[name] for name in ("total_fat_g", "total_lean_g", "total_bmc_g")}
        other = OtherReading(METHODS[0], sums, reading.k_ratio, reading.d0_ratio)
    return BodyComposition(areal, body, landmarks, given, region_map, totals, tuple(flags), correction, method, other)


def _tissue(areal_density_g_cm2: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Where a scan that a network made holds a body: components of people of all heights leave a haze around it."""
    return clean_silhouette(areal_density_g_cm2.sum(axis=0) >= GHOST_G_CM2)


def _refused(
    areal_density_g_cm2: npt.NDArray[np.float32],
    body: npt.NDArray[np.bool_],
    flags: list[Flag],
    correction: ScanCorrection,
) -> BodyComposition:
    nothing = np.zeros(body.shape, dtype=np.uint8)
    return BodyComposition(areal_density_g_cm2, body, None, False, nothing, {}, tuple(flags), correction)
