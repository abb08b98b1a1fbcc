from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from dxa_monai.losses.elementary import KLDivergence, OrthogonalityPenalty, PixelL1, kl_divergence
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import VAEOutput
from tests.losses.test_latent_matching import people, vae
from tests.networks.bodies import TINY_POINTNET, TINY_POINTNET2, ellipsoids


def pseudo_dxa(kind: str = "pointnet") -> PseudoDXA:
    """Of the decoder of ``vae()``; a PointNet's feature transform is away from orthogonal."""
    torch.manual_seed(1)
    arguments = TINY_POINTNET if kind == "pointnet" else TINY_POINTNET2
    made = PseudoDXA.like(vae(), {"kind": kind, **arguments})
    if kind == "pointnet":
        torch.nn.init.normal_(made.encoder.feature_transform.to_matrix.weight, std=0.1)
    return made


def random_output(seed: int = 0) -> VAEOutput:
    generator = torch.Generator().manual_seed(seed)
    mu, log_variance = torch.randn(2, 5, 4, 5, 4, generator=generator)
    return VAEOutput(torch.rand(people().shape, generator=generator), mu, log_variance)


def test_kl_is_the_closed_form_of_torch_distributions() -> None:
    output = random_output()
    expected = torch_kl(Normal(output.mu, torch.exp(0.5 * output.log_variance)), Normal(0.0, 1.0)).mean()
    torch.testing.assert_close(kl_divergence(output.mu, output.log_variance), expected)
    torch.testing.assert_close(KLDivergence()(output, people()), expected)


def test_the_standard_normal_has_no_divergence() -> None:
    latent = torch.zeros(5, 4, 2, 1)
    assert KLDivergence()(VAEOutput(people(), latent, latent), people()) == 0


def test_pixel_l1_is_the_mean_over_scans_channels_and_pixels() -> None:
    output = random_output()
    pairs = zip(output.reconstruction.flatten(), people().flatten(), strict=True)
    expected = sum(abs(float(a) - float(b)) for a, b in pairs) / people().numel()
    assert float(PixelL1()(output, people())) == pytest.approx(expected, rel=1e-5)


def test_a_term_sees_its_part_of_the_output_alone() -> None:
    first, second = random_output(0), random_output(1)
    code_of_second = VAEOutput(first.reconstruction, second.mu, second.log_variance)
    assert torch.equal(PixelL1()(first, people()), PixelL1()(code_of_second, people()))
    assert torch.equal(KLDivergence()(second, people()), KLDivergence()(code_of_second, 1 - people()))


def test_orthogonality_is_that_of_the_networks_last_pass() -> None:
    network = pseudo_dxa()
    loss = OrthogonalityPenalty(network)
    values = []
    for points in (ellipsoids(5), 2 * ellipsoids(5)):
        output = network(points)
        values.append(loss(output, people()))
        assert torch.equal(values[-1], network.orthogonality_penalty())
        assert values[-1] > 0
    assert not torch.equal(*values)
    values[-1].backward()
    assert network.encoder.feature_transform.to_matrix.weight.grad.abs().sum() > 0


def test_an_encoder_without_transforms_has_no_penalty() -> None:
    pytest.importorskip("pytorch3d")
    network = pseudo_dxa("pointnet2")
    assert OrthogonalityPenalty(network)(network(ellipsoids(5)), people()) == 0


def test_the_network_of_the_penalty_is_no_part_of_the_loss() -> None:
    network = pseudo_dxa()
    loss = OrthogonalityPenalty(network).eval()
    assert list(loss.parameters()) == []
    assert loss.state_dict() == {}
    assert network.training
