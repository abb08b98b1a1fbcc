from __future__ import annotations

import pytest
import torch
from monai.data import MetaTensor
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from dxa_monai.errors import InputError
from dxa_monai.losses.dxa import DXALoss
from dxa_monai.losses.vae import DXAVAELoss, kl_divergence
from dxa_monai.losses.vgg import VGGFeatures
from dxa_monai.networks.vae import DXAVAE, VAEOutput


def output_of(scans: torch.Tensor, sd: float = 0.02) -> VAEOutput:
    generator = torch.Generator().manual_seed(0)
    reconstruction = (scans + sd * torch.randn(scans.shape, generator=generator)).requires_grad_()
    mu, log_variance = torch.randn(2, 2, 4, 3, 2, generator=generator)
    return VAEOutput(reconstruction, mu, log_variance)


@pytest.fixture
def perceptual(short_vgg: VGGFeatures) -> DXALoss:
    return DXALoss(features=short_vgg)


def test_kl_is_the_closed_form_of_torch_distributions() -> None:
    mu, log_variance = torch.randn(2, 3, 4, 5, 4, generator=torch.Generator().manual_seed(0))
    expected = torch_kl(Normal(mu, torch.exp(0.5 * log_variance)), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_divergence(mu, log_variance), expected)


def test_total_is_the_sum_of_weight_times_value(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss = DXAVAELoss(perceptual, pixel_weight=2.0, perceptual_weight=0.5, kl_weight=0.1)
    output = output_of(scans)
    total = loss(output, scans)
    terms = loss.terms
    expected = {
        "pixel_l1": (2.0, (output.reconstruction - scans).abs().mean()),
        "kl": (0.1, kl_divergence(output.mu, output.log_variance)),
        "raw_perceptual": (0.5, perceptual.compute_terms(output.reconstruction, scans)["raw_perceptual"]),
        "calibrated_perceptual": (
            0.5 * 0.05,
            perceptual.compute_terms(output.reconstruction, scans)["calibrated_perceptual"],
        ),
    }
    for name, (weight, value) in expected.items():
        assert float(terms[f"weight_{name}"]) == pytest.approx(weight)
        assert float(terms[name]) == pytest.approx(float(value))
    assert float(total) == pytest.approx(float(sum(weight * value for weight, value in expected.values())))
    assert float(terms["total"]) == pytest.approx(float(total))
    assert not any(term.requires_grad for term in terms.values())


def test_perceptual_terms_ramp_up_after_the_warm_up(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss = DXAVAELoss(perceptual, perceptual_weight=2.0, warm_up_epochs=3, ramp_epochs=4)
    weights = []
    for epoch in range(1, 10):
        loss.set_epoch(epoch)
        loss(output_of(scans), scans)
        weights.append(float(loss.terms.get("weight_raw_perceptual", 0.0)))
    assert weights == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_warm_up_does_not_evaluate_vgg(
    scans: torch.Tensor, perceptual: DXALoss, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluated(*args: object) -> None:
        raise AssertionError("VGG was evaluated")

    monkeypatch.setattr(perceptual, "compute_terms", evaluated)
    loss = DXAVAELoss(perceptual, warm_up_epochs=1)
    assert set(loss.terms) == set()
    loss(output_of(scans), scans)
    loss.set_epoch(2)
    with pytest.raises(AssertionError, match="evaluated"):
        loss(output_of(scans), scans)


def test_balanced_terms_pull_as_hard_as_their_weights_say(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss = DXAVAELoss(perceptual, perceptual_weight=0.7, kl_weight=0.0, balance_gradients=True)
    output = output_of(scans)
    loss(output, scans)

    def norm(value: torch.Tensor) -> float:
        (gradient,) = torch.autograd.grad(value, output.reconstruction)
        return float(gradient.norm())

    pixel = norm((output.reconstruction - scans).abs().mean())
    for name, weight in (("raw_perceptual", 0.7), ("calibrated_perceptual", 0.7 * 0.05)):
        pull = float(loss.terms[f"weight_{name}"]) * norm(perceptual.compute_terms(output.reconstruction, scans)[name])
        assert pull == pytest.approx(weight * pixel, rel=1e-4)


def test_balance_follows_the_average_of_measurements(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss = DXAVAELoss(perceptual, balance_gradients=True, balance_every=2)
    measured = []
    for sd in (0.02, 0.05, 0.05):
        loss(output_of(scans, sd), scans)
        measured.append(loss.gradient_norms.clone())
    torch.testing.assert_close(measured[0], measured[1])  # not measured in the second step
    alone = DXAVAELoss(perceptual, balance_gradients=True)
    alone(output_of(scans, 0.05), scans)
    torch.testing.assert_close(measured[2], 0.9 * measured[0] + 0.1 * alone.gradient_norms)


def test_balance_goes_on_after_a_resume(scans: torch.Tensor, perceptual: DXALoss) -> None:
    first = DXAVAELoss(perceptual, balance_gradients=True)
    first(output_of(scans), scans)
    resumed = DXAVAELoss(perceptual, balance_gradients=True)
    resumed.load_state_dict(first.state_dict())
    expected = first(output_of(scans, 0.1), scans)
    torch.testing.assert_close(resumed(output_of(scans, 0.1), scans), expected)


def test_balancing_needs_no_gradient_in_evaluation(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss = DXAVAELoss(perceptual, balance_gradients=True)
    with torch.no_grad():
        assert torch.isfinite(loss(output_of(scans), scans))
    assert loss.gradient_norms.abs().sum() == 0


def test_plain_tuples_and_meta_tensors_are_accepted(scans: torch.Tensor, perceptual: DXALoss) -> None:
    loss, output = DXAVAELoss(perceptual), output_of(scans)
    expected = loss(output, scans)
    value = loss(tuple(MetaTensor(part) for part in output), MetaTensor(scans))
    torch.testing.assert_close(value, expected)
    assert type(value) is torch.Tensor
    assert all(type(term) is torch.Tensor for term in loss.terms.values())


def test_pixels_alone_need_no_vgg(scans: torch.Tensor) -> None:
    loss = DXAVAELoss(kl_weight=0.0)
    output = output_of(scans)
    torch.testing.assert_close(loss(output, scans), (output.reconstruction - scans).abs().mean())


def test_a_target_of_another_shape_is_refused(scans: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"target: expected shape \(2, 6, 40, 32\), got \(6, 40, 32\)"):
        DXAVAELoss()(output_of(scans), scans[0])


@pytest.mark.parametrize("argument", ["pixel_weight", "perceptual_weight", "kl_weight", "warm_up_epochs"])
def test_negative_weights_are_refused(argument: str) -> None:
    with pytest.raises(InputError, match=argument):
        DXAVAELoss(**{argument: -1})


@pytest.mark.parametrize("arm", ["no_dxa", "dxa_masked"])
def test_a_small_network_learns_two_scans(arm: str, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """Fifty steps bring the reconstruction closer than the mean image, which is where training starts."""
    torch.manual_seed(0)
    network = DXAVAE(
        spatial_shape=scans.shape[-2:],
        latent_channels=4,
        latent_shape=(2, 1),
        block_config=(1, 1, 1, 1),
        growth_rate=8,
        init_features=8,
        generator_channels=(16, 16, 8, 8, 8),
        generator_kernel_sizes=(2, 4),
    )
    mean = scans.mean(0)
    network.set_normalisation(mean, float((scans - mean).std()))
    loss = DXAVAELoss(
        DXALoss(arm, features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=1), warm_up_epochs=1
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(50):
        loss.set_epoch(1 + step // 25)
        optimizer.zero_grad()
        loss(network(scans), scans).backward()
        optimizer.step()
    with torch.no_grad():
        error = (network.eval().reconstruct(scans) - scans).square().mean()
    assert error < 0.5 * (mean - scans).square().mean()
