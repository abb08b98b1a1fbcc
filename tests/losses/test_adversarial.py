from __future__ import annotations

import copy

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.adversarial import CRITERIA, AdversarialLoss
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.networks.vae import VAEOutput


def output_of(reconstruction: torch.Tensor) -> VAEOutput:
    code = torch.zeros(1)
    return VAEOutput(reconstruction, code, code)


def blurred(scans: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(scans, 5, stride=1, padding=2)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_discriminator_learns_to_tell_scans_from_reconstructions(criterion: str, scans: torch.Tensor) -> None:
    loss, made = AdversarialLoss(learning_rate=1e-3, channels=4, criterion=criterion), blurred(scans)
    before = float(loss.discriminator_loss(made, scans))
    for _ in range(60):
        loss(output_of(made), scans)
    assert float(loss.told["discriminator"]) < 0.9 * before


def test_the_generator_gets_its_gradient_and_the_target_none(scans: torch.Tensor) -> None:
    loss, target = AdversarialLoss(channels=4), scans.clone().requires_grad_()
    made = blurred(scans).requires_grad_()
    loss(output_of(made), target).backward()
    assert made.grad is not None
    assert float(made.grad.abs().max()) > 0.0
    assert target.grad is None
    assert all(weight.grad is None for weight in loss.discriminator.parameters())


def test_a_generator_that_follows_its_gradient_is_called_a_scan_more_often(scans: torch.Tensor) -> None:
    loss = AdversarialLoss(channels=4).eval()
    made = blurred(scans).requires_grad_()
    before = loss(output_of(made), scans)
    (gradient,) = torch.autograd.grad(before, made)
    assert float(loss(output_of(made - 1e-3 * gradient / gradient.norm()), scans)) < float(before)


@pytest.mark.parametrize("how", ["evaluation", "without gradients"])
def test_the_discriminator_learns_in_training_alone(how: str, scans: torch.Tensor) -> None:
    loss = AdversarialLoss(learning_rate=1.0, channels=4)
    before = copy.deepcopy(loss.discriminator.state_dict())
    with torch.set_grad_enabled(how == "evaluation"):
        loss.train(how != "evaluation")(output_of(blurred(scans)), scans)
    assert all(torch.equal(value, before[name]) for name, value in loss.discriminator.state_dict().items())


def test_a_loss_that_was_saved_goes_on_as_one_that_was_not(scans: torch.Tensor) -> None:
    def one() -> WeightedLoss:
        return WeightedLoss({"adversarial": Term(AdversarialLoss(learning_rate=1e-2, channels=4))})

    def steps(loss: WeightedLoss, count: int) -> float:
        for _ in range(count):
            value = loss(output_of(blurred(scans).requires_grad_()), scans)
        return float(value)

    whole, cut, resumed = one(), one(), one()
    expected = steps(whole, 5)
    steps(cut, 3)
    resumed.load_state_dict(cut.state_dict())
    assert steps(resumed, 2) == expected
    fresh = one()
    fresh.load_state_dict({k: v for k, v in cut.state_dict().items() if "extra" not in k}, strict=False)
    assert steps(fresh, 2) != expected  # the optimizer's state is part of it


def test_first_weights_are_the_seeds_and_nothing_else_is_drawn() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second, third = (AdversarialLoss(channels=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    weights = [loss.discriminator.final_conv.conv.weight for loss in (first, second, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_what_the_discriminator_loses_is_told_beside_the_term(scans: torch.Tensor) -> None:
    loss = WeightedLoss({"adversarial": Term(AdversarialLoss(channels=4), weight=500.0)})
    total = loss(output_of(blurred(scans).requires_grad_()), scans)
    assert set(loss.terms) == {"adversarial", "weight_adversarial", "adversarial_discriminator", "total"}
    assert float(total) == pytest.approx(500.0 * float(loss.terms["adversarial"]))


@pytest.mark.parametrize(
    ("argument", "value"), [("learning_rate", 0.0), ("channels", 0), ("layers", -1), ("criterion", "wasserstein")]
)
def test_what_cannot_be_is_refused(argument: str, value: float | str) -> None:
    with pytest.raises(InputError, match=f"{argument}: expected"):
        AdversarialLoss(**{argument: value})
