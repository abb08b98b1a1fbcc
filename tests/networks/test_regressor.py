from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import load_regressor, load_vae, save_network
from dxa_monai.networks.regressor import AnthropometryRegressor
from tests.networks.conftest import SMALL

TINY: dict[str, Any] = {
    "measures": ("waist_circumference_cm", "total_volume_l"),
    "spatial_shape": (60, 50),
    "map_shape": (2, 2),
    "block_config": SMALL["block_config"],
    "growth_rate": 8,
    "init_features": 8,
}
MEAN, DEVIATION = torch.tensor([90.0, 70.0]), torch.tensor([12.0, 15.0])


def _network(**changes: Any) -> AnthropometryRegressor:
    torch.manual_seed(0)
    network = AnthropometryRegressor(**(TINY | changes))
    network.set_normalisation(torch.full((6, 60, 50), 0.2), 0.1)
    network.set_measure_statistics(MEAN, DEVIATION)
    return network


def test_training_starts_at_the_mean_of_the_training_people() -> None:
    scans = torch.rand(3, 6, 60, 50)
    assert torch.equal(_network()(scans), MEAN.expand(3, 2))


def test_statistics_set_the_unit_of_the_output() -> None:
    network = _network().eval()
    torch.nn.init.normal_(network.head.weight)
    scans = torch.rand(2, 6, 60, 50)
    before = (network(scans) - MEAN) / DEVIATION
    network.set_measure_statistics(MEAN / 100.0, DEVIATION / 100.0)
    torch.testing.assert_close(network(scans) * 100.0, MEAN + DEVIATION * before)


@pytest.mark.parametrize("pooled_shape", [(1, 1), (2, 2)])
def test_a_larger_pooled_map_tells_places_apart(pooled_shape: tuple[int, int]) -> None:
    network = _network(pooled_shape=pooled_shape).eval()
    assert network.head.in_features == network.trunk.feature_channels * pooled_shape[0] * pooled_shape[1]
    features = torch.zeros(1, network.trunk.feature_channels, 2, 2)
    features[..., 0, 0] = 1.0
    moved = features.flip(-1)
    same = torch.equal(network.pool(features), network.pool(moved))
    assert same == (pooled_shape == (1, 1))


@pytest.mark.parametrize("pooled_shape", [(3, 1), (1, 3), (0, 1)])
def test_a_pooled_map_beyond_the_trunk_is_refused(pooled_shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="at most the trunk's 2 x 2"):
        _network(pooled_shape=pooled_shape)


def test_a_frozen_trunk_trains_its_first_convolution_and_the_head_only() -> None:
    network = _network()
    torch.nn.init.normal_(network.head.weight)
    network.freeze_trunk()
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(4, 6, 60, 50)).square().mean().backward()
    optimizer.step()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    # running statistics of batch normalisation would be among them if the trunk were in training mode
    assert changed == {
        "trunk.to_three_channels.weight",
        "trunk.to_three_channels.bias",
        "head.weight",
        "head.bias",
    }


def test_round_trip_keeps_everything_and_other_networks_are_refused(tmp_path: Path, make_vae: Any) -> None:
    network = _network(pooled_shape=(2, 1)).eval()
    torch.nn.init.normal_(network.head.weight)
    path = tmp_path / "best.pt"
    save_network(network, path)
    loaded = load_regressor(path)
    scans = torch.rand(2, 6, 60, 50)
    assert torch.equal(loaded(scans), network(scans))
    assert loaded.measures == TINY["measures"]
    with pytest.raises(InputError, match="architecture of a DXAVAE"):
        load_vae(path)
    save_network(make_vae(), path)
    with pytest.raises(InputError, match="architecture of a AnthropometryRegressor"):
        load_regressor(path)


def test_torchscript_agrees() -> None:
    network = _network().eval()
    torch.nn.init.normal_(network.head.weight)
    scans = torch.rand(2, 6, 60, 50)
    torch.testing.assert_close(torch.jit.script(network)(scans), network(scans))


def test_wrong_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(6, 60, 50\)"):
        _network().set_normalisation(torch.zeros(6, 50, 60), 1.0)
    with pytest.raises(InputError, match="positive"):
        _network().set_normalisation(torch.zeros(6, 60, 50), 0.0)
