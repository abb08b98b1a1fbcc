"""Spine, pelvis and legs of an upright scan: where each cut line of the trunk belongs, and what is a guess.

All lengths are measured against the distance from the neck line to the iliac crests, so that a child and a tall adult
are treated alike. Where to look for the crests is guessed from the head's width; a child's head is large for its trunk,
so where that leads to no ischia it is guessed anew, from the body's length below the neck. The proportions below
bound the searches, and are reported as a flag where a landmark itself was not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dxa_monai.analysis.head_landmarks import Head
from dxa_monai.analysis.profiles import band_mean, first_crossing
from dxa_monai.analysis.upright import FloatArray, UprightScan

TRUNK_PER_HEAD_WIDTH = 2.56
"""Neck line to iliac crests over the width of the head's silhouette, of adults; only bounds searches."""
TRUNKS_PER_LENGTH = (0.293, 0.275, 0.255)
"""The same over neck line to toes: guesses that are tried in this order. Of virtual people of 6 to 87 years the pelvis
line lies at 0.28 to 0.32; a search that begins too low finds the hips."""
SHORTEST_GUESS = 0.7
"""Of the guess by head width: a shorter one is of a body whose legs are not in the field."""
SHORTEST_TRUNK, LONGEST_TRUNK = 0.8, 1.25
"""Of what head and length let expect."""
_BOTH_CRESTS = {"right_crest_guessed", "left_crest_guessed"}
CREST_MARGIN_MM = 21.0
"""The pelvis line lies this far above the iliac crests, so that none of the pelvis is left to the chest."""
SPINE_HALF_WIDTH_SHARE = 0.08
"""Half the distance of the spine's two lines over neck line to iliac crests (about 3.5 cm: outside the vertebrae)."""
SHORTEST_LEGS = 1.6
"""Crotch to toes over the trunk; legs that seem shorter (2.1 is usual) end outside the field."""
CROTCH_MARGIN_MM = 6.0
"""The pelvis triangle's tip lies this far below the ischia."""
CROTCH_SHARE, HIP_SHARE, HIP_HALF_WIDTH_SHARE = 0.545, 0.40, 0.20
"""Guesses where no bone is seen: drops below the pelvis line and half the hip joints' distance, over the trunk."""


@dataclass(frozen=True)
class Trunk:
    """Landmarks of the trunk in upright pixels (rows; columns); right means the patient's right, low columns."""

    head: Head
    spine: FloatArray  # column = spine[0] * row + spine[1]
    spine_half_width: float
    crest_right: float
    crest_left: float
    crotch: tuple[float, float]
    hip_right: tuple[float, float]
    hip_left: tuple[float, float]
    feet: tuple[float, float]
    flags: tuple[str, ...]

    @property
    def crest(self) -> float:
        """Row of the pelvis line at the spine."""
        return 0.5 * (self.crest_right + self.crest_left)

    @property
    def length(self) -> float:
        """Rows from the neck line to the pelvis line."""
        return self.crest - self.head.neck


def find_spine(scan: UprightScan, head: Head) -> FloatArray:
    """``(2,)`` line of the spine, column = line[0] * row + line[1], by the densest column of each row of the chest."""
    row_mm, column_mm = scan.pixel_spacing_mm
    length = TRUNK_PER_HEAD_WIDTH * head.width_mm / row_mm
    rows = np.arange(round(head.neck + 0.25 * length), round(head.neck + 0.9 * length))
    rows = rows[rows < scan.body.shape[0]]
    reach = 0.6 * head.width_mm / column_mm
    low, high = round(head.column - reach), round(head.column + reach) + 1
    low, high = max(low, 0), min(high, scan.body.shape[1])
    bone = gaussian_filter1d(scan.bone_g_cm2[rows, low:high], 12.0 / column_mm, axis=1)
    columns = low + bone.argmax(axis=1).astype(np.float64)
    # Without bone the middle of the silhouette has to serve.
    faint = bone.max(axis=1) < 0.15
    columns[faint] = [
        np.flatnonzero(scan.body[row]).mean() if scan.body[row].any() else head.column for row in rows[faint]
    ]
    weight = np.maximum(bone.max(axis=1), 0.1)
    # The head's middle holds the line where the chest shows little bone.
    rows_and_head = np.append(rows, (head.top + head.neck) / 2.0)
    columns_and_head, weights = np.append(columns, head.column), np.append(weight, 0.3)
    for _ in range(3):
        line = np.polyfit(rows_and_head, columns_and_head, 1, w=weights)
        residual_mm = np.abs(columns_and_head - np.polyval(line, rows_and_head)) * column_mm
        weights = np.append(weight, 0.3) / (1.0 + (residual_mm / 8.0) ** 2)
    return line


def find_trunk(scan: UprightScan, head: Head) -> Trunk | None:
    """Spine lines, pelvis line, pelvis triangle, line between the legs; None if the body ends above the crotch."""
    spine = find_spine(scan, head)
    by_head_mm = TRUNK_PER_HEAD_WIDTH * head.width_mm
    by_head = _trunk(scan, head, spine, by_head_mm)
    if by_head is not None and "crotch_guessed" not in by_head.flags:
        return by_head
    length_mm = _rows_below_neck(scan, head) * scan.pixel_spacing_mm[0]
    for guess_mm in (share * length_mm for share in TRUNKS_PER_LENGTH):
        if guess_mm > SHORTEST_GUESS * by_head_mm:
            trunk = _trunk(scan, head, spine, guess_mm)
            if trunk is not None and "crotch_guessed" not in trunk.flags and not set(trunk.flags) >= _BOTH_CRESTS:
                return trunk
    return by_head


def has_unusual_proportions(scan: UprightScan, trunk: Trunk) -> bool:
    """Whether the trunk is too short or too long for head and length of the body: for both of them.

    A child's head is large for its trunk, and an adult's legs may lie outside the field.
    """
    by_head = TRUNK_PER_HEAD_WIDTH * trunk.head.width_mm / scan.pixel_spacing_mm[0]
    by_length = TRUNKS_PER_LENGTH[0] * _rows_below_neck(scan, trunk.head)
    return not any(SHORTEST_TRUNK < trunk.length / expected < LONGEST_TRUNK for expected in (by_head, by_length))


def _rows_below_neck(scan: UprightScan, head: Head) -> float:
    """To the lowest row of the body."""
    return float(np.flatnonzero(scan.body.any(axis=1))[-1] - head.neck)


def _trunk(scan: UprightScan, head: Head, spine: FloatArray, guess_mm: float) -> Trunk | None:
    """The trunk, if the iliac crests lie about ``guess_mm`` below the neck line."""
    row_mm, column_mm = scan.pixel_spacing_mm
    flags = list(head.flags)
    rows, columns = np.arange(scan.body.shape[0]), np.arange(scan.body.shape[1])
    lateral_mm = (columns[None, :] - np.polyval(spine, rows)[:, None]) * column_mm

    crests: list[float | None] = []
    profiles: list[FloatArray] = []
    for side, name in ((-1.0, "right"), (1.0, "left")):
        beside = side * lateral_mm / guess_mm
        profile = band_mean(scan.bone_g_cm2, (beside > 0.08) & (beside < 0.26))
        profiles.append(gaussian_filter1d(profile, 8.0 / row_mm))
        crests.append(_crest_row(profiles[-1], head.neck, guess_mm / row_mm))
        if crests[-1] is None:
            flags.append(f"{name}_crest_guessed")
    right, left = crests
    if right is None or left is None or abs(right - left) * row_mm > 35.0:
        both = _crest_row(0.5 * (profiles[0] + profiles[1]), head.neck, guess_mm / row_mm)
        right = left = head.neck + guess_mm / row_mm + CREST_MARGIN_MM / row_mm if both is None else both
        flags.append("crests_uneven")
    crest = 0.5 * (right + left) - CREST_MARGIN_MM / row_mm
    length_mm = (crest - head.neck) * row_mm

    middle = _pelvis_middle(scan, lateral_mm, spine, crest, length_mm)
    lateral_mm = np.broadcast_to((columns[None, :] - middle) * column_mm, scan.body.shape)
    crotch_row = _ischium_row(scan, lateral_mm, crest, length_mm)
    if crotch_row is None:
        flags.append("crotch_guessed")
        crotch_row = crest + CROTCH_SHARE * length_mm / row_mm
    else:
        crotch_row += CROTCH_MARGIN_MM / row_mm
    if crotch_row >= np.flatnonzero(scan.body.any(axis=1))[-1]:
        return None
    hips = []
    drop = (crotch_row - crest) * row_mm
    for side, name in ((-1.0, "right"), (1.0, "left")):
        hip = _hip(scan, side * lateral_mm, crest, drop)
        if hip is None:
            flags.append(f"{name}_hip_guessed")
            hip = crest + HIP_SHARE * length_mm / row_mm, HIP_HALF_WIDTH_SHARE * length_mm
        hips.append((hip[0], middle + side * hip[1] / column_mm))
    feet, feet_flag = _between_feet(scan, (crotch_row, middle), length_mm)
    flags += feet_flag
    margin = CREST_MARGIN_MM / row_mm
    return Trunk(
        head,
        spine,
        SPINE_HALF_WIDTH_SHARE * length_mm / column_mm,
        right - margin,
        left - margin,
        (crotch_row, middle),
        hips[0],
        hips[1],
        feet,
        tuple(flags),
    )


def _crest_row(profile: FloatArray, neck: float, guess: float) -> float | None:
    """Upper edge of the wing of the ilium: up from the wing to where bone thins out towards the gap below the ribs."""
    low, high = round(neck + 0.78 * guess), round(neck + 1.1 * guess)
    if neck + 1.25 * guess + 1 >= len(profile):
        return None
    gap = low + int(np.argmin(profile[low : high + 1]))
    wing = gap + int(np.argmax(profile[gap : round(neck + 1.25 * guess) + 1]))
    rise = profile[wing] - profile[gap]
    if rise < 0.12:
        return None
    return first_crossing(profile, profile[gap] + 0.4 * rise, wing, gap, rising=False, step=-1)


def _pelvis_middle(
    scan: UprightScan, lateral_mm: FloatArray, spine: FloatArray, crest: float, length_mm: float
) -> float:
    """Column between the hip bones: the middle of the spine's continuation and of the pelvis's bone."""
    row_mm, column_mm = scan.pixel_spacing_mm
    height = length_mm / row_mm
    rows = slice(round(crest), round(crest + 0.5 * height))
    near = np.abs(lateral_mm[rows]) < 0.36 * length_mm
    weight = np.maximum(scan.bone_g_cm2[rows], 0.0) * near
    continued = float(np.polyval(spine, crest + 0.25 * height))
    if weight.sum() <= 0.0:
        return continued
    offset_mm = float((weight * lateral_mm[rows]).sum() / weight.sum())
    return continued + float(np.clip(offset_mm, -20.0, 20.0)) / column_mm


def _ischium_row(scan: UprightScan, lateral_mm: FloatArray, crest: float, length_mm: float) -> float | None:
    """Lower edge of the ischia, where bone between the thigh bones ends."""
    height = length_mm / scan.pixel_spacing_mm[0]
    profile = band_mean(scan.bone_g_cm2, np.abs(lateral_mm) < 0.13 * length_mm)
    low, high = round(crest + 0.38 * height), min(round(crest + 0.75 * height), len(profile) - 1)
    if low >= high:
        return None
    densest = low + int(np.argmax(profile[low : round(crest + 0.5 * height) + 1]))
    beyond = profile[round(crest + 0.62 * height) : high + 1]
    floor = float(np.median(beyond)) if beyond.size else 0.0
    if profile[densest] - floor < 0.12:
        return None
    return first_crossing(profile, floor + 0.25 * (profile[densest] - floor), densest, high, rising=False)


def _hip(scan: UprightScan, beside_mm: FloatArray, crest: float, drop_mm: float) -> tuple[float, float] | None:
    """(row, distance from the middle in mm) of the femoral head: centre of the bone between socket and trochanter."""
    row_mm = scan.pixel_spacing_mm[0]
    low, high = round(crest + 0.66 * drop_mm / row_mm), round(crest + 0.88 * drop_mm / row_mm) + 1
    window = (beside_mm > 0.24 * drop_mm) & (beside_mm < 0.48 * drop_mm)
    weight = np.maximum(scan.bone_g_cm2, 0.0)[low:high] * window[low:high]
    if weight.sum() <= 0.0 or weight.sum() / max(window[low:high].sum(), 1) < 0.2:
        return None
    rows = np.arange(low, high, dtype=np.float64)[:, None]
    total = weight.sum()
    return float((weight * rows).sum() / total), float((weight * beside_mm[low:high]).sum() / total)


def _between_feet(
    scan: UprightScan, crotch: tuple[float, float], length_mm: float
) -> tuple[tuple[float, float], list[str]]:
    """End of the line between the legs, at the body's lowest row, and a flag where the legs are not seen apart."""
    row_mm, column_mm = scan.pixel_spacing_mm
    rows = np.flatnonzero(scan.body.any(axis=1))
    last = float(rows[-1])
    below = np.arange(round(crotch[0] + 0.4 * length_mm / row_mm), int(last) + 1)
    columns = np.arange(scan.body.shape[1])
    body = scan.body[below]
    right, left = body.argmax(axis=1), columns[-1] - body[:, ::-1].argmax(axis=1)
    near = np.abs(columns - crotch[1]) * column_mm <= 0.35 * length_mm
    between = ~body & near & (columns > right[:, None]) & (columns < left[:, None])
    seen = between.any(axis=1)
    gaps = (between * columns).sum(axis=1)[seen] / between.sum(axis=1)[seen]
    along = below[seen] - crotch[0]
    if last - crotch[0] < SHORTEST_LEGS * length_mm / row_mm:
        return (max(last, crotch[0] + 1.0), crotch[1]), ["legs_out_of_field"]
    if len(gaps) < 5:
        return (last, crotch[1]), ["legs_not_apart"]
    slope = float((along * (gaps - crotch[1])).sum() / (along**2).sum())
    return (last, crotch[1] + slope * (last - crotch[0])), []
