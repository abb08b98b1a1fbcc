from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.latent_matching import LatentMatchingLoss
from dxa_monai.networks.vae import DXAVAE, VAEOutput
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


def output_of(mu: torch.Tensor) -> VAEOutput:
    """What a network gives that codes bodies as ``mu``; the loss does not look at the rest."""
    return VAEOutput(torch.full((len(mu), 6, ROWS, COLUMNS), torch.nan), mu, torch.full_like(mu, torch.nan))


def ready() -> LatentMatchingLoss:
    loss = LatentMatchingLoss(vae())
    loss.set_variance([people()])
    return loss


def test_the_vaes_own_code_costs_nothing() -> None:
    codes, _ = vae().eval().encode(people())
    assert ready()(output_of(codes), people()) == 0


def test_the_mean_code_costs_one() -> None:
    codes, _ = vae().eval().encode(people())
    mean = codes.mean(0, keepdim=True).expand_as(codes)
    assert float(ready()(output_of(mean), people())) == pytest.approx(1.0, rel=1e-4)


def test_variance_is_that_of_all_batches() -> None:
    other = LatentMatchingLoss(vae())
    other.set_variance(people().split(2))
    torch.testing.assert_close(other.code_variance, ready().code_variance)


def test_preparing_measures_it_on_a_loaders_labels() -> None:
    other = LatentMatchingLoss(vae())
    other.prepare([{"label": scans, "image": torch.zeros(2, 6, 100)} for scans in people().split(2)])
    assert float(other.code_variance) > 0
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
        loss(output_of(5 * (codes + offsets)), people()),
        ready()(output_of(codes + offsets), people()),
        rtol=1e-4,
        atol=0,
    )


def test_gradient_reaches_the_prediction_and_never_the_vae() -> None:
    network, loss = vae(), ready()
    loss = LatentMatchingLoss(network)
    loss.set_variance([people()])
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loss.train()
    mu = torch.zeros(5, 3, 2, 1, requires_grad=True)
    loss(output_of(mu), people()).backward()
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
    assert torch.equal(again(output_of(mu), people()), loss(output_of(mu), people()))
    loss.double()
    assert loss(output_of(mu.double()), people().double()).dtype == torch.float64


def test_what_cannot_be_is_refused() -> None:
    mu = torch.zeros(5, 3, 2, 1)
    with pytest.raises(InputError, match="set_variance"):
        LatentMatchingLoss(vae())(output_of(mu), people())
    for scans in (people(1), people(1).expand(4, -1, -1, -1)):
        with pytest.raises(InputError, match="two scans of different codes"):
            LatentMatchingLoss(vae()).set_variance([scans])
    with pytest.raises(InputError, match=r"mu: expected the shape of the VAE's codes \(5, 3, 2, 1\), got \(5, 6\)"):
        ready()(output_of(mu.flatten(1)), people())
