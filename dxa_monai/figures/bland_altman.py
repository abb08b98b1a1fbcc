"""Bland-Altman plots: difference over mean of two methods.

Bland JM, Altman DG. Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path

LIMITS_OF_AGREEMENT = 1.96
_COLOURS = ("#b5426b", "#2f6f9f", "#777777")
_COLUMNS = 5


def bland_altman_figure(
    pairs: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    path: str | Path,
    groups: Sequence[str] | None = None,
    title: str = "",
    dpi: int = 130,
) -> Path:
    """Write a panel a measure: measured minus truth over their mean, with bias and 95 % limits of agreement.

    The vertical axis reaches as far up as down, at least to the limits of agreement.

    Args:
        pairs: ``(measured, truth)``, ``(N,)`` each, by the measure's name with its unit.
        path: image file.
        groups: ``(N,)`` what each scan is coloured by, for example sex.
        title: above the panels.
        dpi: dots per inch.

    Returns:
        ``path``.

    Raises:
        InputError: there is no measure, or the lengths differ.
    """
    if not pairs:
        raise InputError("pairs: expected at least one measure, got none.")
    columns = min(_COLUMNS, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = Figure(figsize=(2.9 * columns, 2.4 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, (measured, truth)) in zip(grid, pairs.items(), strict=False):
        first, second = np.asarray(measured, dtype=np.float64), np.asarray(truth, dtype=np.float64)
        labels = np.asarray(["all"] * len(first) if groups is None else [str(group) for group in groups])
        if not first.size or not first.shape == second.shape == labels.shape:
            raise InputError(f"{name}: expected as many measured as true values, got {first.shape} and {second.shape}.")
        difference, mean = first - second, (first + second) / 2.0
        for group, colour in zip(np.unique(labels), _COLOURS * len(labels), strict=False):
            own = labels == group
            axis.plot(mean[own], difference[own], ".", markersize=3.5, alpha=0.6, color=colour, label=group)
        bias = difference.mean()
        spread = LIMITS_OF_AGREEMENT * (difference.std(ddof=1) if difference.size > 1 else 0.0)
        axis.axhline(0.0, color="0.75", linewidth=0.8)
        axis.axhline(bias, color="black", linewidth=1.1)
        for limit in (bias - spread, bias + spread):
            axis.axhline(limit, color="black", linewidth=0.9, linestyle="--")
        reach = 1.1 * max(np.abs(difference).max(), abs(bias) + spread, 1e-9)
        axis.set_ylim(-reach, reach)
        axis.set_title(f"{name}\n{bias:+.3g} [{bias - spread:+.3g}, {bias + spread:+.3g}]", fontsize=8)
        axis.tick_params(labelsize=7)
    for axis in grid[len(pairs) :]:
        axis.set_axis_off()
    if groups is not None:
        grid[0].legend(fontsize=7, loc="lower left", framealpha=0.6)
    figure.supxlabel("mean of measured and true", fontsize=9)
    figure.supylabel("measured - true", fontsize=9)
    figure.suptitle(title, fontsize=10)
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=path.suffix.removeprefix(".") or "png", metadata={"Software": None})
    return path
