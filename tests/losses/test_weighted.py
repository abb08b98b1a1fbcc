from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.losses.elementary import KLDivergence, OrthogonalityPenalty, PixelL1, kl_divergence
from dxa_monai.losses.latent_matching import LatentMatchingLoss
from dxa_monai.losses.perceptual import CalibratedPerceptualLoss, RawPerceptualLoss
from dxa_monai.losses.vgg import VGGFeatures
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.networks.vae import DXAVAE, VAEOutput
from tests.losses.test_elementary import pseudo_dxa
from tests.losses.test_latent_matching import people, vae
from tests.networks.bodies import ellipsoids

Terms = dict[str, Term | None]


def output_of(scans: torch.Tensor, sd: float = 0.02) -> VAEOutput:
    generator = torch.Generator().manual_seed(0)
    reconstruction = (scans + sd * torch.randn(scans.shape, generator=generator)).requires_grad_()
    mu, log_variance = torch.randn(2, 2, 4, 3, 2, generator=generator)
    return VAEOutput(reconstruction, mu, log_variance)


def terms_of(features: VGGFeatures, views_per_step: int | None = None, seed: int = 0, **schedule: Any) -> Terms:
    """The terms that train a DXA-VAE; the perceptual ones have the schedule."""
    shared: dict[str, Any] = {"features": features, "views_per_step": views_per_step, "seed": seed}
    return {
        "pixel_l1": Term(PixelL1(), weight=2.0),
        "kl": Term(KLDivergence(), weight=0.1),
        "raw_perceptual": Term(RawPerceptualLoss(**shared), weight=0.5, **schedule),
        "calibrated_perceptual": Term(CalibratedPerceptualLoss(**shared), weight=0.025, **schedule),
    }


class Constant(nn.Module):
    """A term of one value."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        return target.new_tensor(self.value)


class NeverCalled(nn.Module):
    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the term was computed")


class Preparing(Constant):
    """Its value is how many batches it was shown."""

    def prepare(self, batches: Iterable[Mapping[str, Any]]) -> None:
        self.value = float(len(list(batches)))


def test_total_is_the_sum_of_weight_times_value(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    parts = terms_of(short_vgg)
    loss, output = WeightedLoss(parts), output_of(scans)
    total = loss(output, scans)
    expected = {
        "pixel_l1": (2.0, (output.reconstruction - scans).abs().mean()),
        "kl": (0.1, kl_divergence(output.mu, output.log_variance)),
        "raw_perceptual": (0.5, RawPerceptualLoss(short_vgg)(output, scans)),
        "calibrated_perceptual": (0.025, CalibratedPerceptualLoss(features=short_vgg)(output, scans)),
    }
    for name, (weight, value) in expected.items():
        assert float(loss.terms[f"weight_{name}"]) == pytest.approx(weight)
        assert float(loss.terms[name]) == pytest.approx(float(value))
    assert set(loss.terms) == {"total", *expected, *(f"weight_{name}" for name in expected)}
    assert float(total) == pytest.approx(float(sum(weight * value for weight, value in expected.values())))
    assert float(loss.terms["total"]) == pytest.approx(float(total))
    assert total.requires_grad
    assert not any(term.requires_grad for term in loss.terms.values())


def test_the_terms_of_a_pseudo_dxa_add_up_too() -> None:
    network, latent = pseudo_dxa(), LatentMatchingLoss(vae())
    latent.set_variance([people()])
    output = network(ellipsoids(5))
    parts: Terms = {
        "pixel_l1": Term(PixelL1()),
        "kl": Term(KLDivergence(), 0.1),
        "latent": Term(latent, 0.5),
        "orthogonality": Term(OrthogonalityPenalty(network), 0.01),
    }
    loss = WeightedLoss(parts)
    total = loss(output, people())
    added = {"latent": (0.5, latent(output, people())), "orthogonality": (0.01, network.orthogonality_penalty())}
    for name, (weight, value) in added.items():
        assert value > 0
        torch.testing.assert_close(loss.terms[name], value.detach())
        assert float(loss.terms[f"weight_{name}"]) == pytest.approx(weight)
    pretraining = WeightedLoss(parts | dict.fromkeys(added))(output, people())
    torch.testing.assert_close(total, pretraining + sum(weight * value for weight, value in added.values()))
    torch.testing.assert_close(loss.terms["total"], total.detach())
    torch.testing.assert_close(sum(loss.terms[n] * loss.terms[f"weight_{n}"] for n in parts), total.detach())


def test_one_term_more_adds_its_weight_times_its_value(scans: torch.Tensor) -> None:
    parts = terms_of(VGGFeatures(cutoff="relu1_1")) | {"constant": Term(Constant(3.0), 0.25)}
    loss, target = WeightedLoss(parts).double(), scans.double()
    output = VAEOutput(*(part.double() for part in output_of(scans)))
    total = loss(output, target)
    for name, term in parts.items():
        assert term is not None
        without = WeightedLoss(parts | {name: None})
        difference = total - without(output, target)
        torch.testing.assert_close(difference, term.weight * term.loss(output, target), rtol=0, atol=1e-15)
        assert set(loss.terms) - set(without.terms) == {name, f"weight_{name}"}


def test_order_of_the_terms_changes_nothing_but_rounding(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    parts = terms_of(short_vgg)
    there, back = WeightedLoss(parts), WeightedLoss(dict(reversed(parts.items())))
    torch.testing.assert_close(there(output_of(scans), scans), back(output_of(scans), scans))


def test_a_single_term_of_weight_one_is_its_own_value(scans: torch.Tensor) -> None:
    output = output_of(scans)
    loss = WeightedLoss({"pixel_l1": Term(PixelL1())})
    torch.testing.assert_close(loss(output, scans), (output.reconstruction - scans).abs().mean())


def test_no_term_at_all_is_refused() -> None:
    for terms in ({}, {"pixel_l1": None}):
        with pytest.raises(InputError, match="terms: expected at least one, got none"):
            WeightedLoss(terms)


def test_what_is_no_term_is_refused() -> None:
    """As ``--loss_def#terms#late null`` on a command line, which arrives as a text."""
    with pytest.raises(
        InputError, match=r"expected a Term or null \(on a command line '\$None'\) for late, got 'null'"
    ):
        WeightedLoss({"pixel_l1": Term(PixelL1()), "late": "null"})  # type: ignore[dict-item]


def test_terms_ramp_up_after_the_warm_up(scans: torch.Tensor) -> None:
    loss = WeightedLoss(
        {
            "pixel_l1": Term(PixelL1()),
            "late": Term(Constant(1.0), weight=2.0, warm_up_epochs=3, ramp_epochs=4),
            "early": Term(Constant(1.0), weight=6.0, ramp_epochs=2),
        }
    )
    weights: dict[str, list[float]] = {"late": [], "early": [], "pixel_l1": []}
    for epoch in range(1, 10):
        loss.set_epoch(epoch)
        loss(output_of(scans), scans)
        for name, seen in weights.items():
            assert (name in loss.terms) == (f"weight_{name}" in loss.terms)
            seen.append(float(loss.terms.get(f"weight_{name}", 0.0)))
    assert weights["late"] == pytest.approx([0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    assert weights["early"] == pytest.approx([3.0] + [6.0] * 8)
    assert weights["pixel_l1"] == pytest.approx([1.0] * 9)


def test_a_term_is_computed_once_its_weight_is_above_zero(scans: torch.Tensor) -> None:
    pixels = Term(PixelL1())
    loss = WeightedLoss({"pixel_l1": pixels, "late": Term(NeverCalled(), warm_up_epochs=2)})
    assert loss.terms == {}
    for epoch in (1, 2):
        loss.set_epoch(epoch)
        loss(output_of(scans), scans)
        assert set(loss.terms) == {"pixel_l1", "weight_pixel_l1", "total"}
    loss.set_epoch(3)
    with pytest.raises(AssertionError, match="computed"):
        loss(output_of(scans), scans)

    loss = WeightedLoss({"pixel_l1": pixels, "never": Term(NeverCalled(), weight=0.0)})
    loss.set_epoch(1000)
    loss(output_of(scans), scans)


def test_an_epoch_without_any_term_is_refused(scans: torch.Tensor) -> None:
    loss = WeightedLoss({"pixel_l1": Term(PixelL1(), warm_up_epochs=1)})
    with pytest.raises(InputError, match="terms: expected one that is on in epoch 1, got none"):
        loss(output_of(scans), scans)


def test_raw_views_are_drawn_alike_whatever_terms_stand_beside(scans: torch.Tensor) -> None:
    """So that runs of equal seed differ in the calibrated term alone, even while that warms up."""
    features = VGGFeatures(layers=["input"], normalise_layers=False)
    raw = {"features": features, "layer_weights": {"input": 1.0}, "views_per_step": 1, "seed": 2}
    calibrated = {"features": VGGFeatures(layers=["relu1_1"]), "views_per_step": 1, "seed": 2}
    values: dict[str, list[float]] = {}
    for name, beside in {
        "alone": None,
        "masked": Term(CalibratedPerceptualLoss(**calibrated)),
        "as_published": Term(CalibratedPerceptualLoss("as_published", **calibrated)),
        "later": Term(CalibratedPerceptualLoss(**calibrated), warm_up_epochs=10),
    }.items():
        loss = WeightedLoss({"calibrated_perceptual": beside, "raw_perceptual": Term(RawPerceptualLoss(**raw))})
        values[name] = []
        for epoch in range(1, 21):
            loss.set_epoch(epoch)
            loss(output_of(scans), scans)
            values[name].append(float(loss.terms["raw_perceptual"]))
    assert values["alone"] == values["masked"] == values["as_published"] == values["later"]
    assert len(set(values["alone"])) == 2


def balanced_norms(loss: WeightedLoss) -> dict[str, float]:
    return dict(zip(loss.schedule, loss.gradient_norms.tolist(), strict=True))


def test_balanced_terms_pull_as_hard_as_their_weights_say(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss, output = WeightedLoss(terms_of(short_vgg, balanced=True)), output_of(scans)
    loss(output, scans)

    def norm(value: torch.Tensor) -> float:
        (gradient,) = torch.autograd.grad(value, output.reconstruction)
        return float(gradient.norm())

    pixel = norm((output.reconstruction - scans).abs().mean())
    for name, weight in (("raw_perceptual", 0.5), ("calibrated_perceptual", 0.025)):
        pull = float(loss.terms[f"weight_{name}"]) * norm(loss.losses[name](output, scans))
        assert pull == pytest.approx(weight * pixel, rel=1e-4)
    # terms that are not balanced keep their weights; of those, only the yardstick is measured
    assert float(loss.terms["weight_pixel_l1"]) == pytest.approx(2.0)
    assert float(loss.terms["weight_kl"]) == pytest.approx(0.1)
    assert balanced_norms(loss)["pixel_l1"] == pytest.approx(pixel, rel=1e-4)
    assert balanced_norms(loss)["kl"] == 0


def test_another_term_can_be_the_yardstick(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    raw = Term(RawPerceptualLoss(short_vgg))
    loss = WeightedLoss({"pixel_l1": Term(PixelL1(), 3.0, balanced=True), "raw": raw}, yardstick="raw")
    loss(output_of(scans), scans)
    norms = balanced_norms(loss)
    assert float(loss.terms["weight_pixel_l1"]) == pytest.approx(3.0 * norms["raw"] / norms["pixel_l1"])
    assert float(loss.terms["weight_raw"]) == 1.0


def test_balance_follows_the_average_of_measurements(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = WeightedLoss(terms_of(short_vgg, balanced=True), balance_every=2)
    measured = []
    for sd in (0.02, 0.05, 0.05):
        loss(output_of(scans, sd), scans)
        measured.append(loss.gradient_norms.clone())
    torch.testing.assert_close(measured[0], measured[1])  # not measured in the second step
    alone = WeightedLoss(terms_of(short_vgg, balanced=True))
    alone(output_of(scans, 0.05), scans)
    torch.testing.assert_close(measured[2], 0.9 * measured[0] + 0.1 * alone.gradient_norms)


def test_nothing_is_measured_before_a_balanced_term_is_on(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = WeightedLoss(terms_of(short_vgg, balanced=True, warm_up_epochs=1), balance_every=3)
    loss(output_of(scans), scans)
    assert loss.gradient_norms.abs().sum() == 0
    loss.set_epoch(2)  # its first step is measured
    loss(output_of(scans), scans)
    assert all(norm > 0 for name, norm in balanced_norms(loss).items() if name != "kl")


def test_balancing_needs_no_gradient_in_evaluation(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = WeightedLoss(terms_of(short_vgg, balanced=True))
    with torch.no_grad():
        assert torch.isfinite(loss(output_of(scans), scans))
    assert loss.gradient_norms.abs().sum() == 0
    loss.eval()(output_of(scans), scans)
    assert loss.gradient_norms.abs().sum() == 0


def test_a_balanced_term_needs_its_yardstick(scans: torch.Tensor) -> None:
    balanced = Term(PixelL1(), balanced=True)
    with pytest.raises(InputError, match="yardstick: expected one of image, got 'pixel_l1'"):
        WeightedLoss({"image": balanced})
    with pytest.raises(InputError, match="yardstick: expected one of image, got 'pixel_l1'"):
        WeightedLoss({"image": balanced, "pixel_l1": None})
    WeightedLoss({"image": Term(PixelL1())})  # nothing is balanced: none is needed
    loss = WeightedLoss({"image": balanced, "pixel_l1": Term(PixelL1(), warm_up_epochs=1)})
    with pytest.raises(InputError, match="yardstick: expected 'pixel_l1' to be on in epoch 1"):
        loss(output_of(scans), scans)
    loss.set_epoch(2)
    loss(output_of(scans), scans)


@pytest.mark.parametrize("unseeing", [KLDivergence(), Constant(1.0)])
def test_what_does_not_look_at_the_reconstruction_cannot_be_balanced(unseeing: nn.Module, scans: torch.Tensor) -> None:
    loss, output = WeightedLoss({"pixel_l1": Term(PixelL1()), "code": Term(unseeing, balanced=True)}), output_of(scans)
    with pytest.raises(InputError, match="code: expected a term of the reconstruction to balance, got one without"):
        loss(VAEOutput(output.reconstruction, output.mu.requires_grad_(), output.log_variance), scans)


def test_a_resumed_loss_goes_on_as_an_uninterrupted_one(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    first, resumed = (
        WeightedLoss(terms_of(short_vgg, views_per_step=1, seed=seed, balanced=True), balance_every=2)
        for seed in (0, 9)
    )
    for sd in (0.02, 0.04, 0.06):
        first(output_of(scans, sd), scans)
    resumed.load_state_dict(first.state_dict())
    values = []
    for sd in (0.1, 0.03, 0.05, 0.02, 0.07, 0.01):
        values.append(float(first(output_of(scans, sd), scans)))
        assert float(resumed(output_of(scans, sd), scans)) == values[-1]
        for name, term in first.terms.items():
            assert torch.equal(resumed.terms[name], term)


def test_state_is_what_terms_learnt_and_no_network() -> None:
    network, latent = pseudo_dxa(), LatentMatchingLoss(vae())
    raw = RawPerceptualLoss(VGGFeatures(cutoff="relu1_1"))
    loss = WeightedLoss(
        {"raw": Term(raw), "latent": Term(latent), "orthogonality": Term(OrthogonalityPenalty(network)), "none": None}
    )
    of_terms = {"losses.raw._extra_state", "losses.latent.code_variance"}
    assert set(loss.state_dict()) == of_terms | {"gradient_norms", "steps_to_measurement"}
    assert list(loss.parameters()) == []


def test_evaluation_reaches_the_terms(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = WeightedLoss(terms_of(short_vgg, views_per_step=1)).eval()
    whole = WeightedLoss(terms_of(short_vgg))
    torch.testing.assert_close(loss(output_of(scans), scans), whole(output_of(scans), scans))


def test_preparing_shows_the_batches_to_each_term_that_wants_them(scans: torch.Tensor) -> None:
    loss = WeightedLoss(
        {"a": Term(Preparing(0.0)), "pixel_l1": Term(PixelL1()), "b": Term(Preparing(0.0)), "none": None}
    )
    loss.prepare([{"label": scans}] * 3)
    loss(output_of(scans), scans)
    assert (float(loss.terms["a"]), float(loss.terms["b"])) == (3.0, 3.0)


def test_the_record_names_class_and_weight_of_each_term(short_vgg: VGGFeatures) -> None:
    parts = terms_of(short_vgg, warm_up_epochs=5, ramp_epochs=3, balanced=True)
    record = WeightedLoss(parts | {"none": None}).as_dict()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == set(parts)
    plain = {"warm_up_epochs": 0, "ramp_epochs": 1, "balanced": False}
    assert record["pixel_l1"] == {"loss": "dxa_monai.losses.elementary.PixelL1", "weight": 2.0} | plain
    scheduled = {"warm_up_epochs": 5, "ramp_epochs": 3, "balanced": True}
    calibrated = "dxa_monai.losses.perceptual.CalibratedPerceptualLoss"
    assert record["calibrated_perceptual"] == {"loss": calibrated, "weight": 0.025, "r": "masked"} | scheduled


def test_plain_tuples_and_meta_tensors_are_accepted(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss, output = WeightedLoss(terms_of(short_vgg)), output_of(scans)
    expected = loss(output, scans)
    value = loss(tuple(MetaTensor(part) for part in output), MetaTensor(scans))
    torch.testing.assert_close(value, expected)
    assert type(value) is torch.Tensor
    assert all(type(term) is torch.Tensor for term in loss.terms.values())


def test_a_target_of_another_shape_is_refused(scans: torch.Tensor) -> None:
    loss = WeightedLoss({"pixel_l1": Term(PixelL1())})
    with pytest.raises(InputError, match=r"target: expected shape \(2, 6, 40, 32\), got \(6, 40, 32\)"):
        loss(output_of(scans), scans[0])


@pytest.mark.parametrize(
    ("argument", "minimum", "value"),
    [("weight", 0, -1), ("weight", 0, float("nan")), ("warm_up_epochs", 0, -1), ("ramp_epochs", 1, 0)],
)
def test_numbers_out_of_range_are_refused(argument: str, minimum: int, value: float) -> None:
    with pytest.raises(InputError, match=f"{argument}: expected a number from {minimum}, got {value}"):
        Term(PixelL1(), **{argument: value})  # type: ignore[arg-type]


def test_measuring_less_than_never_is_refused() -> None:
    with pytest.raises(InputError, match="balance_every: expected a number from 1, got 0"):
        WeightedLoss({"pixel_l1": Term(PixelL1())}, balance_every=0)


@pytest.mark.parametrize("with_dxa", [False, True])
def test_a_small_network_learns_two_scans(with_dxa: bool, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
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
    parts: Terms = {
        "pixel_l1": Term(PixelL1()),
        "kl": Term(KLDivergence(), 1e-5),
        "raw": Term(RawPerceptualLoss(short_vgg, views_per_step=1), warm_up_epochs=1),
        "calibrated": Term(CalibratedPerceptualLoss(features=short_vgg, views_per_step=1), 0.05, warm_up_epochs=1),
    }
    loss = WeightedLoss(parts if with_dxa else parts | {"calibrated": None})
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for step in range(50):
        loss.set_epoch(1 + step // 25)
        optimizer.zero_grad()
        loss(network(scans), scans).backward()
        optimizer.step()
    with torch.no_grad():
        error = (network.eval().reconstruct(scans) - scans).square().mean()
    assert error < 0.5 * (mean - scans).square().mean()
