"""Landmarks of a whole-body scan found in the image: silhouette and bone, without knowing who was scanned.

Whatever could not be seen and was placed by proportion is flagged; where the parts that the cut lines need are not in
the field there are no landmarks at all. Nothing here raises for an odd image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dxa_monai.analysis.arm_landmarks import ArmCut, find_arm_cut
from dxa_monai.analysis.head_landmarks import Head, find_head
from dxa_monai.analysis.landmarks import ARM_POINTS, SIDES, Landmarks, landmarks_from_points
from dxa_monai.analysis.trunk_landmarks import Trunk, find_spine, find_trunk, has_unusual_proportions
from dxa_monai.analysis.upright import BoolArray, FloatArray, UprightScan, smooth_maps, turned_upright
from dxa_monai.errors import InputError

FLAGS = {
    "no_body": "no silhouette of a body's size",
    "no_head": "no head on shoulders: not a whole-body scan with the head at row 0",
    "pelvis_out_of_field": "the body ends above the pelvis triangle",
    "landmarks_inconsistent": "what was found is not a possible set of landmarks",
    "values_not_finite": "areal densities that are not finite were taken as 0",
    "head_out_of_field": "the body reaches the image's first row",
    "feet_out_of_field": "the body reaches the image's last row",
    "legs_out_of_field": "the legs are too short for the trunk: the body ends above the ankles",
    "legs_not_apart": "no air between the legs: the line between them is the midline",
    "neck_unclear": "hardly any narrowing between head and shoulders",
    "neck_guessed": "the neck line was placed by proportion",
    "jaw_not_found": "the neck line was placed by the silhouette alone",
    "crests_uneven": "the two iliac crests do not agree: one level was taken for both",
    "crotch_guessed": "the lower edge of the ischia was not seen: the crotch was placed by proportion",
    "proportions_unusual": "the trunk is unusually long or short for head and legs",
    "shoulders_uneven": "one shoulder is much broader than the other",
    "placed_by_network": "a network placed all landmarks",
    "not_seen_by_network": "the network does not see all landmarks in the field",
    **{f"{side}_crest_guessed": f"the {side} iliac crest was not seen" for side in SIDES},
    **{f"{side}_hip_guessed": f"the {side} hip was not seen and placed by proportion" for side in SIDES},
    **{f"{side}_shoulder_guessed": f"the {side} humeral head was not seen" for side in SIDES},
    **{f"{side}_fingertip_guessed": f"the end of the {side} hand was placed by proportion" for side in SIDES},
    **{f"{side}_arm_out_of_field": f"the {side} arm reaches the image's edge" for side in SIDES},
    **{f"{side}_arm_not_found": f"hardly any body beyond the cut of the {side} arm" for side in SIDES},
}
"""Every flag and what it means."""
SMALLEST_BODY_CM2 = 800.0
"""Silhouettes below this are no body (a child of 6 years has about 2,500 cm2, an arm 500)."""
_ARM_ROWS_SHARE = 0.6
_TURNS, _SMALL_LEAN_RAD = 3, float(np.deg2rad(3.0))
"""A body that leans by more is measured again once it is turned: its spine was sought along rows of the image."""


@dataclass(frozen=True)
class LandmarkResult:
    """What was found.

    Attributes:
        landmarks: the landmarks, or None where no cut lines can be drawn.
        flags: keys of ``FLAGS``, empty if all was seen.
    """

    landmarks: Landmarks | None
    flags: tuple[str, ...]


LandmarkFinder = Callable[[FloatArray, BoolArray, tuple[float, float]], LandmarkResult]
"""What finds landmarks: areal density ``(3, H, W)``, body ``(H, W)``, pixel spacing in mm; :func:`find_landmarks`."""


def find_landmarks(
    areal_density_g_cm2: FloatArray, body: BoolArray, pixel_spacing_mm: tuple[float, float]
) -> LandmarkResult:
    """Find the landmarks of one scan: patient supine, head at row 0, right side at the low columns.

    The body is turned upright by the lean of its spine, the landmarks are found along rows and columns and turned
    back.

    Args:
        areal_density_g_cm2: ``(3, H, W)`` fat, lean and bone mineral.
        body: ``(H, W)`` bool.
        pixel_spacing_mm: (row, column).

    Returns:
        The landmarks and what is doubtful about them.

    Raises:
        InputError: the arguments' shapes do not belong together or the spacing is not positive.
    """
    density, body = np.asarray(areal_density_g_cm2), np.asarray(body, dtype=bool)
    if body.ndim != 2 or density.shape != (3, *body.shape):
        raise InputError(
            f"areal_density_g_cm2: expected shape (3, H, W) and a body of shape (H, W), got {density.shape} and "
            f"{body.shape}."
        )
    spacing = float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1])
    if not all(np.isfinite(side) and side > 0.0 for side in spacing):
        raise InputError(f"pixel_spacing_mm: expected two positive numbers, got {pixel_spacing_mm}.")

    flags = [] if np.isfinite(density[:, body]).all() else ["values_not_finite"]
    soft, bone, silhouette = smooth_maps(density, body, spacing)
    if silhouette.sum() * spacing[0] * spacing[1] / 100.0 < SMALLEST_BODY_CM2:
        return LandmarkResult(None, (*flags, "no_body"))
    edges = {
        "head_out_of_field": silhouette[0],
        "feet_out_of_field": silhouette[-1],
        "right_arm_out_of_field": silhouette[:, 0],
        "left_arm_out_of_field": silhouette[:, -1],
    }
    flags += [name for name, edge in edges.items() if edge.any()]

    scan = turned_upright(soft, bone, silhouette, spacing, 0.0)
    head = find_head(scan)
    lean = 0.0
    for _ in range(_TURNS):
        if head is None:
            break
        further = float(np.arctan(find_spine(scan, head)[0] * spacing[1] / spacing[0]))
        lean += further
        scan = turned_upright(soft, bone, silhouette, spacing, lean)
        head = find_head(scan)
        if abs(further) < _SMALL_LEAN_RAD:
            break
    if head is None:
        return LandmarkResult(None, (*flags, "no_head"))
    trunk = find_trunk(scan, head)
    if trunk is None:
        return LandmarkResult(None, (*flags, *head.flags, "pelvis_out_of_field"))
    arms = {side: _arm(scan, head, trunk, side) for side in SIDES}
    flags += [*trunk.flags, *(f"{side}_{flag}" for side in SIDES for flag in arms[side].flags)]
    flags += _implausible(trunk, arms, scan)

    points = _points(trunk, arms, scan)
    shape = (body.shape[0], body.shape[1])
    highest = np.array(shape) - 0.5
    inside = np.clip(scan.to_image(np.array(list(points.values()))), -0.5, highest)
    for side, edge in (("right", -0.5), ("left", highest[1])):
        reached = [name for name, point in zip(points, inside, strict=True) if point[1] == edge]
        if reached and f"{side}_arm_out_of_field" not in flags:
            flags.append(f"{side}_arm_out_of_field")
    found = {name: (float(row), float(column)) for name, (row, column) in zip(points, inside, strict=True)}
    try:
        landmarks = landmarks_from_points(found, shape)
    except InputError:
        return LandmarkResult(None, (*flags, "landmarks_inconsistent"))
    return LandmarkResult(landmarks, tuple(dict.fromkeys(flags)))


def _arm(scan: UprightScan, head: Head, trunk: Trunk, side: str) -> ArmCut:
    """Cut of one arm, in the columns of ``scan``; the left arm is found in the mirrored scan."""
    if side == "right":
        return find_arm_cut(scan, head.neck, trunk.length, trunk.spine, trunk.crotch)
    last = scan.body.shape[1] - 1
    spine = np.array([-trunk.spine[0], last - trunk.spine[1]])
    cut = find_arm_cut(scan.mirrored(), head.neck, trunk.length, spine, (trunk.crotch[0], last - trunk.crotch[1]))
    return ArmCut(np.column_stack([cut.points[:, 0], last - cut.points[:, 1]]), cut.flags)


def _points(trunk: Trunk, arms: dict[str, ArmCut], scan: UprightScan) -> dict[str, tuple[float, float]]:
    """All landmarks in upright pixels."""
    column_mm = scan.pixel_spacing_mm[1]
    neck, crest = trunk.head.neck, trunk.crest
    at_neck, at_crest = float(np.polyval(trunk.spine, neck)), float(np.polyval(trunk.spine, crest))
    half_head = 0.5 * trunk.head.width_mm / column_mm
    half_pelvis = 1.2 * (trunk.hip_left[1] - trunk.hip_right[1]) / 2.0
    points = {"crotch": trunk.crotch, "between_feet": trunk.feet}
    hips, crests = (
        {"right": trunk.hip_right, "left": trunk.hip_left},
        {"right": trunk.crest_right, "left": trunk.crest_left},
    )
    for side, sign in (("right", -1.0), ("left", 1.0)):
        points[f"{side}_neck"] = (neck, at_neck + sign * half_head)
        points[f"{side}_spine_upper"] = (neck, at_neck + sign * trunk.spine_half_width)
        points[f"{side}_spine_lower"] = (crest, at_crest + sign * trunk.spine_half_width)
        points[f"{side}_crest"] = (crests[side], at_crest + sign * half_pelvis)
        points[f"{side}_hip"] = hips[side]
        for name, (row, column) in zip(ARM_POINTS, arms[side].points, strict=True):
            points[f"{side}_{name}"] = (float(row), float(column))
    return points


def _implausible(trunk: Trunk, arms: dict[str, ArmCut], scan: UprightScan) -> list[str]:
    """Flags of a body that is not shaped as bodies are."""
    flags = []
    if has_unusual_proportions(scan, trunk):
        flags.append("proportions_unusual")
    offsets = []
    columns = np.arange(scan.body.shape[1])
    for side, sign in (("right", -1.0), ("left", 1.0)):
        points = arms[side].points
        offsets.append(abs(points[1, 1] - np.polyval(trunk.spine, points[1, 0])))
        rows = np.arange(round(points[1, 0]), round(points[-2, 0]) + 1)
        rows = rows[(rows >= 0) & (rows < len(scan.body))]
        cut = np.interp(rows, points[:, 0], points[:, 1])
        beyond = (scan.body[rows] & (sign * (columns[None, :] - cut[:, None]) > 0.0)).any(axis=1)
        if beyond.mean() < _ARM_ROWS_SHARE:
            flags.append(f"{side}_arm_not_found")
    if max(offsets) > 1.4 * min(offsets):
        flags.append("shoulders_uneven")
    return flags
