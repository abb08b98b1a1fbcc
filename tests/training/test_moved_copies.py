"""A moved copy is the scan some pixels further, and there are no more of them than fit."""

from __future__ import annotations

import torch

from dxa_monai.bundling.options import OPTIONS
from dxa_monai.training.moved_copies import MOVES_PIXELS, copies_of_each, moved_copies


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


def test_there_are_no_more_than_fit_and_they_are_spread_evenly() -> None:
    assert copies_of_each(3, 4, 1500) == [4, 4, 4]
    assert copies_of_each(3, 2, 1500) == [2, 2, 2]
    assert copies_of_each(2, 0, 1500) == [0, 0]
    copies = copies_of_each(890, 4, 1700)
    assert 1699 <= 890 + sum(copies) <= 1700
    assert set(copies) == {0, 1}
    assert max(sum(copies[start : start + 100]) for start in range(700)) <= 92
    assert copies_of_each(1800, 4, 1700) == [0] * 1800


def test_the_option_allows_a_copy_for_each_direction() -> None:
    assert OPTIONS["moved_copies"].kind.expected == f"a whole number from 0 to {len(MOVES_PIXELS)}"
