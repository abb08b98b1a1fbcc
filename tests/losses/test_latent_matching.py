from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.latent_matching import LatentMatchingLoss
from dxa_monai.networks.vae import DXAVAE
from tests.losses.conftest import COLUMNS, ROWS, body


def vae() -> DXAVAE:
    torch.manual_seed(0)
    return DXAVAE(
        spatial_shape=(ROWS, COLUMNS),
        latent_channels=3,
        latent_shape=(2, 1),
        block_config=(1, 1, 1, 1),
        growth_rate=8,
        init_features=8,
        generator_channels=(8, 8, 8, 8, 8),
        generator_kernel_sizes=(2, 4),
    )


def people(count: int = 5) -> torch.Tensor:
    """Scans ``(count, 6, 40, 32)`` of bodies of various thickness."""
    return body()[:1] * torch.linspace(0.6, 1.4, count)[:, None, None, None]


def ready() -> LatentMatchingLoss:
    loss = LatentMatchingLoss(vae())
    loss.set_variance([people()])
    return loss


def test_the_vaes_own_code_costs_nothing() -> None:
    codes, _ = vae().eval().encode(people())
    assert ready()(codes, people()) == 0


def test_the_mean_code_costs_one() -> None:
    codes, _ = vae().eval().encode(people())
    mean = codes.mean(0, keepdim=True).expand_as(codes)
    assert float(ready()(mean, people())) == pytest.approx(1.0, rel=1e-4)


def test_variance_is_that_of_all_batches() -> None:
    other = LatentMatchingLoss(vae())
    other.set_variance(people().split(2))
    torch.testing.assert_close(other.code_variance, ready().code_variance)


def test_the_scale_of_a_vaes_codes_does_not_matter() -> None:
    codes, _ = vae().eval().encode(people())
    offsets = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0)) * codes.std()
    larger = vae()
    with torch.no_grad():
        for parameter in larger.encoder.mu_head.parameters():
            parameter *= 5
    loss = LatentMatchingLoss(larger)
    loss.set_variance([people()])
    torch.testing.assert_close(
        loss(5 * (codes + offsets), people()), ready()(codes + offsets, people()), rtol=1e-4, atol=0
    )


def test_gradient_reaches_the_prediction_and_never_the_vae() -> None:
    network, loss = vae(), ready()
    loss = LatentMatchingLoss(network)
    loss.set_variance([people()])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loss.train()
    mu = torch.zeros(5, 3, 2, 1, requires_grad=True)
    loss(mu, people()).backward()
    codes, _ = network.encode(people())
    assert mu.grad is not None
    torch.testing.assert_close(mu.grad, -2 * codes / (codes.numel() * loss.code_variance))
    assert not network.training  # its batch normalisation stays as trained
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert list(loss.parameters()) == []


def test_state_is_the_variance_alone_and_moves_go_to_the_vae() -> None:
    loss = ready()
    assert list(loss.state_dict()) == ["code_variance"]
    again = LatentMatchingLoss(vae())
    again.load_state_dict(loss.state_dict())
    mu = torch.zeros(5, 3, 2, 1)
    assert torch.equal(again(mu, people()), loss(mu, people()))
    loss.double()
    assert loss(mu.double(), people().double()).dtype == torch.float64


def test_what_cannot_be_is_refused() -> None:
    mu = torch.zeros(5, 3, 2, 1)
    with pytest.raises(InputError, match="set_variance"):
        LatentMatchingLoss(vae())(mu, people())
    for scans in (people(1), people(1).expand(4, -1, -1, -1)):
        with pytest.raises(InputError, match="two scans of different codes"):
            LatentMatchingLoss(vae()).set_variance([scans])
    with pytest.raises(InputError, match=r"mu: expected the shape of the VAE's codes \(5, 3, 2, 1\), got \(5, 6\)"):
        ready()(mu.flatten(1), people())
