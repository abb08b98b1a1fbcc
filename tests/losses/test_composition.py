"""The composition loss: zero for the scan itself, rises with composition errors, blind outside of the body."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.composition import CompositionLoss
from dxa_monai.losses.vae import DXAVAELoss
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.acquisition import Acquisition


def _areal_density() -> torch.Tensor:
    """A limb of fat around lean with a bone in it, ``(1, 3, 40, 40)`` g/cm2."""
    x = torch.linspace(-12.0, 12.0, 40)
    outer = 2.0 * (49.0 - x**2).clamp_min(0.0).sqrt()
    inner = 2.0 * (25.0 - x**2).clamp_min(0.0).sqrt()
    bone = 1.5 * (x.abs() < 1.2)
    profile = torch.stack([0.9 * (outer - inner), inner, bone])
    areal = profile[None, :, None, :].expand(1, 3, 40, 40).clone()
    areal[:, :, :4] = 0.0
    areal[:, :, -4:] = 0.0
    return areal


@pytest.fixture(scope="module")
def scans() -> dict[str, torch.Tensor]:
    acquisition = Acquisition()
    areal = _areal_density()
    fatter = areal.clone()
    fatter[:, 0] *= 1.2
    much_fatter = areal.clone()
    much_fatter[:, 0] *= 1.4
    return {
        "target": acquisition.forward(areal),
        "fatter": acquisition.forward(fatter),
        "much_fatter": acquisition.forward(much_fatter),
    }


def test_the_scan_itself_has_no_loss_and_more_fat_has_more(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    values = [float(loss(scans[name], scans["target"])) for name in ("target", "fatter", "much_fatter")]
    assert values[0] == 0.0
    assert 0.0 < values[1] < values[2]


def test_outside_of_the_body_nothing_counts(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    changed = scans["fatter"].clone()
    changed[:, :, :3] = 0.4
    assert float(loss(changed, scans["target"])) == pytest.approx(float(loss(scans["fatter"], scans["target"])))


def test_a_step_against_the_gradient_lowers_it(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    prediction = scans["fatter"].clone().requires_grad_(True)
    before = loss(prediction, scans["target"])
    (gradient,) = torch.autograd.grad(before, prediction)
    after = loss(prediction.detach() - 1e-4 * gradient / gradient.norm(), scans["target"])
    assert float(after) < float(before.detach())


@pytest.mark.parametrize("fill", [-3.0, 0.0, 1.0, 7.0])
def test_odd_predictions_have_a_finite_loss_and_gradient(scans: dict[str, torch.Tensor], fill: float) -> None:
    prediction = torch.full_like(scans["target"], fill, requires_grad=True)
    value = CompositionLoss()(prediction, scans["target"])
    value.backward()
    assert torch.isfinite(value)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_random_predictions_have_a_finite_gradient(scans: dict[str, torch.Tensor]) -> None:
    noise = torch.rand(scans["target"].shape, generator=torch.Generator().manual_seed(0))
    prediction = (2.0 * noise - 0.5).requires_grad_(True)
    CompositionLoss()(prediction, scans["target"]).backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_other_shapes_are_refused(scans: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="expected shape"):
        CompositionLoss()(scans["target"][:, :, :-1], scans["target"])


def test_it_joins_the_vae_loss_after_the_warm_up(scans: dict[str, torch.Tensor]) -> None:
    loss = DXAVAELoss(composition=CompositionLoss(), composition_weight=0.5, warm_up_epochs=1)
    latent = torch.zeros(1, 2, 1, 1)
    output = VAEOutput(scans["fatter"], latent, latent)
    loss.set_epoch(1)
    loss(output, scans["target"])
    assert "composition" not in loss.terms
    loss.set_epoch(2)
    total = loss(output, scans["target"])
    expected = sum(float(loss.terms[f"weight_{name}"] * loss.terms[name]) for name in ("pixel_l1", "kl", "composition"))
    assert float(total) == pytest.approx(expected)
    assert float(loss.terms["weight_composition"]) == 0.5
