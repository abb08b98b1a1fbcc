"""Squared error of measures of different units, each in standard deviations of the training people."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from dxa_monai.networks.regressor import AnthropometryRegressor


class StandardisedLoss(nn.Module):
    """Mean over scans and measures of ((prediction - truth) / standard deviation)^2.

    1 is the loss of predicting the mean of the training people. The standard deviations are the network's own buffers.

    Args:
        network: whose predictions are judged.
    """

    def __init__(self, network: AnthropometryRegressor) -> None:
        super().__init__()
        self.standard_deviation: torch.Tensor
        self.register_buffer("standard_deviation", network.measure_standard_deviation, persistent=False)

    def forward(self, prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Scalar, of measures ``(B, M)`` in their units."""
        return F.mse_loss(prediction / self.standard_deviation, truth / self.standard_deviation)
