"""Head, spine and pelvis of upright people lie where the truth has its borders, and bone that is not there is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.analysis.head_landmarks import find_head
from dxa_monai.analysis.trunk_landmarks import (
    TRUNK_PER_HEAD_WIDTH,
    find_spine,
    find_trunk,
    has_unusual_proportions,
)
from dxa_monai.analysis.upright import UprightScan, smooth_maps, turned_upright
from dxa_monai.scan.regions import Region
from tests.analysis.people import PEOPLE, SPACING_MM, Scanned, scanned_children, scanned_people

EVERYONE = pytest.mark.parametrize("person", range(len(PEOPLE)))


def upright(scanned: Scanned) -> UprightScan:
    return turned_upright(*smooth_maps(scanned.density, scanned.body, SPACING_MM), SPACING_MM, 0.0)


def in_image(scan: UprightScan, row: float, column: float = 0.0) -> np.ndarray:
    return scan.to_image(np.array([[row, column]]))[0]


@EVERYONE
def test_neck_line_is_the_lower_edge_of_the_head(person: int) -> None:
    scanned = scanned_people()[person]
    scan = upright(scanned)
    head = find_head(scan)
    assert head is not None
    lowest = np.flatnonzero((scanned.regions == Region.HEAD).any(axis=1))[-1] + 0.5
    assert in_image(scan, head.neck)[0] == pytest.approx(lowest, abs=1.5)


@EVERYONE
def test_spine_runs_through_the_true_spine(person: int) -> None:
    scanned = scanned_people()[person]
    scan = upright(scanned)
    head = find_head(scan)
    assert head is not None
    line = find_spine(scan, head)
    for row in np.flatnonzero((scanned.regions == Region.SPINE).sum(axis=1) > 5)[5::8]:
        found = np.polyval(line, row - in_image(scan, 0.0)[0]) + in_image(scan, 0.0)[1]
        assert found == pytest.approx(np.flatnonzero(scanned.regions[row] == Region.SPINE).mean(), abs=2.0)


@EVERYONE
def test_pelvis_line_and_crotch_bound_the_true_pelvis(person: int) -> None:
    scanned = scanned_people()[person]
    scan = upright(scanned)
    head = find_head(scan)
    assert head is not None
    trunk = find_trunk(scan, head)
    assert trunk is not None
    rows = np.flatnonzero((scanned.regions == Region.PELVIS).any(axis=1))
    assert in_image(scan, trunk.crest)[0] == pytest.approx(rows[0] - 0.5, abs=1.5)
    assert in_image(scan, trunk.crotch[0])[0] == pytest.approx(rows[-1] + 0.5, abs=1.5)
    assert trunk.hip_right[1] < trunk.crotch[1] < trunk.hip_left[1]


def test_one_side_without_bone_takes_the_level_of_the_other() -> None:
    scanned = scanned_people()[0]
    density = scanned.density.copy()
    half = round(float(np.nonzero(scanned.regions == Region.PELVIS)[1].mean())) + 6
    density[2, :, half:] = 0.0
    scan = upright(Scanned(density, scanned.body, scanned.regions))
    whole, head = upright(scanned), find_head(upright(scanned))
    assert head is not None
    trunk, expected = find_trunk(scan, head), find_trunk(whole, head)
    assert trunk is not None
    assert expected is not None
    assert {"left_crest_guessed", "left_hip_guessed"} <= set(trunk.flags)
    assert trunk.crest_left == trunk.crest_right == pytest.approx(expected.crest_right, abs=1.0)


@pytest.mark.parametrize("child", [False, True])
def test_a_trunk_is_unusual_only_for_head_and_length(child: bool) -> None:
    scan = upright((scanned_children() if child else scanned_people())[0])
    head = find_head(scan)
    assert head is not None
    trunk = find_trunk(scan, head)
    assert trunk is not None
    assert not has_unusual_proportions(scan, trunk)
    for factor in (0.6, 1.7):
        level = head.neck + factor * trunk.length
        assert has_unusual_proportions(scan, replace(trunk, crest_right=level, crest_left=level))
    # the head of a child of seven years alone would have it flagged
    assert (trunk.length * SPACING_MM[0] < 0.8 * TRUNK_PER_HEAD_WIDTH * head.width_mm) == child
    # and legs outside the field an adult
    crotch = int(trunk.crotch[0])
    cut = replace(scan, body=scan.body & (np.arange(len(scan.body))[:, None] <= crotch + 10))
    assert has_unusual_proportions(cut, trunk) == child


def test_a_bar_has_no_head() -> None:
    body = np.zeros((150, 109), dtype=bool)
    body[10:140, 40:70] = True
    bar = upright(Scanned(np.ones((3, 150, 109)), body, body))
    assert find_head(bar) is None
