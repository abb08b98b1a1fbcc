from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.energy_ratio import FAT_LEAN_DISTANCE, MOST_DISTANCES, EnergyRatioLoss
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import air_level, body_mask
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.soft_tissue_window import soft_tissue_window
from tests.lying_bodies import SCANNERS, scanned


def output_of(reconstruction: torch.Tensor) -> VAEOutput:
    code = torch.zeros(1)
    return VAEOutput(reconstruction, code, code)


def slab(ratio: float, nepers: float = 3.0, zero: float = 0.0) -> torch.Tensor:
    """A body of one ratio in the left half of the field, ``(1, 6, 8, 8)``; air in the other, which reads ``zero``."""
    scan = torch.full((1, 6, 8, 8), zero, dtype=torch.float64)
    scan[:, 0::2, :, :4] += nepers / 12.0
    scan[:, 1::2, :, :4] += ratio * nepers / 12.0
    return scan


@pytest.mark.parametrize("zero", [0.0, 0.15])
def test_the_difference_between_fat_and_lean_is_one(zero: float) -> None:
    loss = EnergyRatioLoss()(output_of(slab(1.19 + FAT_LEAN_DISTANCE, zero=zero)), slab(1.19, zero=zero))
    assert float(loss) == pytest.approx(1.0)


@pytest.mark.parametrize("zero", [0.0, 0.15])
def test_the_same_ratio_costs_nothing_whatever_the_thickness(zero: float) -> None:
    loss = EnergyRatioLoss()(output_of(slab(1.2, 2.0, zero)), slab(1.2, 3.0, zero))
    assert float(loss) == pytest.approx(0.0, abs=1e-12)


def test_a_reconstruction_is_held_above_the_air_of_its_target() -> None:
    """One that leaves out the zero is not forgiven: 3 nepers and R of 1.2 with 1.8 nepers missing in both energies."""
    loss = EnergyRatioLoss(window=1.0)(output_of(slab(1.2)), slab(1.2, zero=0.15))
    assert float(loss) == pytest.approx(abs((3.6 - 1.8) / (3.0 - 1.8) - 1.2))


def test_the_ratio_behind_a_segment_holds_what_the_segment_attenuates() -> None:
    """Tissue segment: 0.6 nepers of high and 0.9 of low energy; ratios (3.6 + 0.9) / (3 + 0.6), and with 3.9."""
    made, target = slab(1.3, zero=0.1), slab(1.2, zero=0.1)
    for scan in (made, target):
        scan[:, 4] += 0.6 / 12.0
        scan[:, 5] += 0.9 / 12.0
    expected = (0.1 + 0.1 + 0.3 / 3.6) / 3.0
    assert float(EnergyRatioLoss(window=1.0)(output_of(made), target)) == pytest.approx(expected)


def test_two_bodies_are_about_as_far_apart_on_either_scanner() -> None:
    found = []
    for acquisition in SCANNERS.values():
        lean, fat = scanned(acquisition).split(1)
        found.append(float(EnergyRatioLoss()(output_of(fat), lean)))
    assert found[1] == pytest.approx(found[0], rel=0.1)
    assert found[0] > 0.3


@pytest.mark.parametrize("acquisition", SCANNERS.values(), ids=SCANNERS)
def test_a_batch_is_the_mean_over_all_pixels_of_its_bodies(acquisition: Acquisition) -> None:
    loss, target = EnergyRatioLoss(), scanned(acquisition)
    made = target.flip(0)
    pixels = body_mask(target, 0.5).flatten(1).sum(1)
    each = torch.stack([loss(output_of(a[None]), b[None]) for a, b in zip(made, target, strict=True)])
    expected = (each * pixels).sum() / pixels.sum()
    torch.testing.assert_close(
        loss(output_of(made), target), expected, rtol=1e-3, atol=0.0
    )  # a pixel at the mask's rim


@pytest.mark.parametrize("acquisition", SCANNERS.values(), ids=SCANNERS)
def test_the_air_of_a_reconstruction_has_no_gradient(acquisition: Acquisition) -> None:
    target = scanned(acquisition)
    made = target.flip(0).clone().requires_grad_()
    EnergyRatioLoss()(output_of(made), target).backward()
    assert made.grad is not None
    body = body_mask(target, 0.5, level=air_level(target)).expand_as(made)
    assert made.grad[~body].abs().max() == 0.0
    assert made.grad[body].abs().max() > 0.0


def test_outside_of_the_body_nothing_counts_and_a_pixel_counts_no_more_than_the_limit() -> None:
    target, made = slab(1.2), slab(1.2)
    made[..., 4:] = torch.rand(made[..., 4:].shape, generator=torch.Generator().manual_seed(0))
    assert float(EnergyRatioLoss()(output_of(made), target)) == pytest.approx(0.0, abs=1e-12)
    assert float(EnergyRatioLoss()(output_of(slab(9.0)), target)) == MOST_DISTANCES


@pytest.mark.parametrize("zero", [0.0, 0.15])
def test_gradient_agrees_with_finite_differences(zero: float) -> None:
    generator = torch.Generator().manual_seed(0)
    target = slab(1.2, zero=zero)
    made = (target + 0.002 * torch.rand(target.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda scan: EnergyRatioLoss()(output_of(scan), target), made)


def test_a_hopeless_reconstruction_has_a_finite_gradient() -> None:
    made = torch.zeros(1, 6, 8, 8, requires_grad=True)
    EnergyRatioLoss()(output_of(made), slab(1.2).float()).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


@pytest.mark.parametrize("zero", [0.0, 0.15])
def test_in_the_window_of_soft_tissue_pure_fat_is_one_away_from_pure_lean_at_any_thickness(zero: float) -> None:
    window = soft_tissue_window(None)
    for nepers in (0.8, 3.0, 6.5):
        fat, lean = (slab(1.0, nepers, zero) for _ in range(2))
        for scan, ratios in zip((fat, lean), window.of_channels(torch.full((1, 1, 1, 1), nepers)), strict=True):
            scan[:, 1::2, :, :4] = zero + ratios[..., 0].double().reshape(1, 3, 1, 1) * nepers / 12.0
        assert float(EnergyRatioLoss(window=None)(output_of(fat), lean)) == pytest.approx(1.0, abs=1e-5)


def test_the_record_tells_which_window_it_was() -> None:
    assert EnergyRatioLoss().as_dict() == {"window": FAT_LEAN_DISTANCE}
    assert EnergyRatioLoss(window=None).as_dict() == {"window": "soft_tissue"}


@pytest.mark.parametrize("name", ["window", "mask_threshold_nepers"])
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a positive number, got 0"):
        EnergyRatioLoss(**{name: 0.0})


def test_a_scanner_that_nothing_would_use_is_refused() -> None:
    with pytest.raises(InputError, match="scanner_model: expected none beside a window that is a number, got window 0"):
        EnergyRatioLoss(scanner_model=ScannerModel())
