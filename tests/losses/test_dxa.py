from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from dxa_monai.errors import InputError
from dxa_monai.losses.dxa import (
    ARMS,
    RAW_VIEWS,
    REFERENCE_LAYER_WEIGHTS,
    VIEWS,
    DXALoss,
    noise_floor,
)
from dxa_monai.losses.vgg import VGGFeatures
from dxa_monai.physics.calibration import STACKS, body_mask, calibrated_stacks
from tests.losses.conftest import body


def noisy(scans: torch.Tensor, sd: float = 0.01, seed: int = 0) -> torch.Tensor:
    return scans + sd * torch.randn(scans.shape, generator=torch.Generator().manual_seed(seed), dtype=scans.dtype)


def naive_terms(loss: DXALoss, prediction: torch.Tensor, target: torch.Tensor) -> tuple[float, float]:
    """The two terms, one scan, view and layer at a time, straight from the formulas."""
    sums = {"raw": 0.0, "calibrated": 0.0}
    for p, t in zip(prediction.split(1), target.split(1), strict=True):
        inside = body_mask(t, loss.mask_threshold_nepers)
        pairs = [("raw", p[:, :3], t[:, :3]), ("raw", p[:, 3:], t[:, 3:])]
        for index, name in enumerate(STACKS):
            a, b = calibrated_stacks(p)[:, index], calibrated_stacks(t)[:, index]
            if name.endswith("_r") and loss.arm == "dxa_masked":
                floor = 0.5 * loss.mask_threshold_nepers / 12.0
                high, low = (STACKS.index(name.replace("_r", kind)) for kind in ("_high", "_low"))
                stacks = (calibrated_stacks(scan) for scan in (p, t))
                a, b = (
                    ((s[:, low] / s[:, high].clamp(min=floor) - 1.0) / 2.0).clamp(-0.5, 1.5).where(inside, 0.0)
                    for s in stacks
                )
            pairs.append(("calibrated", a, b))
        for kind, a, b in pairs:
            weights = list(REFERENCE_LAYER_WEIGHTS[: len(loss.features.layers)])
            if kind == "calibrated":
                weights[0] = 0.0
            distance = 0.0
            for w, s, f, g in zip(weights, loss.features.layer_scales, loss.features(a), loss.features(b), strict=True):
                distance += w * float((f - g).abs().mean() / s)
            sums[kind] += distance / sum(weights)
    count = len(prediction)
    return sums["raw"] / (2 * count), sums["calibrated"] / (9 * count)


@pytest.mark.parametrize("arm", ["dxa", "dxa_masked"])
def test_one_batched_pass_equals_the_naive_loops(arm: str, scans: torch.Tensor, full_vgg: VGGFeatures) -> None:
    loss, prediction = DXALoss(arm, features=full_vgg), noisy(scans)
    with torch.no_grad():
        terms = loss.compute_terms(prediction, scans)
        raw, calibrated = naive_terms(loss, prediction, scans)
        total = loss(prediction, scans)
    assert float(terms["raw_perceptual"]) == pytest.approx(raw, rel=1e-4)
    assert float(terms["calibrated_perceptual"]) == pytest.approx(calibrated, rel=1e-4)
    assert float(total) == pytest.approx(raw + 0.05 * calibrated, rel=1e-4)


def test_no_dxa_is_the_raw_term_alone(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    alone, both = (DXALoss(arm, features=short_vgg) for arm in ("no_dxa", "dxa_masked"))
    prediction = noisy(scans)
    terms = both.compute_terms(prediction, scans)
    assert set(alone.compute_terms(prediction, scans)) == {"raw_perceptual"}
    torch.testing.assert_close(alone(prediction, scans), terms["raw_perceptual"])


@pytest.mark.parametrize("arm", ARMS)
def test_identical_scans_have_no_distance(arm: str, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    assert float(DXALoss(arm, features=short_vgg)(scans.clone(), scans)) == 0.0


def blurred(scans: torch.Tensor, size: int) -> torch.Tensor:
    return F.avg_pool2d(scans, 2 * size + 1, stride=1, padding=size, count_include_pad=False)


DEGRADATIONS = {
    "noise": [lambda x, sd=sd: noisy(x, sd) for sd in (0.003, 0.01, 0.03)],
    "blur": [lambda x, size=size: blurred(x, size) for size in (1, 2, 4)],
    "shift": [lambda x, pixels=pixels: x.roll(pixels, dims=-1) for pixels in (1, 2, 4)],
    "gain": [lambda x, gain=gain: x * gain for gain in (1.02, 1.1, 1.3)],
}


@pytest.mark.parametrize("arm", ["no_dxa", "dxa_masked"])
@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_worse_scans_are_further_away(arm: str, kind: str, scans: torch.Tensor, full_vgg: VGGFeatures) -> None:
    loss = DXALoss(arm, features=full_vgg)
    with torch.no_grad():
        distances = [float(loss(degrade(scans), scans)) for degrade in DEGRADATIONS[kind]]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_background_of_r_counts_only_as_published(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    outside = ~body_mask(scans, 0.5)
    prediction = torch.where(outside, noisy(scans), scans)
    r_views = [VIEWS.index(name) for name in STACKS if name.endswith("_r")]
    with torch.no_grad():
        masked = DXALoss("dxa_masked", features=short_vgg).view_distances(prediction, scans, r_views)
        published = DXALoss("dxa", features=short_vgg).view_distances(prediction, scans, r_views)
    assert masked.abs().max() == 0.0
    assert published.min() > 0.01


def test_the_mask_is_the_targets(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """A prediction cannot get rid of the R term by predicting no body, or gain one outside the target."""
    loss, air_r = DXALoss("dxa_masked", features=short_vgg), [VIEWS.index("air_r")]
    empty = torch.zeros_like(scans)
    with torch.no_grad():
        assert loss.view_distances(empty, scans, air_r).min() > 0.01
        assert loss.view_distances(scans, empty, air_r).max() == 0.0


@pytest.mark.parametrize("arm", ARMS)
def test_gradient_reaches_the_prediction_alone(arm: str, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = DXALoss(arm, features=short_vgg)
    prediction, target = noisy(scans).requires_grad_(), scans.clone().requires_grad_()
    loss(prediction, target).backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.abs().amax(dim=(0, 2, 3)).min() > 0
    assert target.grad is None


def test_a_hopeless_prediction_has_a_bounded_gradient(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """Predicting near-zero attenuation where the body is makes R a quotient of nothings; the masked arm survives it."""
    loss = DXALoss("dxa_masked", features=short_vgg)
    norms = []
    for prediction in (noisy(scans), noisy(torch.zeros_like(scans), 1e-4)):
        prediction.requires_grad_()
        loss(prediction, scans).backward()
        assert prediction.grad is not None
        norms.append(float(prediction.grad.norm()))
    assert norms[1] < 20 * norms[0]


@pytest.mark.parametrize("arm", ARMS)
def test_gradient_agrees_with_finite_differences(arm: str) -> None:
    scans = body(16, 12)[1:].double() + 0.02
    loss = DXALoss(arm, features=VGGFeatures(cutoff="relu2_1")).double()
    prediction = noisy(scans, 0.01).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(prediction, scans), prediction)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        # The loss is piecewise smooth: along a short step few kinks are crossed.
        step = 1e-7 * torch.randn(prediction.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            difference = (loss(prediction + step, scans) - loss(prediction - step, scans)) / 2
        assert float(difference) == pytest.approx(float((gradient * step).sum()), rel=1e-3)


def test_loss_does_not_depend_on_the_size_of_the_batch(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss, prediction = DXALoss(features=short_vgg), noisy(scans)
    twice = loss(prediction.repeat(2, 1, 1, 1), scans.repeat(2, 1, 1, 1))
    torch.testing.assert_close(twice, loss(prediction, scans))


def test_loss_hardly_depends_on_the_size_of_the_image(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """Four copies side by side: only the zero padding of the convolutions at the rim differs."""
    loss, prediction = DXALoss(features=short_vgg), noisy(scans)
    tiled = loss(prediction.repeat(1, 1, 2, 2), scans.repeat(1, 1, 2, 2))
    assert float(tiled) == pytest.approx(float(loss(prediction, scans)), rel=0.05)


def test_a_subset_of_views_estimates_the_whole_without_bias(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    whole = DXALoss(features=short_vgg)
    prediction = noisy(scans)
    with torch.no_grad():
        expected = whole.compute_terms(prediction, scans)
        distances = whole.view_distances(prediction, scans).mean(0)
        subsets = [float(distances[list(views)].mean()) for views in itertools.combinations(range(2, 11), 2)]
    assert sum(subsets) / len(subsets) == pytest.approx(float(expected["calibrated_perceptual"]), rel=1e-5)
    assert float(distances[:2].mean()) == pytest.approx(float(expected["raw_perceptual"]), rel=1e-5)


def test_each_view_is_drawn_equally_often_and_never_twice_in_a_step(short_vgg: VGGFeatures) -> None:
    loss = DXALoss(features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=3)
    draws = [loss._choose_views() for _ in range(900)]
    assert all(len(set(views)) == 4 for views in draws)
    counts = torch.bincount(torch.tensor(draws).flatten(), minlength=len(VIEWS))
    assert (counts[: len(RAW_VIEWS)] - 450).abs().max() < 75  # five standard deviations
    assert (counts[len(RAW_VIEWS) :] - 300).abs().max() < 75


def test_the_subset_of_a_step_is_the_mean_over_its_views(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = DXALoss(features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=2, seed=4)
    twin = DXALoss(features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=2, seed=4)
    views, prediction = twin._choose_views(), noisy(scans)
    with torch.no_grad():
        terms = loss.compute_terms(prediction, scans)
        distances = twin.view_distances(prediction, scans).mean(0)
    torch.testing.assert_close(terms["raw_perceptual"], distances[views[0]])
    torch.testing.assert_close(terms["calibrated_perceptual"], distances[views[1:]].mean())


def test_arms_see_the_same_raw_views(short_vgg: VGGFeatures) -> None:
    views = {
        arm: [
            loss._choose_views()[0]
            for loss in [DXALoss(arm, features=short_vgg, raw_views_per_step=1, seed=2)]
            for _ in range(20)
        ]
        for arm in ARMS
    }
    assert views["no_dxa"] == views["dxa"] == views["dxa_masked"]
    assert len(set(views["no_dxa"])) == 2


def test_a_resumed_loss_draws_what_an_uninterrupted_one_does(short_vgg: VGGFeatures) -> None:
    def make(seed: int) -> DXALoss:
        return DXALoss(features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=2, seed=seed)

    first, resumed = make(0), make(9)
    for _ in range(5):
        first._choose_views()
    resumed.load_state_dict(first.state_dict())
    assert [first._choose_views() for _ in range(5)] == [resumed._choose_views() for _ in range(5)]


def test_evaluation_compares_all_views_and_draws_none(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = DXALoss(features=short_vgg, raw_views_per_step=1, calibrated_views_per_step=1)
    state = loss.get_extra_state()
    with torch.no_grad():
        value = loss.eval()(noisy(scans), scans)
        torch.testing.assert_close(value, DXALoss(features=short_vgg)(noisy(scans), scans))
    for name, tensor in loss.get_extra_state().items():
        assert torch.equal(tensor, state[name])


def test_meta_tensors_give_a_plain_loss(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = DXALoss(features=short_vgg)
    value = loss(MetaTensor(noisy(scans)), MetaTensor(scans))
    assert type(value) is torch.Tensor
    torch.testing.assert_close(value, loss(noisy(scans), scans))


def test_layer_weights_by_name(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = DXALoss("no_dxa", features=short_vgg, layer_weights={"input": 3.0})
    torch.testing.assert_close(loss(noisy(scans), scans), (noisy(scans) - scans).abs().mean())


def test_noise_floor_names_every_view_and_shows_what_the_mask_is_for(
    scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    measured = noisy(scans, 2e-4).clamp(0, 1)
    masked, published = (
        noise_floor(DXALoss(arm, features=short_vgg), scans, measured) for arm in ("dxa_masked", "dxa")
    )
    assert tuple(masked) == VIEWS
    assert published["air_r"] > 20 * masked["air_r"]
    assert published["air_high"] == pytest.approx(masked["air_high"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"arm": "with_dxa"}, "arm"),
        ({"calibrated_weight": -1.0}, "calibrated_weight"),
        ({"raw_views_per_step": 3}, "raw_views_per_step: expected 1 to 2, got 3"),
        ({"calibrated_views_per_step": 0}, "calibrated_views_per_step"),
        ({"layer_weights": {"relu9_1": 1.0}}, "relu9_1"),
        ({"layer_weights": {"input": 1.0}}, "positive"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(
    arguments: dict[str, object], named: str, short_vgg: VGGFeatures
) -> None:
    with pytest.raises(InputError, match=named):
        DXALoss(features=short_vgg, **arguments)  # type: ignore[arg-type]
