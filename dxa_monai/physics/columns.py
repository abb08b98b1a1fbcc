"""Columns of a scan whose detector is dead or stuck: found by what no body does, and filled in from beside them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.scan.format import FULL_SCALE_COUNTS, FULL_SCALE_NEPERS

_STUCK_COUNTS = 2.0
"""A detector whose readings differ by no more than this over all rows, in every channel, sees nothing."""
_STANDS_OUT_NEPERS = 0.1
_ALIKE = 0.3
_MOST_COLUMNS = 0.1
"""Share of the columns that may be filled in: with more, it is not a detector that failed."""


def find_dead_columns(raw: torch.Tensor, full_scale_nepers: float = FULL_SCALE_NEPERS) -> tuple[int, ...]:
    """Columns that read always the same, or always much more or less than those beside them.

    Args:
        raw: ``(6, H, W)`` in [0, 1].
        full_scale_nepers: what a raw value of 1 means.

    Returns:
        Their numbers, in order. Empty where so many stand out that it is not single detectors that failed.
    """
    values = raw.detach().cpu().numpy()
    stuck = ((values.max(axis=1) - values.min(axis=1)) * FULL_SCALE_COUNTS <= _STUCK_COUNTS).all(axis=0)
    if stuck.any():
        stuck &= ~_like_most(values, full_scale_nepers)
    mean = values.mean(axis=0, dtype=np.float64) * full_scale_nepers
    suspects = np.flatnonzero(stuck | _beside(mean))
    found = []
    for column in suspects.tolist():
        sides = _nearest(column, suspects, mean.shape[1])
        # A stuck one is seen where a body passes over it; one that reads too much or too little, in every row.
        if stuck[column]:
            each = [np.abs(values[:, :, column] - values[:, :, side]) * full_scale_nepers for side in sides]
            failed = (np.minimum(*each) > _STANDS_OUT_NEPERS).any()
        else:
            to_left, to_right = (mean[:, column] - mean[:, side] for side in sides)
            apart = np.minimum(np.abs(to_left), np.abs(to_right)) > _STANDS_OUT_NEPERS
            failed = (apart & (np.sign(to_left) == np.sign(to_right))).mean() > 1.0 - _MOST_COLUMNS
        if failed:
            found.append(column)
    return tuple(found) if len(found) <= _MOST_COLUMNS * mean.shape[1] else ()


def fill_columns(raw: torch.Tensor, columns: tuple[int, ...]) -> torch.Tensor:
    """``raw`` ``(..., W)`` with these columns on the straight line between the nearest others."""
    if not columns:
        return raw
    filled = raw.clone()
    for column in columns:
        left, right = _nearest(column, np.array(columns), raw.shape[-1])
        share = (column - left) / (right - left) if right > left else 0.0
        filled[..., column] = torch.lerp(raw[..., left], raw[..., right], share)
    return filled


def _like_most(values: npt.NDArray[np.floating], full_scale_nepers: float) -> npt.NDArray[np.bool_]:
    """``(W,)``: columns that read in all channels what most pixels do: air, without noise or rounded coarsely."""
    # Steps of a tenth of a neper: noise, drift and an uneven mat stay within one or two.
    steps = (np.clip(values, 0.0, 1.0) * (full_scale_nepers / _STANDS_OUT_NEPERS)).astype(np.int64)
    alike = np.ones(values.shape[-1], dtype=bool)
    for channel in steps:
        alike &= np.abs(channel[0] - np.bincount(channel.ravel()).argmax()) <= 1
    return alike


def _beside(mean: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """``(W,)``: columns that lie about equally far from what both neighbours read, row after row."""
    apart = np.zeros_like(mean)
    apart[:, 1:-1] = mean[:, 1:-1] - (mean[:, :-2] + mean[:, 2:]) / 2.0
    # Most columns lie on the straight line between their neighbours, which their mean tells at once.
    suspects = np.flatnonzero(np.abs(apart.mean(axis=0)) > _STANDS_OUT_NEPERS / 4.0)
    found = np.zeros(mean.shape[1], dtype=bool)
    if suspects.size:
        usual = np.median(apart[:, suspects], axis=0)
        alike = (np.abs(apart[:, suspects] - usual) < _ALIKE * np.abs(usual)).mean(axis=0) > 0.5
        found[suspects] = alike & (np.abs(usual) > _STANDS_OUT_NEPERS)
    return found


def _nearest(column: int, without: npt.NDArray[np.integer], width: int) -> tuple[int, int]:
    """The nearest columns left and right that are none of ``without``; twice the same one at the image's edges."""
    others = np.setdiff1d(np.arange(width), without)
    left, right = others[others < column], others[others > column]
    if not len(left) or not len(right):
        nearest = int(others[np.abs(others - column).argmin()]) if len(others) else column
        return nearest, nearest
    return int(left[-1]), int(right[0])
