"""Image quality as a metric of an Ignite engine, which a training config can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric
from monai.utils.enums import CommonKeys

from dxa_monai.metrics.image_quality import nmae, psnr_db, ssim

FUNCTIONS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "psnr_db": psnr_db,
    "ssim": ssim,
    "nmae": nmae,
}


class MeanOverScans(CumulativeIterationMetric):
    """The mean over all scans of a function of :mod:`dxa_monai.metrics.image_quality`; NaN if any scan gives NaN.

    MONAI's own metrics average what is not NaN, and give 0 where nothing is left, so that a network which fails on some
    scans would look as good as on the others.

    Args:
        function: takes prediction and target ``(B, 6, H, W)`` and gives ``(B,)``.
    """

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        if y is None:
            raise ValueError("y: expected the target of every scan, got None.")
        return self.function(y_pred, y)[:, None]

    def aggregate(self) -> torch.Tensor:
        """The mean so far, over the scans of all processes."""
        return torch.as_tensor(self.get_buffer()).mean()


class ScanMetric(IgniteMetricHandler):
    """``psnr_db``, ``ssim`` or ``nmae`` of an engine's predictions, averaged over scans.

    The value of each scan is left in ``engine.state.metric_details``.

    Args:
        name: one of ``psnr_db``, ``ssim``, ``nmae``.
        output_transform: finds prediction and target in ``engine.state.output``.

    Raises:
        ValueError: the name is none of these.
    """

    def __init__(self, name: str, output_transform: Callable[[Any], Any] | None = None) -> None:
        if name not in FUNCTIONS:
            raise ValueError(f"name: expected one of {', '.join(FUNCTIONS)}, got '{name}'.")
        super().__init__(
            metric_fn=MeanOverScans(FUNCTIONS[name]),
            output_transform=reconstruction_and_label if output_transform is None else output_transform,
        )


def reconstruction_and_label(output: dict[str, Any] | list[dict[str, Any]]) -> tuple[Any, Any]:
    """Prediction and target of a MONAI engine's output, decollated into a list of scans or not.

    A network that gives several things (``VAEOutput``) gives the reconstruction first.
    """
    if isinstance(output, dict):
        return _first(output[CommonKeys.PRED]), output[CommonKeys.LABEL]
    return [_first(scan[CommonKeys.PRED]) for scan in output], [scan[CommonKeys.LABEL] for scan in output]


def _first(prediction: Any) -> Any:
    return prediction[0] if isinstance(prediction, (tuple, list)) else prediction
