"""The composition loss: zero for the scan itself, rises with composition errors, blind outside of the body."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.composition import CompositionLoss
from dxa_monai.losses.elementary import KLDivergence, PixelL1
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.acquisition import Acquisition
from tests.lying_bodies import SCANNERS


def _areal_density() -> torch.Tensor:
    """A limb of fat around lean with a bone in it, ``(1, 3, 40, 40)`` g/cm2.

    It tapers and lies askew: what is straight is taken for a table.
    """
    x = torch.linspace(-12.0, 12.0, 40) - torch.linspace(-3.0, 3.0, 40)[:, None]
    radius = torch.linspace(8.0, 4.0, 40)[:, None]
    outer = 2.0 * (radius**2 - x**2).clamp_min(0.0).sqrt()
    inner = 2.0 * ((0.7 * radius) ** 2 - x**2).clamp_min(0.0).sqrt()
    bone = 1.5 * (x.abs() < 1.2)
    areal = torch.stack([0.9 * (outer - inner), inner, bone])[None]
    areal[:, :, :4] = 0.0
    areal[:, :, -4:] = 0.0
    return areal


def output_of(reconstruction: torch.Tensor) -> VAEOutput:
    latent = torch.zeros(len(reconstruction), 2, 1, 1)
    return VAEOutput(reconstruction, latent, latent)


@pytest.fixture(scope="module", params=SCANNERS.values(), ids=SCANNERS.keys())
def scans(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    acquisition: Acquisition = request.param
    areal = _areal_density()
    fatter = areal.clone()
    fatter[:, 0] *= 1.2
    much_fatter = areal.clone()
    much_fatter[:, 0] *= 1.4
    noise = torch.Generator().manual_seed(0)
    named = {"target": areal, "fatter": fatter, "much_fatter": much_fatter}
    return {name: acquisition.forward(each, noise).clamp(0.0, 1.0) for name, each in named.items()}


def test_the_scan_itself_has_no_loss_and_more_fat_has_more(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    values = [float(loss(output_of(scans[name]), scans["target"])) for name in ("target", "fatter", "much_fatter")]
    assert values[0] == 0.0
    assert 0.0 < values[1] < values[2]


def test_outside_of_the_body_nothing_counts(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    changed = scans["fatter"].clone()
    changed[:, :, :2] = 0.4  # the correction of a pixel looks at those beside it
    values = [float(loss(output_of(prediction), scans["target"])) for prediction in (changed, scans["fatter"])]
    assert values[0] == pytest.approx(values[1])


def test_a_step_against_the_gradient_lowers_it(scans: dict[str, torch.Tensor]) -> None:
    loss = CompositionLoss()
    prediction = scans["fatter"].clone().requires_grad_(True)
    before = loss(output_of(prediction), scans["target"])
    (gradient,) = torch.autograd.grad(before, prediction)
    after = loss(output_of(prediction.detach() - 1e-4 * gradient / gradient.norm()), scans["target"])
    assert float(after) < float(before.detach())


def test_gradient_agrees_with_finite_differences(scans: dict[str, torch.Tensor]) -> None:
    """Along the way to the target, in single precision."""
    loss, prediction = CompositionLoss(), scans["fatter"].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(output_of(prediction), scans["target"]), prediction)
    way = scans["target"] - scans["fatter"]
    with torch.no_grad():
        after, before = (loss(output_of(prediction + step * way), scans["target"]) for step in (0.01, -0.01))
    assert float(after - before) / 0.02 == pytest.approx(float((gradient * way).sum()), rel=0.05)


def test_each_scan_of_a_batch_has_a_correction_of_its_own(scans: dict[str, torch.Tensor]) -> None:
    """The second pair reads another zero; alone it costs the same."""
    loss, target, prediction = CompositionLoss(), scans["target"], scans["fatter"]
    alone = float(loss(output_of(prediction), target))
    zero = 0.05
    both = loss(output_of(torch.cat([prediction, prediction + zero])), torch.cat([target, target + zero]))
    assert float(both) == pytest.approx(alone, rel=0.02)
    assert float(loss(output_of(prediction), target + zero)) > 2.0 * alone


@pytest.mark.parametrize("fill", [-3.0, 0.0, 1.0, 7.0])
def test_odd_predictions_have_a_finite_loss_and_gradient(scans: dict[str, torch.Tensor], fill: float) -> None:
    prediction = torch.full_like(scans["target"], fill, requires_grad=True)
    value = CompositionLoss()(output_of(prediction), scans["target"])
    value.backward()
    assert torch.isfinite(value)
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_random_predictions_have_a_finite_gradient(scans: dict[str, torch.Tensor]) -> None:
    noise = torch.rand(scans["target"].shape, generator=torch.Generator().manual_seed(0))
    prediction = (2.0 * noise - 0.5).requires_grad_(True)
    CompositionLoss()(output_of(prediction), scans["target"]).backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_half_precision_of_the_network_is_none_of_the_decomposition(scans: dict[str, torch.Tensor]) -> None:
    value = CompositionLoss()(output_of(scans["fatter"]), scans["target"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(CompositionLoss()(output_of(scans["fatter"]), scans["target"]), value)


def test_gradient_reaches_the_reconstruction_alone(scans: dict[str, torch.Tensor]) -> None:
    prediction, target = (scans[name].clone().requires_grad_() for name in ("fatter", "target"))
    CompositionLoss()(output_of(prediction), target).backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None


def test_it_joins_other_terms_after_its_warm_up(scans: dict[str, torch.Tensor]) -> None:
    composition = Term(CompositionLoss(), weight=0.5, warm_up_epochs=1)
    loss = WeightedLoss({"pixel_l1": Term(PixelL1()), "kl": Term(KLDivergence(), 1e-5), "composition": composition})
    output = output_of(scans["fatter"])
    loss.set_epoch(1)
    loss(output, scans["target"])
    assert "composition" not in loss.terms
    loss.set_epoch(2)
    total = loss(output, scans["target"])
    expected = sum(float(loss.terms[f"weight_{name}"] * loss.terms[name]) for name in ("pixel_l1", "kl", "composition"))
    assert float(total) == pytest.approx(expected)
    assert float(loss.terms["composition"]) > 0
    assert float(loss.terms["weight_composition"]) == 0.5
    with pytest.raises(InputError, match="expected shape"):
        loss(output_of(scans["target"][:, :, :-1]), scans["target"])


def test_scans_without_open_air_are_named_before_training(scans: dict[str, torch.Tensor]) -> None:
    """A scan that is cropped to the inside of a body has no zero from which its maps could be measured."""
    whole = {"label": scans["target"], "scan_id": ["whole"]}
    CompositionLoss().prepare([whole])
    inside = scans["target"][..., 10:30, 14:24].repeat(1, 1, 2, 4)
    with pytest.raises(InputError, match=r"expected open air beside the body .* got 1 scans without \(cropped\)"):
        CompositionLoss().prepare([whole, {"label": inside, "scan_id": ["cropped"]}])


def test_a_target_that_is_not_finite_has_no_finite_loss(scans: dict[str, torch.Tensor]) -> None:
    """So the training stops at its batch and names the scans (``StopOnNonFinite``), as at any loss that is none."""
    target = scans["target"].clone()
    target[0, 0, 20, 20] = torch.nan
    made = scans["fatter"].clone().requires_grad_()
    assert torch.isnan(CompositionLoss()(output_of(made), target))
