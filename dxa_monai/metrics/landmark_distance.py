"""How far a network's landmarks lie from the true ones, as numbers for an Ignite engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric
from monai.utils.enums import CommonKeys

from dxa_monai.networks.landmark_grid import CELL_MM
from dxa_monai.networks.landmark_net import locate


class CorrectShare(CumulativeIterationMetric):
    """Share of landmarks in the field that lie within a distance of the true ones.

    Args:
        within_cm: that distance.
        cell_mm: height and width of the cells.
    """

    def __init__(self, within_cm: float, cell_mm: Sequence[float] = CELL_MM) -> None:
        super().__init__()
        self.within_cm = float(within_cm)
        self.cell_mm = torch.tensor([float(side) for side in cell_mm])

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        """``(B, L)`` 1 or 0, NaN for landmarks outside the field, of logits ``(B, L, R, C)`` and points in cells."""
        if y is None:
            raise ValueError("y: expected the true landmarks of every scan, got None.")
        apart_cm = ((locate(y_pred).cells - y) * self.cell_mm.to(y) / 10.0).norm(dim=-1)
        return torch.where(apart_cm.isfinite(), (apart_cm <= self.within_cm).float(), apart_cm)

    def aggregate(self) -> torch.Tensor:
        """The share so far; NaN without a landmark."""
        return torch.as_tensor(self.get_buffer()).nanmean()


class CorrectLandmarks(IgniteMetricHandler):
    """:class:`CorrectShare` over all scans of an epoch (of all processes), from an engine's ``pred`` and ``label``.

    Args:
        within_cm: distance up to which a landmark is correct.
        output_transform: finds logits and points in ``engine.state.output``.
    """

    def __init__(self, within_cm: float = 3.0, output_transform: Callable[[Any], Any] | None = None) -> None:
        super().__init__(
            metric_fn=CorrectShare(within_cm),
            output_transform=_prediction_and_label if output_transform is None else output_transform,
            save_details=False,
        )


def _prediction_and_label(output: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return output[CommonKeys.PRED], output[CommonKeys.LABEL]
