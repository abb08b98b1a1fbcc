from __future__ import annotations

import torch

from dxa_monai.losses.standardised import StandardisedLoss
from dxa_monai.networks.regressor import AnthropometryRegressor
from tests.networks.test_regressor import TINY


def test_the_mean_predictor_loses_one_whatever_the_units() -> None:
    truth = torch.randn(500, 2, dtype=torch.float64) * torch.tensor([0.01, 3000.0]) + torch.tensor([5.0, 20000.0])
    network = AnthropometryRegressor(**TINY)
    network.set_measure_statistics(truth.mean(dim=0), truth.std(dim=0, correction=0))
    loss = StandardisedLoss(network)
    assert abs(float(loss(truth.mean(dim=0).expand_as(truth), truth)) - 1.0) < 1e-5
    assert float(loss(truth, truth)) == 0.0


def test_it_follows_statistics_that_are_set_later() -> None:
    network = AnthropometryRegressor(**TINY)
    loss = StandardisedLoss(network)
    network.set_measure_statistics(torch.zeros(2), torch.tensor([2.0, 2.0]))
    assert float(loss(torch.full((1, 2), 4.0), torch.zeros(1, 2))) == 4.0
