from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.encoder import INITIAL_LOG_VARIANCE
from dxa_monai.networks.grouping import ball_neighbours, farthest_points
from dxa_monai.networks.pointnet2 import PointNet2Encoder, SetAbstraction
from tests.networks.bodies import TINY_POINTNET2, ellipsoids, moved, scaled, shuffled

pytest.importorskip("pytorch3d")


def tiny(seed: int = 0, **changes: Any) -> PointNet2Encoder:
    torch.manual_seed(seed)
    return PointNet2Encoder(**({"latent_channels": 3, "latent_shape": (2, 2)} | TINY_POINTNET2 | changes))


@pytest.mark.parametrize("in_features", [3, 6])
def test_heads_have_the_latent_shape_and_little_noise(in_features: int) -> None:
    mu, log_variance = tiny(in_features=in_features)(ellipsoids()[:, :in_features])
    assert mu.shape == log_variance.shape == (3, 3, 2, 2)
    assert (log_variance - INITIAL_LOG_VARIANCE).abs().max() < 0.5


def test_log_variance_cannot_overflow() -> None:
    encoder = tiny()
    torch.nn.init.constant_(encoder.head.log_variance.bias, 1e6)
    assert torch.isfinite(encoder(ellipsoids())[1].exp()).all()


def test_the_defaults_are_a_network() -> None:
    mu, _ = PointNet2Encoder(latent_channels=2)(ellipsoids(1, 300))
    assert mu.shape == (1, 2, 5, 4)


def test_set_abstraction_is_the_formula() -> None:
    """Against one loop over centres, scales and neighbours."""
    torch.manual_seed(0)
    level = SetAbstraction(3, 10, [0.3, 0.7], [4, 9], [[5, 6], [7]], norm="layer")
    points = ellipsoids().transpose(1, 2)
    positions, features = points[..., :3], points[..., 3:]
    centres, made = level(positions, features)
    indices = farthest_points(positions, 10)
    for n in range(3):
        for m, centre in enumerate(indices[n]):
            assert torch.equal(centres[n, m], positions[n, centre])
            expected = []
            for mlp, radius_m, count in ((level.scales[0], 0.3, 4), (level.scales[1], 0.7, 9)):
                ball = ball_neighbours(positions[n : n + 1], centre[None, None], radius_m, count)[0, 0]
                outputs = [
                    mlp(torch.cat([(positions[n, j] - positions[n, centre]) / radius_m, features[n, j]])) for j in ball
                ]
                expected.append(torch.stack(outputs).max(dim=0).values)
            torch.testing.assert_close(made[n, m], torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_points_changes_nothing_at_all(norm: str, training: bool) -> None:
    points = ellipsoids()
    first = tiny(norm=norm).train(training)(points)
    second = tiny(norm=norm).train(training)(shuffled(points))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_ragged_batch_is_its_bodies_one_by_one() -> None:
    encoder, points = tiny(), ellipsoids(points=100)
    lengths = torch.tensor([100, 37, 5])  # 5: fewer than the centres of either level
    points[1, :, 37:] = 1e6  # what lies beyond the length must not be looked at
    points[2, :, 5:] = float("nan")
    mu, _ = encoder(points, lengths)
    for n, length in enumerate(lengths):
        torch.testing.assert_close(mu[n : n + 1], encoder(points[n : n + 1, :, :length])[0], rtol=1e-5, atol=1e-6)


def test_padding_gets_no_gradient() -> None:
    points = ellipsoids().requires_grad_()
    tiny()(points, torch.tensor([100, 37, 5]))[0].square().sum().backward()
    assert points.grad is not None
    assert points.grad[0].abs().sum() > 0
    assert (points.grad[1, :, 37:] == 0).all()
    assert (points.grad[2, :, 5:] == 0).all()


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_bodies_of_a_batch_do_not_mix(norm: str) -> None:
    encoder, points = tiny(norm=norm).train(), ellipsoids()
    torch.testing.assert_close(encoder(points)[0][:1], encoder(points[:1])[0], rtol=1e-5, atol=1e-6)


def test_where_a_body_stands_does_not_matter() -> None:
    # On a grid of 1/64 m: shifts are then exact, and so is the answer.
    points = ellipsoids()
    points[:, :3] = (points[:, :3] * 64).round() / 64
    encoder = tiny()
    assert torch.equal(encoder(points)[0], encoder(moved(points, (2.0, -1.5, 0.75)))[0])


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_size_survives(norm: str) -> None:
    """5 % taller, wider and deeper is another code, by much more than another sample of the points is."""
    encoder = tiny(norm=norm).eval()
    body, larger = ellipsoids(1, 2000), scaled(ellipsoids(1, 2000), 1.05)
    samples = torch.cat([ellipsoids(1, 2000, seed) for seed in range(1, 6)])
    with torch.no_grad():
        code = encoder(body)[0]
        noise = (encoder(samples)[0] - code).square().mean().sqrt()
        assert (encoder(larger)[0] - code).square().mean().sqrt() > 2 * noise


def test_gradients_are_right() -> None:
    """Finite differences in float64, of the points and of every weight."""
    encoder = tiny().double()
    points = ellipsoids(2, 30).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: encoder(p)[0], (points,), eps=1e-7, atol=1e-5)
    names, weights = zip(*encoder.named_parameters(), strict=True)

    def of_weights(*values: torch.Tensor) -> torch.Tensor:
        mu, log_variance = torch.func.functional_call(
            encoder, dict(zip(names, values, strict=True)), (points.detach(),)
        )
        return torch.cat([mu.flatten(), log_variance.flatten()])

    assert torch.autograd.gradcheck(of_weights, weights, eps=1e-7, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("norm", ["layer", "none"])
def test_one_body_trains(norm: str) -> None:
    encoder = tiny(norm=norm).train()
    encoder(ellipsoids(1))[0].square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_batch_normalisation_needs_two_bodies_to_train() -> None:
    encoder = tiny(norm="batch").train()
    encoder(ellipsoids(2))
    with pytest.raises(InputError, match="norm: expected 'layer' for batches of one body, got 'batch'"):
        encoder(ellipsoids(1))
    encoder.eval()(ellipsoids(1))


def test_architecture_builds_an_equal_network_and_is_plain() -> None:
    encoder = tiny()
    architecture = json.loads(json.dumps(encoder.architecture()))
    again = PointNet2Encoder(**architecture)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(ellipsoids())[0], again(ellipsoids())[0])
    architecture["levels"][0]["centres"] = 1
    assert encoder.architecture()["levels"][0]["centres"] == 24


@pytest.mark.parametrize(
    ("level", "told"),
    [
        ({"centres": 8, "radii_m": [0.3], "neighbours": [4]}, r"levels\[0\]: expected centres, channels"),
        ({"centres": 8, "radii_m": [0.3, 0.5], "neighbours": [4], "channels": [[8]]}, r"got \[2, 1, 1\]"),
        ({"centres": 8, "radii_m": [], "neighbours": [], "channels": []}, r"got \[0, 0, 0\]"),
        ({"centres": 8, "radii_m": [-0.3], "neighbours": [4], "channels": [[8]]}, "positive numbers"),
        ({"centres": 0, "radii_m": [0.3], "neighbours": [4], "channels": [[8]]}, "positive numbers"),
    ],
)
def test_a_level_that_makes_no_sense_is_refused(level: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        PointNet2Encoder(levels=[level])


def test_points_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match=r"points: expected shape \(B, 6, P\), got \(3, 100, 6\)"):
        tiny()(ellipsoids().transpose(1, 2))
    with pytest.raises(InputError, match=r"lengths: expected 3 numbers from 1 to 100, got \[100, 0, 5\]"):
        tiny()(ellipsoids(), torch.tensor([100, 0, 5]))
    with pytest.raises(InputError, match="norm: expected one of layer, batch, none, got 'group'"):
        tiny(norm="group")
