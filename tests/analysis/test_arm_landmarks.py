"""The cut of an arm runs between arm and body."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.analysis.arm_landmarks import find_arm_cut
from dxa_monai.analysis.head_landmarks import find_head
from dxa_monai.analysis.landmarks import ARM_POINTS
from dxa_monai.analysis.trunk_landmarks import find_trunk
from dxa_monai.analysis.upright import smooth_maps, turned_upright
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
