"""How well measures are predicted, as one number for an Ignite engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric
from monai.utils.enums import CommonKeys


def r2_scores(prediction: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Coefficient of determination of each measure, ``(M,)``, of ``(N, M)``; NaN where the truth does not vary.

    ``R2 = 1 - sum (prediction - truth)^2 / sum (truth - mean)^2``: 0 is the mean of those judged, below is worse.
    """
    truth = truth.double()
    residual = (prediction.double() - truth).square().sum(dim=0)
    spread = (truth - truth.mean(dim=0)).square().sum(dim=0)
    return torch.where(spread > 0.0, 1.0 - residual / spread, torch.full_like(spread, torch.nan))


class MeasuresOfScans(CumulativeIterationMetric):
    """Keeps predictions and truths of all scans, of all processes; the mean over measures of their R2."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("y: expected the truth of every scan, got None.")
        return torch.stack([y_pred, y], dim=1)

    def aggregate(self) -> torch.Tensor:
        """The mean so far."""
        prediction, truth = torch.as_tensor(self.get_buffer()).unbind(1)
        return r2_scores(prediction, truth).mean()


class MeanR2(IgniteMetricHandler):
    """Mean over measures of R2 over all scans of an epoch (of all processes), from an engine's ``pred`` and ``label``.

    Args:
        output_transform: finds prediction and truth ``(B, M)`` in ``engine.state.output``.
    """

    def __init__(self, output_transform: Callable[[Any], Any] | None = None) -> None:
        super().__init__(
            metric_fn=MeasuresOfScans(),
            output_transform=_prediction_and_label if output_transform is None else output_transform,
            save_details=False,
        )


def _prediction_and_label(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return output[CommonKeys.PRED], output[CommonKeys.LABEL]
