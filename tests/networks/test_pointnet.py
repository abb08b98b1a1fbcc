from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.encoder import INITIAL_LOG_VARIANCE
from dxa_monai.networks.pointnet import PointNetEncoder, orthogonality_penalty
from tests.networks.bodies import TINY_POINTNET, ellipsoids, scaled, shuffled


def tiny(seed: int = 0, **changes: Any) -> PointNetEncoder:
    torch.manual_seed(seed)
    return PointNetEncoder(**({"latent_channels": 3, "latent_shape": (2, 2)} | TINY_POINTNET | changes))


def woken(encoder: PointNetEncoder) -> PointNetEncoder:
    """The same network as if it had learnt something: its transforms are no longer the identity."""
    for transform in (encoder.input_transform, encoder.feature_transform):
        torch.nn.init.normal_(transform.to_matrix.weight, std=0.1)
    return encoder


@pytest.mark.parametrize("in_features", [3, 6])
def test_heads_have_the_latent_shape_and_little_noise(in_features: int) -> None:
    mu, log_variance = tiny(in_features=in_features)(ellipsoids()[:, :in_features])
    assert mu.shape == log_variance.shape == (3, 3, 2, 2)
    assert (log_variance - INITIAL_LOG_VARIANCE).abs().max() < 0.5


def test_the_defaults_are_the_published_transforms() -> None:
    encoder = PointNetEncoder(latent_channels=1)
    assert [t.to_matrix.out_features for t in (encoder.input_transform, encoder.feature_transform)] == [9, 64 * 64]


def test_transforms_start_as_the_identity_and_without_penalty() -> None:
    encoder = tiny()
    placed = ellipsoids().transpose(1, 2)[..., :3]
    torch.testing.assert_close(encoder.input_transform(placed), torch.eye(3).expand(3, 3, 3), rtol=0, atol=0)
    encoder(ellipsoids())
    assert encoder.orthogonality_penalty() == 0
    woken(encoder)(ellipsoids())
    assert encoder.orthogonality_penalty() > 0


def test_penalty_is_zero_for_rotations_and_known_for_a_stretch() -> None:
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert orthogonality_penalty(rotation[None]) < 1e-20
    # I - diag(2, 1)^2 = diag(-3, 0): 9; mean with a rotation's 0
    matrices = torch.stack([torch.diag(torch.tensor([2.0, 1.0])), torch.tensor([[0.0, -1.0], [1.0, 0.0]])])
    assert float(orthogonality_penalty(matrices)) == pytest.approx(4.5)


def test_penalty_of_the_network_is_that_of_its_two_transforms_and_trains_them() -> None:
    encoder = woken(tiny())
    with pytest.raises(RuntimeError, match="forward"):
        encoder.orthogonality_penalty()
    seen: list[torch.Tensor] = []
    for transform in (encoder.input_transform, encoder.feature_transform):
        transform.register_forward_hook(lambda _, __, matrices: seen.append(matrices))
    encoder(ellipsoids())
    penalty = encoder.orthogonality_penalty()
    expected = sum(((torch.eye(len(a)) - a @ a.T) ** 2).sum() / 3 for matrices in seen for a in matrices)
    torch.testing.assert_close(penalty, expected)
    penalty.backward()
    for transform in (encoder.input_transform, encoder.feature_transform):
        assert transform.to_matrix.weight.grad is not None
        assert transform.to_matrix.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("norm", ["layer", "batch", "none"])
def test_the_order_of_points_changes_nothing_at_all(norm: str) -> None:
    encoder = woken(tiny(norm=norm))
    assert torch.equal(encoder(ellipsoids())[0], encoder(shuffled(ellipsoids()))[0])


def test_a_ragged_batch_is_its_bodies_one_by_one() -> None:
    encoder, points = woken(tiny()), ellipsoids(points=100)
    lengths = torch.tensor([100, 37, 1])
    points[1, :, 37:] = 1e6
    points[2, :, 1:] = float("nan")
    mu, _ = encoder(points, lengths)
    for n, length in enumerate(lengths):
        torch.testing.assert_close(mu[n : n + 1], encoder(points[n : n + 1, :, :length])[0], rtol=1e-5, atol=1e-6)


def test_size_survives() -> None:
    encoder = tiny().eval()
    body, samples = ellipsoids(1, 2000), torch.cat([ellipsoids(1, 2000, seed) for seed in range(1, 6)])
    with torch.no_grad():
        code = encoder(body)[0]
        noise = (encoder(samples)[0] - code).square().mean().sqrt()
        assert (encoder(scaled(body, 1.05))[0] - code).square().mean().sqrt() > 2 * noise


def test_gradients_are_right() -> None:
    encoder = woken(tiny()).double()
    points = ellipsoids(2, 20).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: encoder(p)[0], (points,), eps=1e-7, atol=1e-5)


def test_one_body_trains_but_for_batch_normalisation_of_it() -> None:
    tiny().train()(ellipsoids(1))[0].sum().backward()
    with pytest.raises(InputError, match="norm: expected 'layer' for batches of one body, got 'batch'"):
        tiny(norm="batch").train()(ellipsoids(1))
    tiny(norm="batch").eval()(ellipsoids(1))


def test_architecture_builds_an_equal_network_and_is_plain() -> None:
    encoder = woken(tiny())
    again = PointNetEncoder(**json.loads(json.dumps(encoder.architecture())))
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder(ellipsoids())[0], again(ellipsoids())[0])
