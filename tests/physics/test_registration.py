"""How far the energies of a scan lie apart, and how that is undone."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.registration import SMALLEST_SHIFT_MM, EnergyShift, believed_shift_mm, energy_shift, shift_back
from dxa_monai.scan.format import FULL_SCALE_NEPERS, LOW_CHANNELS, PIXEL_SPACING_MM, SCAN_SHAPE
from tests.lying_bodies import lying_bodies
from tests.sharp_scanner import sharp_scanner

SHIFTS = [(0.0, 0.5), (0.0, -0.5), (2.0, 0.0), (-2.0, 0.0), (1.0, -1.0), (3.0, 2.0)]
BODY = lying_bodies()[:1]


def nepers(areal: torch.Tensor, shift_mm: tuple[float, float] = (0.0, 0.0), seed: int | None = 0) -> torch.Tensor:
    """``(6, H, W)`` above the zero."""
    noise = None if seed is None else torch.Generator().manual_seed(seed)
    return sharp_scanner(energy_shift_mm=shift_mm).forward(areal, noise)[0] * FULL_SCALE_NEPERS


def ridged() -> torch.Tensor:
    """The lean body with crossbars of bone, as ribs are: rows differ."""
    bars = 0.8 * ((torch.arange(SCAN_SHAPE[0]) % 7) < 2)[:, None] * (BODY[0, 1] > 5.0)
    return BODY + torch.stack([0.0 * bars, 0.0 * bars, bars])


def lopsided() -> torch.Tensor:
    """More fat on the left than on the right, a bone that ends in mid-image: energies agree, nothing is symmetric."""
    columns = torch.arange(SCAN_SHAPE[1])[None, :]
    total = BODY[0, :2].sum(dim=0)
    fat = torch.where(columns < SCAN_SHAPE[1] // 2, 0.25, 0.15) * total
    bone = torch.zeros(SCAN_SHAPE)
    bone[40:75, 60:66] = 1.5
    return torch.stack([fat, total - fat, bone * (total > 5.0)])[None]


@pytest.mark.parametrize("shift_mm", SHIFTS)
def test_displacement_is_found_within_its_error_and_with_its_sign(shift_mm: tuple[float, float]) -> None:
    found = energy_shift(nepers(ridged(), shift_mm))
    assert abs(found.rows_mm - shift_mm[0]) < max(3.0 * found.rows_error_mm, SMALLEST_SHIFT_MM[0])
    assert abs(found.columns_mm - shift_mm[1]) < max(3.0 * found.columns_error_mm, SMALLEST_SHIFT_MM[1])
    assert found.rows_error_mm < 0.5
    assert found.columns_error_mm < 0.1


@pytest.mark.parametrize("areal", [BODY, lying_bodies()[1:], ridged(), lopsided()], ids=["lean", "fat", "ribs", "odd"])
def test_energies_that_agree_are_believed_to(areal: torch.Tensor) -> None:
    for seed in (None, 0, 1):
        assert believed_shift_mm([energy_shift(nepers(areal, seed=seed))], (0.0, 0.0)) == (0.0, 0.0)


def test_noise_without_edges_says_nothing_of_a_displacement() -> None:
    block = torch.zeros(1, 3, *SCAN_SHAPE)
    block[0, :2, 20:130, 25:85] = torch.tensor([5.0, 10.0])[:, None, None]
    for seed in range(8):
        found = energy_shift(nepers(block, seed=seed))
        assert found.rows_error_mm == found.columns_error_mm == float("inf")
        assert believed_shift_mm([found], (0.0, 0.0)) == (0.0, 0.0)


def test_a_large_displacement_is_half_a_pixel_at_most() -> None:
    found = energy_shift(nepers(ridged(), (20.0, -9.0)))
    assert abs(found.rows_mm) <= PIXEL_SPACING_MM[0] / 2.0
    assert found.columns_mm == -PIXEL_SPACING_MM[1] / 2.0


@pytest.mark.parametrize("shape", [SCAN_SHAPE, (20, 16), (5, 4)])
def test_nothing_in_the_field_is_not_known_to_be_displaced(shape: tuple[int, int]) -> None:
    found = energy_shift(torch.zeros(6, *shape))
    assert found[:2] == (0.0, 0.0)
    assert found[2:] == (float("inf"), float("inf"))
    assert believed_shift_mm([found], (0.0, 0.0)) == (0.0, 0.0)
    assert believed_shift_mm([found], (0.1, 0.2)) == (0.1, 0.2)


def test_spacing_scales_the_displacement() -> None:
    image = nepers(BODY, (1.5, 0.5))
    one, double = energy_shift(image), energy_shift(image, (26.0, 12.12))
    assert double == pytest.approx([2.0 * value for value in one])


@pytest.mark.parametrize("shift_mm", SHIFTS)
def test_shift_back_undoes_it(shift_mm: tuple[float, float]) -> None:
    straight, displaced = nepers(ridged(), seed=None), nepers(ridged(), shift_mm, seed=None)
    back = shift_back(displaced[None], shift_mm)[0]
    inside = slice(3, -3)
    before, after = (float((each - straight)[:, inside, inside].square().mean()) for each in (displaced, back))
    assert after < 0.15 * before
    assert believed_shift_mm([energy_shift(back)], (0.0, 0.0)) == (0.0, 0.0)


def test_shift_back_leaves_the_high_energy_alone_and_changes_no_input() -> None:
    raw = nepers(BODY)[None]
    before = raw.clone()
    assert shift_back(raw, (0.0, 0.0)) is raw
    moved = shift_back(raw, (0.5, 0.5))
    assert torch.equal(raw, before)
    assert torch.equal(moved[:, ::2], raw[:, ::2])
    assert not torch.equal(moved[:, list(LOW_CHANNELS)], raw[:, list(LOW_CHANNELS)])


def test_shift_back_of_a_constant_is_the_constant() -> None:
    raw = torch.full((1, 6, 12, 9), 0.3, dtype=torch.float64)
    torch.testing.assert_close(shift_back(raw, (3.0, -1.0)), raw)


def test_gradient_flows_through_shift_back() -> None:
    raw = torch.rand(1, 6, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: shift_back(values, (2.0, -1.0)), raw)


def measured(rows_mm: float, columns_mm: float, error_mm: float = 0.001) -> EnergyShift:
    return EnergyShift(rows_mm, columns_mm, error_mm, error_mm)


def test_a_scan_is_believed_beyond_the_smallest_shift_and_its_error() -> None:
    assert believed_shift_mm([measured(0.29, 0.029)], (0.0, 0.0)) == (0.0, 0.0)
    assert believed_shift_mm([measured(0.31, -0.031)], (0.0, 0.0)) == (0.31, -0.031)
    assert believed_shift_mm([measured(1.0, 1.0, error_mm=0.5)], (0.0, 0.0)) == (0.0, 0.0)
    assert believed_shift_mm([measured(1.0, 1.0)], (1.0, 1.01)) == (1.0, 1.01)


def test_scans_are_believed_by_their_median() -> None:
    scans = [measured(1.0, 0.2), measured(1.2, 0.3), measured(-9.0, 9.0)]
    assert believed_shift_mm(scans, (0.0, 0.0)) == (1.0, 0.3)


def test_many_scans_are_believed_sooner_than_one() -> None:
    assert believed_shift_mm([measured(0.2, 0.02)], (0.0, 0.0)) == (0.0, 0.0)
    assert believed_shift_mm([measured(0.2, 0.02)] * 4, (0.0, 0.0)) == (0.2, 0.02)


def test_drift_of_one_energy_is_no_displacement() -> None:
    acquisition = Acquisition(drift_low=0.003, subpixels=(1, 1))
    empty = acquisition.forward(torch.zeros_like(BODY))
    above = (acquisition.forward(BODY, torch.Generator().manual_seed(0)) - empty)[0] * FULL_SCALE_NEPERS
    assert believed_shift_mm([energy_shift(above)], (0.0, 0.0)) == (0.0, 0.0)
