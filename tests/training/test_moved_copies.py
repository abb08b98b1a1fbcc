"""A moved copy is the scan some pixels further, and there are no more of them than fit."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.training.moved_copies import MOVES_PIXELS, copies_that_fit, moved_copies


def test_copies_are_the_scan_whole_pixels_further_and_air_comes_in() -> None:
    torch.manual_seed(0)
    scan = torch.full((6, 30, 20), 0.25)
    scan[:, 8:22, 6:14] += torch.rand(6, 14, 8)
    for number in range(len(MOVES_PIXELS)):
        copies = moved_copies(scan, number, 3)
        assert len(copies) == 3
        for place, copy in enumerate(copies):
            down, right = MOVES_PIXELS[(number + place) % len(MOVES_PIXELS)]
            torch.testing.assert_close(copy, scan.roll((down, right), (1, 2)), atol=1e-5, rtol=0.0)
    assert moved_copies(scan, 0, 0) == []


@pytest.mark.parametrize(
    ("scans", "most_copies", "expected"),
    [(100, 4, 4), (1780, 4, 1), (1000, 4, 3), (1000, 2, 2), (5000, 4, 0), (9, 0, 0)],
)
def test_there_are_no_more_than_fit(scans: int, most_copies: int, expected: int) -> None:
    assert copies_that_fit(scans, most_copies, 4000) == expected
