from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.elementary import KLDivergence, PixelL1
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.networks.checkpoint import load_pseudo_dxa, load_vae, save_network
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE
from tests.networks.bodies import TINY_POINTNET, TINY_POINTNET2, ellipsoids

pytest.importorskip("pytorch3d")

MakeVAE = Callable[..., DXAVAE]
ENCODERS = {"pointnet2": {"kind": "pointnet2", **TINY_POINTNET2}, "pointnet": {"kind": "pointnet", **TINY_POINTNET}}
SMALL: dict[str, Any] = {
    "encoder": ENCODERS["pointnet2"],
    "spatial_shape": (60, 50),
    "latent_channels": 4,
    "latent_shape": (2, 2),
    "generator_channels": (8, 8, 8, 8, 8),
    "generator_kernel_sizes": (2, 4),
}


def small(**changes: Any) -> PseudoDXA:
    torch.manual_seed(0)
    return PseudoDXA(**(SMALL | changes))


def loss_of_pretraining(kl_weight: float = 1e-5) -> WeightedLoss:
    return WeightedLoss({"pixel_l1": Term(PixelL1()), "kl": Term(KLDivergence(), weight=kl_weight)})


def scans(count: int = 3) -> torch.Tensor:
    """Smooth scans ``(count, 6, 60, 50)`` that become wider as the ellipsoids do."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 50), indexing="ij")
    widths = torch.linspace(0.3, 0.6, count)[:, None, None]
    bodies = (1 - rows**2 - (columns / widths) ** 2).clamp(min=0)
    return bodies[:, None] * torch.linspace(0.3, 0.8, 6)[:, None, None]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("linear_channels", [0, 2])
def test_training_starts_at_the_mean_image(kind: str, linear_channels: int) -> None:
    network, mean = small(encoder=ENCODERS[kind], linear_channels=linear_channels), scans().mean(0)
    network.set_normalisation(mean, 0.1)
    if linear_channels:
        components = torch.linalg.qr(torch.randn(mean.numel(), 8)).Q.T.reshape(8, *mean.shape)
        network.set_linear_path(components, torch.ones(8))
    output = network.eval()(ellipsoids())
    torch.testing.assert_close(output.reconstruction, mean.expand(3, -1, -1, -1), rtol=0, atol=0)
    assert output.mu.shape == output.log_variance.shape == (3, 4, 2, 2)
    torch.testing.assert_close(network.predict(ellipsoids()), mean.expand(3, -1, -1, -1), rtol=0, atol=0)


def test_prediction_is_a_scan() -> None:
    network = small()
    torch.nn.init.normal_(network.generator.to_scan.weight, std=50.0)
    assert network(ellipsoids()).reconstruction.abs().max() > 1
    predicted = network.predict(ellipsoids())
    assert (predicted.min(), predicted.max()) == (0, 1)


def test_training_samples_and_evaluation_does_not() -> None:
    network = small()
    torch.nn.init.normal_(network.generator.to_scan.weight)
    first, second = network(ellipsoids()), network(ellipsoids())
    assert torch.equal(first.mu, second.mu)
    assert not torch.allclose(first.reconstruction, second.reconstruction)
    network.eval()
    assert torch.equal(network(ellipsoids()).reconstruction, network(ellipsoids()).reconstruction)


def test_the_loss_of_pretraining_takes_its_output() -> None:
    network, loss = small(), loss_of_pretraining(1e-3)
    total = loss(network(ellipsoids()), scans())
    total.backward()
    assert set(loss.terms) >= {"pixel_l1", "kl", "total"}
    assert network.encoder.head.mu.weight.grad is not None


@pytest.mark.parametrize("linear_channels", [0, 2])
def test_like_a_vae_has_its_decoder(make_vae: MakeVAE, linear_channels: int) -> None:
    vae = make_vae(linear_channels=linear_channels)
    network = PseudoDXA.like(vae, ENCODERS["pointnet2"])
    shapes = {name: t.shape for name, t in network.state_dict().items() if not name.startswith("encoder.")}
    assert shapes == {name: t.shape for name, t in vae.state_dict().items() if not name.startswith("encoder.")}


@pytest.mark.parametrize("kind", ENCODERS)
def test_saved_and_loaded_is_the_same_network(kind: str, tmp_path: Path) -> None:
    network = small(encoder=ENCODERS[kind], generator_dense_shape=(8, 7), generator_channels=(4, 4, 4, 4))
    torch.nn.init.normal_(network.generator.to_scan.weight)
    network.set_normalisation(scans().mean(0), 0.2)
    json.dumps(network.architecture())
    save_network(network, tmp_path / "model.pt", epoch=1)
    loaded = load_pseudo_dxa(tmp_path / "model.pt")
    assert not loaded.training
    assert loaded.architecture() == network.architecture()
    assert torch.equal(loaded.predict(ellipsoids()), network.eval().predict(ellipsoids()))


def test_a_checkpoint_of_the_other_network_is_refused(make_vae: MakeVAE, tmp_path: Path) -> None:
    save_network(make_vae(), tmp_path / "vae.pt")
    with pytest.raises(InputError, match=r"vae\.pt: expected the architecture of a PseudoDXA, got '.*in_channels"):
        load_pseudo_dxa(tmp_path / "vae.pt")
    save_network(small(), tmp_path / "pseudo_dxa.pt")
    with pytest.raises(InputError, match=r"pseudo_dxa\.pt: expected the architecture of a DXAVAE, got '.*encoder"):
        load_vae(tmp_path / "pseudo_dxa.pt")


def test_a_frozen_generator_stays_while_the_encoder_learns() -> None:
    network = small()
    torch.nn.init.normal_(network.generator.to_scan.weight)
    network.freeze_generator()
    network.eval().train()
    assert network.encoder.training
    assert not any(module.training for module in network.generator.modules())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    loss_of_pretraining()(network(ellipsoids()), scans()).backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"encoder.{name}" for name, _ in network.encoder.named_parameters()}

    network.freeze_generator(False)
    assert all(module.training for module in network.generator.modules())
    loss_of_pretraining()(network(ellipsoids()), scans()).backward()
    optimizer.step()
    assert not torch.equal(network.generator.to_scan.weight, before["generator.to_scan.weight"])


def test_orthogonality_penalty_is_that_of_the_encoder() -> None:
    network = small(encoder=ENCODERS["pointnet"])
    torch.nn.init.normal_(network.encoder.feature_transform.to_matrix.weight)
    network(ellipsoids())
    assert network.orthogonality_penalty() == network.encoder.orthogonality_penalty() > 0
    assert small().orthogonality_penalty() == 0
    assert network.has_transforms
    assert not small().has_transforms


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoder": {"kind": "transformer"}}, "encoder: expected a kind among pointnet2, pointnet, got 'transformer'"),
        ({"encoder": {"kind": "pointnet", "depth": 3}}, "encoder: expected arguments of PointNetEncoder, got '.*depth"),
        ({"latent_shape": (1, 1)}, "latent_shape"),
        ({"linear_channels": 5}, "linear_channels: expected 0 to 4, got 5"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        small(**changes)


def test_it_learns_which_scan_belongs_to_which_body() -> None:
    points, targets = ellipsoids(4, 200), scans(4)
    network = small(generator_dense_shape=(15, 13), generator_channels=(8, 8, 8), generator_kernel_sizes=(3,))
    network.set_normalisation(targets.mean(0), float((targets - targets.mean(0)).std()))
    loss = loss_of_pretraining(0.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss(network(points), targets).backward()
        optimizer.step()
    with torch.no_grad():
        error = (network.eval().predict(points) - targets).abs().mean()
    assert error < 0.5 * (targets - targets.mean(0)).abs().mean()
