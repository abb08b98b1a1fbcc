"""How far a network's belief about landmarks is from where they are."""

from __future__ import annotations

import torch
from torch import nn

from dxa_monai.networks.landmark_net import log_beliefs, target_beliefs


class LandmarkLoss(nn.Module):
    """Cross-entropy of the network's beliefs with a bell about each true landmark, less the bell's own entropy.

    ``L = mean over landmarks of sum over places p of t(p) (log t(p) - log b(p))``, t the bell and b the belief; 0 if
    the belief is the bell. A landmark outside the field has all of t at the place "not in the field".

    Args:
        deviation_cells: standard deviation of the bell.
    """

    def __init__(self, deviation_cells: float = 1.0) -> None:
        super().__init__()
        self.deviation_cells = float(deviation_cells)

    def as_dict(self) -> dict[str, float]:
        """For the record of a run."""
        return {"deviation_cells": self.deviation_cells}

    def forward(self, logits: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Scalar, of logits ``(B, L, R, C)`` and true points ``(B, L, 2)`` in cells, NaN outside the field."""
        target = target_beliefs(cells, (logits.shape[-2], logits.shape[-1]), self.deviation_cells)
        return (torch.xlogy(target, target) - target * log_beliefs(logits)).sum(dim=-1).mean()
