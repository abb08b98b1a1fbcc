from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.generator_weights import initialise_generator
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE
from tests.networks.bodies import TINY_POINTNET2

MakeVAE = Callable[..., DXAVAE]
ENCODER = {"kind": "pointnet2", **TINY_POINTNET2}
MEAN = torch.full((6, 60, 50), 0.25)


def trained(vae: DXAVAE) -> DXAVAE:
    """A VAE none of whose tensors is at its start."""
    generator = torch.Generator().manual_seed(3)
    for tensor in vae.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(0.1 + torch.rand(tensor.shape, generator=generator))
    return vae.eval()


@pytest.mark.parametrize("linear_channels", [0, 2])
@pytest.mark.parametrize("from_file", [True, False])
def test_it_decodes_as_the_vae_does_bit_for_bit(
    make_vae: MakeVAE, tmp_path: Path, linear_channels: int, from_file: bool
) -> None:
    vae = trained(make_vae(linear_channels=linear_channels))
    path = tmp_path / "vae.pt"
    save_network(vae, path)
    network = PseudoDXA.like(vae, ENCODER)
    initialise_generator(network, path if from_file else vae, MEAN, 0.5)
    z = torch.randn(2, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network.decode(z), vae.decode(z))


def test_every_tensor_of_both_is_accounted_for(make_vae: MakeVAE) -> None:
    vae = trained(make_vae(linear_channels=1))
    network = PseudoDXA.like(vae, ENCODER)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = initialise_generator(network, vae, MEAN, 0.5)
    assert {*report.loaded, *report.skipped} == set(vae.state_dict())
    assert {*report.loaded, *report.kept} == set(before)
    assert all(name.startswith("encoder.") for name in [*report.skipped, *report.kept])
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, vae.state_dict()[name] if name in report.loaded else before[name]), name
    assert "encoder of scans" in report.summary()


def test_the_copy_is_no_view_of_the_vae(make_vae: MakeVAE) -> None:
    vae = trained(make_vae())
    network = PseudoDXA.like(vae, ENCODER)
    initialise_generator(network, vae, MEAN, 0.5)
    before = vae.generator.to_scan.weight.clone()
    with torch.no_grad():
        network.generator.to_scan.weight.zero_()
    assert torch.equal(vae.generator.to_scan.weight, before)


def test_a_random_generator_gets_the_normalisation_alone(make_vae: MakeVAE) -> None:
    network = PseudoDXA.like(make_vae(linear_channels=1), ENCODER)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    report = initialise_generator(network, "random", MEAN, 0.5)
    assert (report.loaded, set(report.kept)) == ((), set(before))
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"mean_image", "standard_deviation"}
    assert torch.equal(network.mean_image, MEAN)
    assert float(network.standard_deviation) == 0.5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"generator_channels": (8, 8, 8, 8, 12)}, r"of another shape \(generator\.units\.4"),
        ({"generator_kernel_sizes": (2, 4, 6)}, "unexpected"),
        ({"linear_channels": 1}, r"of another shape \(linear_path\.components"),
    ],
)
def test_another_generator_is_refused_and_nothing_changes(
    make_vae: MakeVAE, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = tmp_path / "vae.pt"
    save_network(make_vae(**changes), path)
    network = PseudoDXA.like(make_vae(), ENCODER)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(InputError, match=told) as caught:
        initialise_generator(network, path, MEAN, 0.5)
    assert str(caught.value).startswith(f"{path}: expected the ")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_checkpoint_of_a_pseudo_dxa_is_no_vae(make_vae: MakeVAE, tmp_path: Path) -> None:
    network = PseudoDXA.like(make_vae(), ENCODER)
    save_network(network, tmp_path / "model.pt")
    with pytest.raises(InputError, match="expected the architecture of a DXAVAE"):
        initialise_generator(network, tmp_path / "model.pt", MEAN, 0.5)
