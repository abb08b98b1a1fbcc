"""Failed detector columns are found by what no body does, and filled in from beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.columns import fill_columns, find_dead_columns
from dxa_monai.scan.format import FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, SCAN_SHAPE
from tests.lying_bodies import SCANNERS, lying_bodies, scanned

LAST = SCAN_SHAPE[1] - 1


@pytest.fixture(scope="module", params=list(SCANNERS))
def clean(request: pytest.FixtureRequest) -> torch.Tensor:
    """``(2, 6, 150, 109)``; do not write into it."""
    return scanned(SCANNERS[request.param])


def weak(raw: torch.Tensor, column: int, gain: float) -> torch.Tensor:
    """A detector that sees only a share of its signal."""
    raw = raw.clone()
    raw[..., column] -= np.log(gain) / FULL_SCALE_NEPERS
    return raw


def stuck(raw: torch.Tensor, columns: tuple[int, ...], value: float) -> torch.Tensor:
    raw = raw.clone()
    raw[..., list(columns)] = value
    return raw


def test_none_is_found_in_clean_scans(clean: torch.Tensor) -> None:
    assert [find_dead_columns(raw) for raw in clean] == [(), ()]


@pytest.mark.parametrize("name", SCANNERS)
def test_none_is_found_without_noise_and_none_without_a_body(name: str) -> None:
    bodies = torch.cat([lying_bodies()[:1], torch.zeros(1, 3, *SCAN_SHAPE)])
    assert [find_dead_columns(raw) for raw in SCANNERS[name].forward(bodies)] == [(), ()]
    assert find_dead_columns(scanned(SCANNERS[name])[0, :, :20]) == ()  # little but air
    empty = SCANNERS[name].scan(bodies[1:], torch.Generator().manual_seed(0))[0]
    assert find_dead_columns(torch.from_numpy(empty.astype(np.float32) / FULL_SCALE_COUNTS).movedim(-1, 0)) == ()


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_none_is_found_in_a_constant_image(value: float) -> None:
    assert find_dead_columns(torch.full((6, 40, 30), value)) == ()


@pytest.mark.parametrize("columns", [(0,), (1,), (54,), (LAST,), (54, 55), (0, 1), (LAST - 1, LAST), (3, 40, 41, 90)])
@pytest.mark.parametrize("value", [0.0, 0.05, 0.4])
def test_columns_stuck_at_any_value_are_found(columns: tuple[int, ...], value: float, clean: torch.Tensor) -> None:
    for raw in clean:
        assert find_dead_columns(stuck(raw, columns, value)) == columns


def test_a_detector_that_flickers_by_a_count_is_stuck(clean: torch.Tensor) -> None:
    raw = stuck(clean[0], (54,), 0.3)
    raw[..., ::2, 54] += 1.0 / FULL_SCALE_COUNTS
    assert find_dead_columns(raw) == (54,)


@pytest.mark.parametrize("name", ["dead_columns", "hot_columns"])
@pytest.mark.parametrize("columns", [(0,), (54, 55), (20, 70, LAST)])
def test_dead_and_hot_columns_of_a_scanner_are_found(name: str, columns: tuple[int, ...]) -> None:
    changes: dict[str, Any] = {name: columns}
    for raw in scanned(Acquisition(subpixels=(1, 1), **changes)):
        assert find_dead_columns(raw) == columns


@pytest.mark.parametrize("column", [1, 54, LAST - 1])
@pytest.mark.parametrize("gain", [0.5, 0.8])
def test_weak_columns_are_found(column: int, gain: float, clean: torch.Tensor) -> None:
    """Where the body's own edge does not lie; there a weak detector may stay."""
    assert find_dead_columns(weak(clean[0], column, gain)) == (column,)


def test_a_weak_column_beside_a_dead_one_is_filled_from_beyond() -> None:
    raw = weak(stuck(scanned(SCANNERS["realistic"])[0], (54,), 0.0), 20, 0.5)
    assert find_dead_columns(raw) == (20, 54)


def test_air_without_noise_is_not_stuck() -> None:
    """Only a few columns at the sides of a wide body see air from head to feet, and always the same."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 150), torch.linspace(-1, 1, 109), indexing="ij")
    areal = torch.zeros(1, 3, *SCAN_SHAPE)
    areal[0, 1] = 15.0 * (1.0 - (rows / 0.9) ** 2 - (columns / 0.93) ** 2).clamp_min(0.0).sqrt()
    for acquisition in SCANNERS.values():
        assert find_dead_columns(acquisition.forward(areal)[0]) == ()


@pytest.mark.parametrize("bits", [10, 8])
def test_air_that_is_rounded_coarsely_is_not_stuck(bits: int, clean: torch.Tensor) -> None:
    step = 2.0 ** (14 - bits) / FULL_SCALE_COUNTS
    for raw in clean:
        assert find_dead_columns((raw / step).round() * step) == ()


@pytest.mark.parametrize("seed", range(3))
def test_gains_of_working_detectors_are_left_alone(seed: int) -> None:
    raw = scanned(Acquisition(column_gain_sd=0.01, subpixels=(1, 1)), seed)
    assert [find_dead_columns(each) for each in raw] == [(), ()]


def test_too_many_are_none(clean: torch.Tensor) -> None:
    """11 of 109 are more than a tenth: it is not single detectors that failed."""
    ten = tuple(range(5, 100, 10))
    assert find_dead_columns(stuck(clean[0], ten, 0.5)) == ten
    assert find_dead_columns(stuck(clean[0], (*ten, LAST), 0.5)) == ()


def test_filled_columns_lie_on_the_line_between_their_neighbours() -> None:
    raw = torch.tensor([0.0, 0.1, 9.0, 9.0, 0.4, 0.6, 9.0]).expand(2, 6, 4, 7)
    filled = fill_columns(raw, (2, 3, 6))
    expected = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.6])
    torch.testing.assert_close(filled, expected.expand_as(raw))
    torch.testing.assert_close(fill_columns(raw, (0, 1))[0, 0, 0, :2], torch.tensor([9.0, 9.0]))


def test_filling_nothing_is_the_same_scan_and_no_scan_is_changed(clean: torch.Tensor) -> None:
    before = clean.clone()
    assert fill_columns(clean, ()) is clean
    fill_columns(clean, (0, 54, 55))
    find_dead_columns(clean[0])
    assert torch.equal(clean, before)


def test_a_filled_scan_shows_no_failed_column(clean: torch.Tensor) -> None:
    broken = stuck(clean[0], (30, 54, 55), 0.9)
    filled = fill_columns(broken, find_dead_columns(broken))
    assert find_dead_columns(filled) == ()
    assert float((filled - clean[0]).abs().mean()) < 1e-3


def test_filling_is_differentiable() -> None:
    raw = torch.rand(1, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: fill_columns(values, (0, 2)), raw)
