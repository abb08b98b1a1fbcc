from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from dxa_monai.errors import InputError
from dxa_monai.losses.perceptual import (
    RAW_VIEWS,
    REFERENCE_LAYER_WEIGHTS,
    CalibratedPerceptualLoss,
    PerceptualDistance,
    RawPerceptualLoss,
    noise_floor,
)
from dxa_monai.losses.vgg import VGGFeatures
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.calibration import STACKS, above_air, air_level, body_mask, calibrated_stacks, stack_indices
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.soft_tissue_window import soft_tissue_window
from tests.losses.conftest import body

MakeLoss = Callable[..., PerceptualDistance]
LOSSES: dict[str, MakeLoss] = {
    "raw": RawPerceptualLoss,
    "calibrated": CalibratedPerceptualLoss,
    "calibrated_as_published": partial(CalibratedPerceptualLoss, "as_published"),
    "r_in_window": partial(CalibratedPerceptualLoss, "window", kinds=["r"]),
}
AIR_R = STACKS.index("air_r")

each_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)


def output_of(reconstruction: torch.Tensor) -> VAEOutput:
    """What a network gives; perceptual losses look at the reconstruction alone."""
    latent = torch.zeros(len(reconstruction), 2, 1, 1)
    return VAEOutput(reconstruction, latent, latent)


def noisy(scans: torch.Tensor, sd: float = 0.01, seed: int = 0) -> torch.Tensor:
    return scans + sd * torch.randn(scans.shape, generator=torch.Generator().manual_seed(seed), dtype=scans.dtype)


def naive_loss(loss: PerceptualDistance, prediction: torch.Tensor, target: torch.Tensor) -> float:
    """One scan, view and layer at a time, straight from the formulas."""
    total = 0.0
    weights = list(REFERENCE_LAYER_WEIGHTS[: len(loss.features.layers)])
    if isinstance(loss, CalibratedPerceptualLoss):
        weights[0] = 0.0
    for p, t in zip(prediction.split(1), target.split(1), strict=True):
        pairs = [(p[:, :3], t[:, :3]), (p[:, 3:], t[:, 3:])]
        if isinstance(loss, CalibratedPerceptualLoss):
            pairs = [naive_stack(loss, name, p, t) for name in loss.views]
        for a, b in pairs:
            distance = 0.0
            for w, s, f, g in zip(weights, loss.features.layer_scales, loss.features(a), loss.features(b), strict=True):
                distance += w * float((f - g).abs().mean() / s)
            total += distance / sum(weights) / len(pairs)
    return total / len(prediction)


def naive_stack(
    loss: CalibratedPerceptualLoss, name: str, p: torch.Tensor, t: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A calibrated stack of one scan's prediction and of its target."""
    p_stacks, t_stacks = calibrated_stacks(p), calibrated_stacks(t)
    if not name.endswith("_r") or loss.r == "as_published":
        return p_stacks[:, STACKS.index(name)], t_stacks[:, STACKS.index(name)]
    inside = body_mask(t, loss.mask_threshold_nepers)
    p_stacks, t_stacks = (calibrated_stacks(above_air(scan, air_level(t))) for scan in (p, t))
    floor = 0.5 * loss.mask_threshold_nepers / 12.0
    high, low = (STACKS.index(name.replace("_r", kind)) for kind in ("_high", "_low"))
    zero, one, limits = 1.0, 3.0, (-0.5, 1.5)
    if loss.r == "window":
        place = stack_indices("r").index(STACKS.index(name))
        thickness = above_air(t, air_level(t))[:, :1] * 12.0
        zero, one = (each[:, place] for each in soft_tissue_window(None).of_images(thickness))
        limits = (-1.0, 2.0)
    a, b = (
        ((s[:, low] / s[:, high].clamp(min=floor) - zero) / (one - zero)).clamp(*limits).where(inside, 0.0)
        for s in (p_stacks, t_stacks)
    )
    return a, b


@each_loss
@pytest.mark.parametrize("zero", [0.0, 0.12])
def test_one_batched_pass_equals_the_naive_loops(
    make: MakeLoss, zero: float, scans: torch.Tensor, full_vgg: VGGFeatures
) -> None:
    scans = scans + zero
    loss, prediction = make(features=full_vgg), noisy(scans)
    with torch.no_grad():
        value = loss(output_of(prediction), scans)
        assert float(value) == pytest.approx(naive_loss(loss, prediction, scans), rel=1e-4)


@each_loss
def test_identical_scans_have_no_distance(make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    assert float(make(features=short_vgg)(output_of(scans.clone()), scans)) == 0.0


def blurred(scans: torch.Tensor, size: int) -> torch.Tensor:
    return F.avg_pool2d(scans, 2 * size + 1, stride=1, padding=size, count_include_pad=False)


DEGRADATIONS = {
    "noise": [lambda x, sd=sd: noisy(x, sd) for sd in (0.003, 0.01, 0.03)],
    "blur": [lambda x, size=size: blurred(x, size) for size in (1, 2, 4)],
    "shift": [lambda x, pixels=pixels: x.roll(pixels, dims=-1) for pixels in (1, 2, 4)],
    "gain": [lambda x, gain=gain: x * gain for gain in (1.02, 1.1, 1.3)],
}


@pytest.mark.parametrize("make", [RawPerceptualLoss, CalibratedPerceptualLoss])
@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_worse_scans_are_further_away(make: MakeLoss, kind: str, scans: torch.Tensor, full_vgg: VGGFeatures) -> None:
    loss = make(features=full_vgg)
    with torch.no_grad():
        distances = [float(loss(output_of(degrade(scans)), scans)) for degrade in DEGRADATIONS[kind]]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_background_of_r_counts_only_as_published(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    outside = ~body_mask(scans, 0.5)
    prediction = torch.where(outside, noisy(scans), scans)
    r_views = [STACKS.index(name) for name in STACKS if name.endswith("_r")]
    with torch.no_grad():
        masked, published = (
            CalibratedPerceptualLoss(r, features=short_vgg).view_distances(prediction, scans, r_views)
            for r in ("masked", "as_published")
        )
    assert masked.abs().max() == 0.0
    assert published.min() > 0.01


def test_a_zero_of_the_scanner_does_not_change_the_masked_r(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """As published it pulls all R towards one value, and their differences towards none."""
    zero = torch.tensor([0.12, 0.125] * 3)[:, None, None]
    r_views = [STACKS.index(name) for name in STACKS if name.endswith("_r")]
    inside = body_mask(scans, 1.0)
    prediction = torch.where(inside, noisy(scans), scans)
    with torch.no_grad():
        distances = {
            r: [
                CalibratedPerceptualLoss(r, features=short_vgg).view_distances(
                    prediction + shift, scans + shift, r_views
                )
                for shift in (torch.zeros(1), zero)
            ]
            for r in ("masked", "as_published")
        }
    torch.testing.assert_close(*distances["masked"], rtol=1e-3, atol=1e-6)
    without, diluted = distances["as_published"]
    assert (diluted < 0.8 * without).all()


def test_the_mask_is_the_targets(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    """A prediction cannot get rid of the R term by predicting no body, or gain one outside the target."""
    loss = CalibratedPerceptualLoss(features=short_vgg)
    empty = torch.zeros_like(scans)
    with torch.no_grad():
        assert loss.view_distances(empty, scans, [AIR_R]).min() > 0.01
        assert loss.view_distances(scans, empty, [AIR_R]).max() == 0.0


@each_loss
def test_gradient_reaches_the_prediction_alone(make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    prediction, target = noisy(scans).requires_grad_(), scans.clone().requires_grad_()
    make(features=short_vgg)(output_of(prediction), target).backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.abs().amax(dim=(0, 2, 3)).min() > 0
    assert target.grad is None


@pytest.mark.parametrize("make", [RawPerceptualLoss, CalibratedPerceptualLoss])
def test_a_hopeless_prediction_has_a_bounded_gradient(
    make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    """Predicting near-zero attenuation where the body is makes R a quotient of nothings; the masked form survives."""
    loss = make(features=short_vgg)
    norms = []
    for prediction in (noisy(scans), noisy(torch.zeros_like(scans), 1e-4)):
        prediction.requires_grad_()
        loss(output_of(prediction), scans).backward()
        assert prediction.grad is not None
        norms.append(float(prediction.grad.norm()))
    assert norms[1] < 20 * norms[0]


@each_loss
@pytest.mark.parametrize("zero", [0.02, 0.12])
def test_gradient_agrees_with_finite_differences(make: MakeLoss, zero: float) -> None:
    scans = body(16, 12)[1:].double() + zero
    loss = make(features=VGGFeatures(cutoff="relu2_1")).double()
    prediction = noisy(scans, 0.01).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(output_of(prediction), scans), prediction)
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        # The loss is piecewise smooth: along a short step few kinks are crossed.
        step = 1e-7 * torch.randn(prediction.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            after, before = (loss(output_of(prediction + sign * step), scans) for sign in (1, -1))
        assert float(after - before) / 2 == pytest.approx(float((gradient * step).sum()), rel=1e-3)


@each_loss
def test_loss_does_not_depend_on_the_size_of_the_batch(
    make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    loss, prediction = make(features=short_vgg), noisy(scans)
    twice = loss(output_of(prediction.repeat(2, 1, 1, 1)), scans.repeat(2, 1, 1, 1))
    torch.testing.assert_close(twice, loss(output_of(prediction), scans))


@pytest.mark.parametrize("make", [RawPerceptualLoss, CalibratedPerceptualLoss])
def test_loss_hardly_depends_on_the_size_of_the_image(
    make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    """Four copies side by side: only the zero padding of the convolutions at the rim differs."""
    loss, prediction = make(features=short_vgg), noisy(scans)
    tiled = loss(output_of(prediction.repeat(1, 1, 2, 2)), scans.repeat(1, 1, 2, 2))
    assert float(tiled) == pytest.approx(float(loss(output_of(prediction), scans)), rel=0.05)


@pytest.mark.parametrize(("make", "count"), [(RawPerceptualLoss, 1), (CalibratedPerceptualLoss, 2)])
def test_a_subset_of_views_estimates_the_whole_without_bias(
    make: MakeLoss, count: int, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    whole, prediction = make(features=short_vgg), noisy(scans)
    with torch.no_grad():
        expected = whole(output_of(prediction), scans)
        distances = whole.view_distances(prediction, scans).mean(0)
    subsets = [float(distances[list(views)].mean()) for views in itertools.combinations(range(len(distances)), count)]
    assert sum(subsets) / len(subsets) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("make", "count"), [(RawPerceptualLoss, 1), (CalibratedPerceptualLoss, 3)])
def test_each_view_is_drawn_equally_often_and_never_twice_in_a_step(
    make: MakeLoss, count: int, short_vgg: VGGFeatures
) -> None:
    loss = make(features=short_vgg, views_per_step=count)
    draws = [loss._choose_views() for _ in range(900)]
    assert all(len(set(views)) == count for views in draws)
    counts = torch.bincount(torch.tensor(draws).flatten(), minlength=len(loss.views))
    assert (counts - 900 * count / len(loss.views)).abs().max() < 75  # five standard deviations


@pytest.mark.parametrize(("make", "count"), [(RawPerceptualLoss, 1), (CalibratedPerceptualLoss, 2)])
def test_the_subset_of_a_step_is_the_mean_over_its_views(
    make: MakeLoss, count: int, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    loss, twin = (make(features=short_vgg, views_per_step=count, seed=4) for _ in range(2))
    views, prediction = twin._choose_views(), noisy(scans)
    with torch.no_grad():
        value = loss(output_of(prediction), scans)
        distances = twin.view_distances(prediction, scans).mean(0)
    torch.testing.assert_close(value, distances[views].mean())


def test_seeds_and_kinds_of_loss_have_draws_of_their_own(short_vgg: VGGFeatures) -> None:
    makes = [partial(make, seed=seed) for make in (RawPerceptualLoss, CalibratedPerceptualLoss) for seed in range(3)]
    states = [make(features=short_vgg).get_extra_state() for make in makes]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(states, 2))


@pytest.mark.parametrize(("make", "count"), [(RawPerceptualLoss, 1), (CalibratedPerceptualLoss, 2)])
def test_a_resumed_loss_draws_what_an_uninterrupted_one_does(
    make: MakeLoss, count: int, short_vgg: VGGFeatures
) -> None:
    first, resumed = (make(features=short_vgg, views_per_step=count, seed=seed) for seed in (0, 9))
    for _ in range(5):
        first._choose_views()
    resumed.load_state_dict(first.state_dict())
    assert [first._choose_views() for _ in range(9)] == [resumed._choose_views() for _ in range(9)]


@each_loss
def test_evaluation_compares_all_views_and_draws_none(
    make: MakeLoss, scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    loss = make(features=short_vgg, views_per_step=1)
    state = loss.get_extra_state()
    with torch.no_grad():
        value = loss.eval()(output_of(noisy(scans)), scans)
        torch.testing.assert_close(value, make(features=short_vgg)(output_of(noisy(scans)), scans))
    assert torch.equal(loss.get_extra_state(), state)


def test_layer_weights_by_name(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    loss = RawPerceptualLoss(features=short_vgg, layer_weights={"input": 3.0})
    torch.testing.assert_close(loss(output_of(noisy(scans)), scans), (noisy(scans) - scans).abs().mean())


def test_the_image_itself_counts_in_raw_views_only(scans: torch.Tensor, short_vgg: VGGFeatures) -> None:
    with_image, without = {"input": 1.0, "relu1_1": 1.0}, {"relu1_1": 1.0}
    for make, alike in ((RawPerceptualLoss, False), (CalibratedPerceptualLoss, True)):
        a, b = (
            make(features=short_vgg, layer_weights=weights)(output_of(noisy(scans)), scans)
            for weights in (with_image, without)
        )
        assert torch.equal(a, b) == alike


def test_noise_floor_names_every_view_and_shows_what_the_mask_is_for(
    scans: torch.Tensor, short_vgg: VGGFeatures
) -> None:
    measured = noisy(scans, 2e-4).clamp(0, 1)
    masked, published = (
        noise_floor(CalibratedPerceptualLoss(r, features=short_vgg), scans, measured)
        for r in ("masked", "as_published")
    )
    raw = noise_floor(RawPerceptualLoss(features=short_vgg, views_per_step=1), scans, measured)
    assert tuple(raw) == RAW_VIEWS
    assert tuple(masked) == tuple(published) == STACKS
    assert published["air_r"] > 20 * masked["air_r"]
    assert published["air_high"] == pytest.approx(masked["air_high"])


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (CalibratedPerceptualLoss, {"r": "with_dxa"}, "r: expected one of masked, as_published, window, got"),
        (CalibratedPerceptualLoss, {"window_margin": -0.5}, "so that the window holds soft tissue, got -0.5"),
        (
            CalibratedPerceptualLoss,
            {"scanner_model": ScannerModel()},
            "expected none but for r 'window', got it for 'ma",
        ),
        (CalibratedPerceptualLoss, {"kinds": ["q"]}, "kind: expected one of r, high, low, got 'q'"),
        (CalibratedPerceptualLoss, {"kinds": []}, "kinds: expected at least one of r, high, low, got none"),
        (CalibratedPerceptualLoss, {"kinds": ["r"], "views_per_step": 4}, "views_per_step: expected 1 to 3, got 4"),
        (RawPerceptualLoss, {"views_per_step": 3}, "views_per_step: expected 1 to 2, got 3"),
        (CalibratedPerceptualLoss, {"views_per_step": 0}, "views_per_step: expected 1 to 9, got 0"),
        (RawPerceptualLoss, {"layer_weights": {"relu9_1": 1.0}}, "relu9_1"),
        (RawPerceptualLoss, {"layer_weights": {"relu1_1": -1.0}}, "'relu1_1': -1"),
        (RawPerceptualLoss, {"layer_weights": {"relu5_1": 1.0}}, "positive"),
        (CalibratedPerceptualLoss, {"layer_weights": {"input": 1.0}}, "positive"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(
    make: MakeLoss, arguments: dict[str, object], named: str, short_vgg: VGGFeatures
) -> None:
    with pytest.raises(InputError, match=named):
        make(features=short_vgg, **arguments)
