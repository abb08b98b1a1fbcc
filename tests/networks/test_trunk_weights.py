from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import DenseNet121_Weights, densenet121

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.trunk_weights import initialise_trunk
from tests.networks.test_regressor import TINY

MEAN_IMAGE = torch.full((6, 60, 50), 0.25)


def _regressor(**changes: Any) -> AnthropometryRegressor:
    return AnthropometryRegressor(**(TINY | changes))


def _image_net_regressor() -> AnthropometryRegressor:
    return AnthropometryRegressor(spatial_shape=(60, 50), map_shape=(2, 2))


def _as_published(state: dict[str, Any]) -> dict[str, Any]:
    """The names and tensors of the files that torchvision publishes: norm.1 for norm1, and no counters."""
    return {
        re.sub(r"(denselayer\d+)\.(norm|conv)([12])\.", r"\1.\2.\3.", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }


def test_a_vae_gives_its_whole_trunk_and_its_normalisation(make_vae: Any, tmp_path: Path) -> None:
    vae = make_vae()
    vae.set_normalisation(torch.rand(6, 60, 50), 0.4)
    for tensor in vae.encoder.trunk.buffers():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    path = tmp_path / "vae.pt"
    save_network(vae, path)
    network = _regressor()
    done = initialise_trunk(network, path, MEAN_IMAGE, 0.1)

    scans = torch.rand(2, 6, 60, 50)
    normalised = (scans - vae.mean_image) / vae.standard_deviation
    expected = vae.eval().encoder.features(normalised)
    seen = network.eval().trunk.features((scans - network.mean_image) / network.standard_deviation)
    assert torch.equal(seen, expected)
    # every tensor of the file and of the trunk is accounted for
    assert len(done.loaded) + len(done.skipped) == len(vae.state_dict())
    assert {name for name in network.state_dict() if name.startswith("trunk.")} <= set(done.loaded)
    assert not done.kept
    assert "generator" in done.summary()


@pytest.mark.parametrize("published", [False, True])
def test_a_torchvision_file_loads_completely(tmp_path: Path, published: bool) -> None:
    torch.manual_seed(1)
    reference = densenet121(weights=None).eval()
    for module in reference.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = reference.state_dict()
    path = tmp_path / "densenet121.pth"
    torch.save(_as_published(state) if published else state, path)
    network = _image_net_regressor().eval()
    front = network.trunk.to_three_channels.weight.clone()
    done = initialise_trunk(network, path, MEAN_IMAGE, 0.1)

    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(network.trunk.trunk(image), reference.features(image))
    assert torch.equal(network.trunk.to_three_channels.weight, front)
    assert set(done.skipped) == {"classifier.weight", "classifier.bias"}
    counters = {name for name in done.kept if name.endswith("num_batches_tracked")}
    assert bool(counters) == published
    assert set(done.kept) - counters == {"trunk.to_three_channels.weight", "trunk.to_three_channels.bias"}
    trunk = {name for name in network.state_dict() if name.startswith("trunk.")}
    assert set(done.loaded) | set(done.kept) == trunk
    assert torch.equal(network.mean_image, MEAN_IMAGE)


def test_random_leaves_the_trunk_and_sets_the_normalisation() -> None:
    network = _regressor()
    before = {name: tensor.clone() for name, tensor in network.trunk.state_dict().items()}
    done = initialise_trunk(network, "random", MEAN_IMAGE, 0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.trunk.state_dict().items())
    assert torch.equal(network.mean_image, MEAN_IMAGE)
    assert not done.loaded
    assert len(done.kept) == len(before)


@pytest.mark.parametrize("damage", ["missing", "misshapen", "unknown"])
def test_what_does_not_fit_is_refused_and_nothing_changes(make_vae: Any, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "vae.pt"
    vae = make_vae(block_config=(1, 1, 1, 2)) if damage == "misshapen" else make_vae()
    save_network(vae, path)
    if damage != "misshapen":
        content = torch.load(path, weights_only=True)
        if damage == "missing":
            del content["state"]["encoder.trunk.conv0.weight"]
        else:
            content["state"]["encoder.new.weight"] = torch.zeros(1)
        torch.save(content, path)
    network = _regressor()
    before = {name: tensor.clone() for name, tensor in network.trunk.state_dict().items()}
    told = {
        "missing": r"missing \(trunk\.trunk\.conv0\.weight\)",
        "misshapen": "tensors of this trunk, got",
        "unknown": "got one named 'encoder.new.weight'",
    }
    with pytest.raises(InputError, match=told[damage]):
        initialise_trunk(network, path, MEAN_IMAGE, 0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.trunk.state_dict().items())


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"layer1.weight": torch.zeros(2)}, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"DenseNet-121, got a tensor named 'layer1\.weight'"):
        initialise_trunk(_regressor(), tmp_path / "resnet.pth", MEAN_IMAGE, 0.1)
    torch.save(torch.zeros(2), tmp_path / "tensor.pth")
    with pytest.raises(InputError, match="got Tensor"):
        initialise_trunk(_regressor(), tmp_path / "tensor.pth", MEAN_IMAGE, 0.1)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Sentinel:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"features.conv0.weight": Sentinel()}, tmp_path / "hostile.pth")
    with pytest.raises(InputError, match="whole file of network weights"):
        initialise_trunk(_regressor(), tmp_path / "hostile.pth", MEAN_IMAGE, 0.1)
    assert not (tmp_path / "ran").exists()


def test_no_network_and_no_file_is_told_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(DenseNet121_Weights, "get_state_dict", unreachable)
    with pytest.raises(InputError, match=r"no route to host.*https://.*densenet121.*leave the arm out"):
        initialise_trunk(_image_net_regressor(), "imagenet", MEAN_IMAGE, 0.1)
