"""The cut of an arm runs between arm and body."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dxa_monai.analysis import arm_landmarks
from dxa_monai.analysis.arm_landmarks import find_arm_cut
from dxa_monai.analysis.head_landmarks import find_head
from dxa_monai.analysis.landmarks import ARM_POINTS
from dxa_monai.analysis.trunk_landmarks import find_trunk
from dxa_monai.analysis.upright import FloatArray, UprightScan, smooth_maps, turned_upright
from dxa_monai.scan.regions import Region
from tests.analysis.people import PEOPLE, SPACING_MM, scanned_people


@pytest.mark.parametrize("person", range(len(PEOPLE)))
def test_cut_lies_at_the_inner_edge_of_the_true_arm(person: int) -> None:
    scanned = scanned_people()[person]
    scan = turned_upright(*smooth_maps(scanned.density, scanned.body, SPACING_MM), SPACING_MM, 0.0)
    head = find_head(scan)
    assert head is not None
    trunk = find_trunk(scan, head)
    assert trunk is not None
    cut = find_arm_cut(scan, head.neck, trunk.length, trunk.spine, trunk.crotch)
    assert cut.flags == ()
    assert len(cut.points) == len(ARM_POINTS)
    assert (np.diff(cut.points[:, 0]) > 0).all()
    points = scan.to_image(cut.points)
    arm = scanned.regions == Region.RIGHT_ARM
    rows = np.flatnonzero(arm.any(axis=1))
    assert points[-1, 0] == pytest.approx(rows[-1] + 0.5, abs=3.0)
    for row in rows[2:-4]:
        column = np.interp(row, points[:, 0], points[:, 1])
        # Air between arm and body may be given to either side, so what counts is body on the wrong side.
        wrong = (arm[row] & (np.arange(109) > column + 0.5)) | (
            (scanned.regions[row] > 0) & ~arm[row] & (np.arange(109) < column - 0.5)
        )
        assert wrong.sum() <= 5


def edges_row_by_row(
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
    low, high = np.full(len(rows), -np.inf), np.full(len(rows), np.inf)
    reach = round(0.06 * share_columns)
    level = (rows - neck) / length
    medial = np.interp(level, arm_landmarks._LEVELS, arm_landmarks._MEDIAL_PER_LATERAL)
    for index in np.flatnonzero(np.isfinite(outer)):
        row = rows[index]
        start, stop = int(outer[index]), round(middle[index] - 0.27 * share_columns)
        if level[index] > arm_landmarks.WRIST_SHARE:
            # Hands show too little bone to follow, and air between the fingers is not air beside the hand.
            edge = outer[max(index - 8, 0) : index + 1].min()
            expected, first = edge + arm_landmarks._HAND_WIDTH_SHARE * share_columns, edge + 0.12 * share_columns
        else:
            expected, first = bone[index] + medial[index] * (bone[index] - outer[index]), bone[index]
        free = np.flatnonzero(~scan.body[row, max(math.ceil(first), start) : max(stop, start)])
        if free.size:
            ends = np.append(np.flatnonzero(np.diff(free) > 1), free.size - 1)
            begins = np.append(0, ends[:-1] + 1)
            widest = int(np.argmax(ends - begins))
            offset = max(math.ceil(first), start)
            low[index], high[index] = free[begins[widest]] + offset - 0.5, free[ends[widest]] + offset + 0.5
            continue
        around = np.arange(max(round(expected) - reach, start + 2), min(round(expected) + reach, stop) + 1)
        if around.size < 2:
            low[index] = high[index] = expected
            continue
        slope = (scan.soft_g_cm2[row, around + 1] - scan.soft_g_cm2[row, around - 1]) / 2.0
        steepness = slope / max(float(scan.soft_g_cm2[row].max()), 1.0)
        cost = steepness + 0.05 * ((around - expected) / reach) ** 2
        low[index] = high[index] = around[int(np.argmin(cost))]
    return low, high


@pytest.mark.parametrize("seed", range(8))
def test_inner_edges_are_those_of_a_loop_over_rows(seed: int) -> None:
    """A trunk, an arm and air of any width between them, some of it torn."""
    rng = np.random.default_rng(seed)
    height, width = 120, 80
    columns = np.arange(width)[None, :]
    middle = 60.0 + np.cumsum(rng.normal(0.0, 0.1, height))
    skin = 8.0 + 6.0 * rng.random() + np.cumsum(rng.normal(0.0, 0.4, height))
    gap = 22.0 + np.cumsum(rng.normal(0.0, 0.5, height))
    body = (columns > skin[:, None]) & (np.abs(columns - gap[:, None]) > rng.integers(-3, 4, height)[:, None])
    body &= rng.random(body.shape) > 0.01
    body[rng.integers(0, height, 3)] = False
    soft = np.cumsum(rng.normal(0.0, 1.0, body.shape), axis=1) + 10.0
    scan = UprightScan(soft, 0.0 * soft, body, (13.0, 6.06), np.zeros(2), np.eye(2))
    rows = np.arange(10, height - 5)
    outer = np.where(body[rows].any(axis=1), body[rows].argmax(axis=1), np.inf)
    bone = np.where(np.isfinite(outer), outer, 10.0) + rng.uniform(2.0, 7.0, len(rows))
    arguments = (scan, rows, outer, bone, middle[rows], 8.0, 45.0, 97.0)
    for found, expected in zip(arm_landmarks._inner_edges(*arguments), edges_row_by_row(*arguments), strict=True):
        np.testing.assert_allclose(found, expected)
