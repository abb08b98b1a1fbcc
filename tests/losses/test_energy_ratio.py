from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.energy_ratio import FAT_LEAN_DISTANCE, MOST_DISTANCES, EnergyRatioLoss
from dxa_monai.networks.vae import VAEOutput


def output_of(reconstruction: torch.Tensor) -> VAEOutput:
    code = torch.zeros(1)
    return VAEOutput(reconstruction, code, code)


def slab(ratio: float, nepers: float = 3.0) -> torch.Tensor:
    """A body of one ratio in the left half of the field, ``(1, 6, 8, 8)``; air in the other."""
    scan = torch.zeros(1, 6, 8, 8, dtype=torch.float64)
    scan[:, 0::2, :, :4] = nepers / 12.0
    scan[:, 1::2, :, :4] = ratio * nepers / 12.0
    return scan


def test_the_difference_between_fat_and_lean_is_one() -> None:
    loss = EnergyRatioLoss()(output_of(slab(1.19 + FAT_LEAN_DISTANCE)), slab(1.19))
    assert float(loss) == pytest.approx(1.0)


def test_the_same_ratio_costs_nothing_whatever_the_thickness() -> None:
    assert float(EnergyRatioLoss()(output_of(slab(1.2, 2.0)), slab(1.2, 3.0))) == pytest.approx(0.0, abs=1e-12)


def test_outside_of_the_body_nothing_counts_and_a_pixel_counts_no_more_than_the_limit() -> None:
    target, made = slab(1.2), slab(1.2)
    made[..., 4:] = torch.rand(made[..., 4:].shape, generator=torch.Generator().manual_seed(0))
    assert float(EnergyRatioLoss()(output_of(made), target)) == pytest.approx(0.0, abs=1e-12)
    assert float(EnergyRatioLoss()(output_of(slab(9.0)), target)) == MOST_DISTANCES


def test_gradient_agrees_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    target = slab(1.2)
    made = (target + 0.002 * torch.rand(target.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda scan: EnergyRatioLoss()(output_of(scan), target), made)


def test_a_hopeless_reconstruction_has_a_finite_gradient() -> None:
    made = torch.zeros(1, 6, 8, 8, requires_grad=True)
    EnergyRatioLoss()(output_of(made), slab(1.2).float()).backward()
    assert made.grad is not None
    assert torch.isfinite(made.grad).all()


@pytest.mark.parametrize("name", ["window", "mask_threshold_nepers"])
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a positive number, got 0"):
        EnergyRatioLoss(**{name: 0.0})
