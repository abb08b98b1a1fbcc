"""The cut between an arm and the body: from the shoulder through its joint, between arm and trunk, to the hand.

Written for the arm at the low columns of an upright scan (the patient's right); the other is found in the mirrored
scan. Lengths are shares of the trunk, neck line to pelvis line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from dxa_monai.analysis.upright import FloatArray, UprightScan

JOINT_MEDIAL_OF_HEAD_SHARE, JOINT_PER_SHOULDER_BREADTH = 0.09, 0.54
"""The shoulder's joint lies medial of the humeral head's centre, and at this share of the shoulders' half breadth."""
AXILLA_SHARE, UPPER_ARM_SHARE, ELBOW_SHARE, WRIST_SHARE, FINGERTIP_SHARE = 0.40, 0.60, 0.87, 1.40, 1.82
"""Levels below the neck line of an arm beside the body."""
_ARM_WIDTH_SHARE = 0.27
"""No arm is wider: its bone lies within this of the silhouette's outer edge."""
_MOVES = np.arange(-3, 4)
"""Columns by which the arm's bone may move from row to row."""
_LEVELS, _MEDIAL_PER_LATERAL = (0.35, 0.45, 0.6, 0.9, 1.2), (0.5, 0.7, 0.95, 1.1, 1.0)
"""Soft tissue medial of the arm's bone over that lateral of it, by level: the upper humerus lies medially."""
_HAND_WIDTH_SHARE = 0.22
"""From the outer edge of the hand to its inner edge, palm down."""
_NEAREST_CUT_SHARE = 0.22
"""No cut of an arm beside the body comes this near to the spine below the armpit."""
_SHORTEST_JUMP_MM = 14.0
"""A step inwards of the outer edge by this much, over two rows, is the end of the hand."""


@dataclass(frozen=True)
class ArmCut:
    """``(6, 2)`` upright (row, column) of ``dxa_monai.analysis.landmarks.ARM_POINTS``, and what was guessed."""

    points: FloatArray
    flags: tuple[str, ...]


def find_arm_cut(
    scan: UprightScan, neck: float, length: float, spine: FloatArray, crotch: tuple[float, float]
) -> ArmCut:
    """Cut line of the arm at the low columns.

    Args:
        scan: the upright scan, mirrored for the patient's left arm.
        neck: row of the neck line.
        length: rows from the neck line to the pelvis line.
        spine: line of the spine, column = spine[0] * row + spine[1].
        crotch: (row, column) of the pelvis triangle's tip.
    """
    row_mm, column_mm = scan.pixel_spacing_mm
    share_columns = length * row_mm / column_mm  # one trunk length in columns
    height, _ = scan.body.shape
    last = min(round(neck + 2.1 * length), height - 1)
    rows = np.arange(round(neck + 0.05 * length), last + 1)
    middle = np.asarray(np.polyval(spine, rows), dtype=np.float64)
    below = rows > crotch[0] - 0.5 * length
    middle[below] = crotch[1]
    occupied = scan.body[rows].any(axis=1)
    outer = np.where(occupied, scan.body[rows].argmax(axis=1), np.inf)

    flags: list[str] = []
    head = _humeral_head(scan, neck, length, share_columns, middle, rows)
    breadth = middle - outer
    shoulder_rows = (rows > neck + 0.24 * length) & (rows < neck + 0.36 * length)
    from_breadth = JOINT_PER_SHOULDER_BREADTH * float(np.median(breadth[shoulder_rows]))
    if head is None or not np.isfinite(from_breadth):
        flags.append("shoulder_guessed")
        offset = from_breadth if np.isfinite(from_breadth) else 0.31 * share_columns
        head_lateral = offset + JOINT_MEDIAL_OF_HEAD_SHARE * share_columns
    else:
        head_lateral = head
        offset = 0.5 * (head_lateral - JOINT_MEDIAL_OF_HEAD_SHARE * share_columns + from_breadth)
    axilla_row = neck + AXILLA_SHARE * length
    joint = float(np.interp(neck + 0.2 * length, rows, middle)) - offset
    at_joint = scan.body[:, int(np.clip(round(joint), 0, scan.body.shape[1] - 1))]
    top = float(np.flatnonzero(at_joint)[0]) - 0.5 if at_joint.any() else neck
    top = float(np.clip(top, neck + 0.01 * length, axilla_row - 0.1 * length))

    bone, elbow_row = _bone_path(scan, rows, outer, middle, neck, length, share_columns, head_lateral)
    tip, tip_flag = _fingertip(rows, outer, middle, neck, length, row_mm, column_mm)
    flags += tip_flag
    low, high = _inner_edges(scan, rows, outer, bone, middle, neck, length, share_columns)
    knots = np.array([axilla_row, neck + UPPER_ARM_SHARE * length, elbow_row, neck + WRIST_SHARE * length, tip])
    knots[3] = np.clip(knots[3], knots[2] + 0.1 * length, knots[4] - 0.1 * length)
    use = (rows > axilla_row - 0.5) & (rows <= tip)
    start = float(np.interp(axilla_row, rows, middle)) - offset
    columns = fitted_polyline(rows[use], low[use], high[use], knots, start)
    if (np.interp(knots, rows, middle) - columns)[1:].min() < _NEAREST_CUT_SHARE * share_columns:
        # A line through the trunk is no arm's cut: the cut then passes outside the body, which is all trunk and legs.
        columns = np.full(len(knots), float(outer[np.isfinite(outer)].min(initial=joint)) - 1.0)
        flags.append("arm_not_found")
    points = np.column_stack([np.concatenate([[top], knots]), np.concatenate([[joint], columns])])
    return ArmCut(points, tuple(flags))


def _humeral_head(
    scan: UprightScan, neck: float, length: float, share_columns: float, middle: FloatArray, rows: FloatArray
) -> float | None:
    """Columns from the spine to the densest spot of the shoulder, or None if there is no bone."""
    inside = (rows > neck + 0.18 * length) & (rows < neck + 0.45 * length)
    lateral = (middle[inside, None] - np.arange(scan.body.shape[1])[None, :]) / share_columns
    window = (lateral > 0.26) & (lateral < 0.62)
    bone = gaussian_filter(np.where(window, scan.bone_g_cm2[rows[inside]], 0.0), (1.0, 2.0))
    peak = np.unravel_index(int(np.argmax(bone)), bone.shape)
    if bone[peak] < 0.15:
        return None
    return float(lateral[peak] * share_columns)


def _bone_path(
    scan: UprightScan,
    rows: FloatArray,
    outer: FloatArray,
    middle: FloatArray,
    neck: float,
    length: float,
    share_columns: float,
    head_lateral: float,
) -> tuple[FloatArray, float]:
    """Column of the arm's bone in each row (dynamic programming) and the row where the elbow bends it.

    The path prefers bone, stays about half an arm's width from the outer edge of the silhouette, and moves at most
    three columns from row to row.
    """
    column_mm = scan.pixel_spacing_mm[1]
    columns = np.arange(scan.body.shape[1])
    bone = gaussian_filter1d(scan.bone_g_cm2[rows], 6.0 / column_mm, axis=1)
    reach = np.where(np.isfinite(outer), outer, 0.0)
    depth = (columns[None, :] - reach[:, None]) / share_columns
    level = (rows - neck) / length
    expected = np.interp(level, [0.3, 0.55, 0.87, 1.3], [0.15, 0.13, 0.105, 0.085])
    score = np.clip(bone, 0.0, 0.5) - 8.0 * (depth - expected[:, None]) ** 2
    score[(depth < 0.0) | (depth > _ARM_WIDTH_SHARE)] -= 2.0
    # best[row, 3 + column]: sum of the scores of the best path down to there; the margin is never chosen.
    best = np.full((len(rows), len(columns) + 6), -1e9)
    step = np.zeros(score.shape, dtype=np.int8)
    start = int(np.searchsorted(level, 0.3))
    best[start, 3:-3] = -0.05 * np.abs(columns - (middle[start] - head_lateral))
    toll = -0.01 * np.abs(_MOVES)
    reachable = sliding_window_view(best, len(_MOVES), axis=1)  # a view: it follows what is written to best
    for index in range(start + 1, len(rows)):
        candidates = reachable[index - 1] + toll
        chosen = candidates.argmax(axis=1)
        step[index] = -_MOVES[chosen]
        best[index, 3:-3] = score[index] + candidates[columns, chosen]
    best = best[:, 3:-3]
    end = int(np.searchsorted(level, 1.5))
    end = min(end, len(rows) - 1)
    path = np.empty(len(rows))
    path[end:] = position = int(np.argmax(best[end]))
    for index in range(end, start, -1):
        position -= int(step[index, position])
        path[index - 1] = position
    path[:start] = path[start]
    elbow = np.flatnonzero((level > 0.72) & (level < 1.02))
    if elbow.size == 0:
        return path, neck + ELBOW_SHARE * length
    width = np.array([bone[index, max(int(path[index]) - 4, 0) : int(path[index]) + 5].sum() for index in elbow])
    weight = np.maximum(gaussian_filter1d(width, 1.0) - np.median(width), 0.0) ** 2 + 1e-6
    return path, float((weight * rows[elbow]).sum() / weight.sum())


def _fingertip(
    rows: FloatArray, outer: FloatArray, middle: FloatArray, neck: float, length: float, row_mm: float, column_mm: float
) -> tuple[float, list[str]]:
    """Row below the hand: where the outer edge steps from the fingers to the thigh."""
    level = (rows - neck) / length
    lateral_mm = np.where(np.isfinite(outer), middle - outer, 0.0) * column_mm
    span = max(round(26.0 / row_mm), 1)
    inside = np.flatnonzero((level > 1.5) & (level < 2.05))
    inside = inside[inside + span < len(rows)]
    if inside.size == 0:
        return neck + FINGERTIP_SHARE * length, ["hand_out_of_field"]
    fall = lateral_mm[inside] - lateral_mm[inside + span]
    if fall.max() < _SHORTEST_JUMP_MM:
        return neck + FINGERTIP_SHARE * length, ["fingertip_guessed"]
    steep = inside[fall >= max(0.6 * fall.max(), _SHORTEST_JUMP_MM)][-1]
    single = lateral_mm[steep : steep + span] - lateral_mm[steep + 1 : steep + span + 1]
    return float(rows[steep + int(np.argmax(single))]) + 0.5, []


def _inner_edges(
    scan: UprightScan,
    rows: FloatArray,
    outer: FloatArray,
    bone: FloatArray,
    middle: FloatArray,
    neck: float,
    length: float,
    share_columns: float,
) -> tuple[FloatArray, FloatArray]:
    """Each row's interval of columns where the cut may lie: the air between arm and body, or an edge a column wide."""
    seen = np.isfinite(outer)
    reach = round(0.06 * share_columns)
    level = (rows - neck) / length
    medial = np.interp(level, _LEVELS, _MEDIAL_PER_LATERAL)
    start = np.where(seen, outer, 0.0)
    stop = np.round(middle - 0.27 * share_columns)
    # Hands show too little bone to follow, and air between the fingers is not air beside the hand.
    hand = level > WRIST_SHARE
    edge = sliding_window_view(np.concatenate([np.full(8, np.inf), outer]), 9).min(axis=1)
    edge = np.where(np.isfinite(edge), edge, 0.0)
    expected = np.where(hand, edge + _HAND_WIDTH_SHARE * share_columns, bone + medial * (bone - start))
    first = np.maximum(np.ceil(np.where(hand, edge + 0.12 * share_columns, bone)), start)

    columns = np.arange(scan.body.shape[1])[None, :]
    air = ~scan.body[rows] & (columns >= first[:, None]) & (columns < stop[:, None])
    # Length of the run of air that ends at each pixel (0 in tissue); the longest is the gap.
    run = columns - np.maximum.accumulate(np.where(air, -1, columns), axis=1)
    last = run.argmax(axis=1)
    widest = run[np.arange(len(rows)), last]

    soft = scan.soft_g_cm2[rows]
    slope = np.zeros(soft.shape)
    slope[:, 1:-1] = (soft[:, 2:] - soft[:, :-2]) / 2.0
    steepness = slope / np.maximum(soft.max(axis=1, keepdims=True), 1.0)
    near = np.round(expected)[:, None]
    around = (columns >= np.maximum(near - reach, start[:, None] + 2)) & (
        columns <= np.minimum(near + reach, np.minimum(stop[:, None], soft.shape[1] - 2))
    )
    cost = np.where(around, steepness + 0.05 * ((columns - expected[:, None]) / reach) ** 2, np.inf)
    steepest = np.where(around.sum(axis=1) < 2, expected, cost.argmin(axis=1))

    low = np.where(widest > 0, last - widest + 0.5, steepest)
    high = np.where(widest > 0, last + 0.5, steepest)
    return np.where(seen, low, -np.inf), np.where(seen, high, np.inf)


def fitted_polyline(rows: FloatArray, low: FloatArray, high: FloatArray, knots: FloatArray, start: float) -> FloatArray:
    """Columns at ``knots`` of the broken line that passes through the intervals as well as it can (least squares).

    A row of air pulls only when the line leaves it; a row without air pulls to its edge. ``start`` draws the first
    knot to the shoulder's joint.
    """
    count = len(knots)
    hats = np.stack([np.interp(rows, knots, np.eye(count)[index]) for index in range(count)], axis=1)
    use = np.isfinite(low) & np.isfinite(high)
    hats, low, high = hats[use], low[use], high[use]
    prior = np.zeros((1, count))
    prior[0, 0] = 2.0
    bend = np.zeros((max(count - 2, 0), count))
    for index in range(count - 2):
        bend[index, index : index + 3] = np.array([1.0, -2.0, 1.0]) * 0.15
    target = 0.5 * (low + high)
    columns = np.full(count, start)
    for _ in range(6):
        weight = 1.0 / (1.0 + (np.abs(hats @ columns - target) / 6.0) ** 2) if _ else np.ones(len(target))
        system = np.vstack([hats * weight[:, None], prior, bend])
        right = np.concatenate([target * weight, [2.0 * start], np.zeros(len(bend))])
        columns = np.linalg.lstsq(system, right, rcond=None)[0]
        line = hats @ columns
        target = np.clip(line, np.minimum(low + 0.5, 0.5 * (low + high)), np.maximum(high - 0.5, 0.5 * (low + high)))
    return columns
