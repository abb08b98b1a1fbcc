from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.normalisation import NormalisesScans


class _Network(NormalisesScans):
    def __init__(self) -> None:
        super().__init__()
        self.build_normalisation(2, (4, 3))


def test_scans_pass_unchanged_until_the_normalisation_is_set() -> None:
    scans = torch.rand(5, 2, 4, 3)
    assert torch.equal(_Network().normalised(scans), scans)


def test_training_scans_come_out_with_mean_0_and_deviation_1() -> None:
    network, scans = _Network(), torch.rand(50, 2, 4, 3)
    mean = scans.mean(0)
    network.set_normalisation(mean, float((scans - mean).square().mean().sqrt()))
    normalised = network.normalised(scans)
    torch.testing.assert_close(normalised.mean(0), torch.zeros(2, 4, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.square().mean(), torch.tensor(1.0))


def test_it_belongs_to_the_state() -> None:
    network, twin = _Network(), _Network()
    network.set_normalisation(torch.full((2, 4, 3), 0.25), 0.5)
    twin.load_state_dict(network.state_dict())
    assert torch.equal(twin.normalised(torch.ones(1, 2, 4, 3)), torch.full((1, 2, 4, 3), 1.5))


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("inf"), float("nan")])
def test_a_deviation_that_cannot_be_right_is_refused_and_nothing_changes(deviation: float) -> None:
    network = _Network()
    with pytest.raises(InputError, match="standard_deviation: expected a positive number"):
        network.set_normalisation(torch.ones(2, 4, 3), deviation)
    assert torch.equal(network.mean_image, torch.zeros(2, 4, 3))
