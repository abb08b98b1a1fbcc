"""The blur of a scanner from the edges of the step phantom's patches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import CHANNELS

FloatArray = npt.NDArray[np.float64]

MOST_BLUR = 0.2
"""Share of a pixel's signal in each neighbour beyond which sharpening would make more noise than edges."""
_LEAST_BLUR = 0.003
_LEAST_STEP = 0.02
"""Difference of two patches' signals, relative to the open beam, from which on their edge is used."""


def phantom_blur(nepers: torch.Tensor, phantom: StepPhantom) -> tuple[float, float]:
    """Share of its signal that a pixel gives to each of its neighbours in the same column and in the same row.

    Beside an edge between two patches, a blur that gives a share k to each neighbour makes the pixel on one side read
    k of the step too much and that on the other k too little. An edge that does not lie between two pixels changes one
    of them more and the other less: the smaller of both is taken.

    Args:
        nepers: ``(6, H, W)`` log attenuation of the phantom above the zero.
        phantom: its layout.

    Returns:
        Along rows' numbers and along columns', 0 where it is not seen, at most ``MOST_BLUR``.
    """
    signal = np.exp(-nepers[[CHANNELS.index("air_high"), CHANNELS.index("air_low")]].double().numpy())
    shares = (_shares(signal.swapaxes(1, 2), phantom.labels.T), _shares(signal, phantom.labels))
    rows, columns = (0.0 if share < _LEAST_BLUR else min(share, MOST_BLUR) for share in shares)
    return rows, columns


def _shares(signal: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Median share over the edges that are crossed along the last axis of ``(2, H, W)``."""
    found = []
    width = labels.shape[1]
    for column in range(3, width - 3):
        pairs = {(int(a), int(b)) for a, b in zip(labels[:, column - 1], labels[:, column], strict=True) if a != b}
        for left, right in pairs:
            lines = (labels[:, column - 1] == left) & (labels[:, column] == right)
            # Three pixels on either side must lie in their patch, the outermost of them beyond the blur.
            own = (labels[lines][:, [column - 3, column + 2]] == [left, right]).all()
            if not own or lines.sum() < 3:
                continue
            values = signal[:, lines, column - 3 : column + 3].mean(axis=1)
            step = values[:, 5] - values[:, 0]
            if np.abs(step).min() < _LEAST_STEP:
                continue
            found.extend(np.minimum((values[:, 2] - values[:, 0]) / step, (values[:, 5] - values[:, 3]) / step))
    return float(np.median(found)) if found else 0.0
