"""Predicted against true measures, and what more training people bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path

_COLOURS = ("#b5426b", "#2f6f9f", "#777777", "#4c956c", "#c9822b", "#6a4c93", "#1b998b", "#3d3d3d")
_COLUMNS = 5


def scatter_figure(
    pairs: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]],
    path: str | Path,
    groups: Sequence[str],
    title: str = "",
    dpi: int = 130,
) -> Path:
    """Write a panel a measure: predicted over true, with the line of identity, R2 and RMSE.

    Args:
        pairs: ``(predicted, truth)``, ``(N,)`` each, by the measure's name with its unit.
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
    figure = Figure(figsize=(2.7 * columns, 2.6 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    labels = np.asarray(groups)
    for axis, (name, (predicted, truth)) in zip(grid, pairs.items(), strict=False):
        made, true = np.asarray(predicted, dtype=np.float64), np.asarray(truth, dtype=np.float64)
        if not made.size or not made.shape == true.shape == labels.shape:
            raise InputError(f"{name}: expected as many predicted as true values, got {made.shape} and {true.shape}.")
        for group, colour in zip(np.unique(labels), _COLOURS * len(labels), strict=False):
            own = labels == group
            axis.plot(true[own], made[own], ".", markersize=3.5, alpha=0.6, color=colour, label=str(group))
        ends = [min(true.min(), made.min()), max(true.max(), made.max())]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        squared_error = np.square(made - true)
        spread = np.square(true - true.mean()).sum()
        r2 = 1.0 - squared_error.sum() / spread if spread > 0.0 else math.nan
        axis.set_title(f"{name}\nR² {r2:.3f}, RMSE {math.sqrt(squared_error.mean()):.3g}", fontsize=8)
        axis.set_aspect("equal", adjustable="box")
        axis.tick_params(labelsize=7)
    for axis in grid[len(pairs) :]:
        axis.set_axis_off()
    grid[0].legend(fontsize=7, loc="upper left", framealpha=0.6)
    figure.supxlabel("true", fontsize=9)
    figure.supylabel("predicted", fontsize=9)
    figure.suptitle(title, fontsize=10)
    return _save(figure, path, dpi)


def learning_curve_figure(
    table: pd.DataFrame,
    path: str | Path,
    value: str = "r2",
    label: str = "R², mean of measures, people held out",
    lowest: float = 0.0,
    dpi: int = 130,
) -> Path:
    """Write the curve of each arm over the number of training pairs, with its interval.

    Args:
        table: one row an arm and number: ``arm, training_pairs`` and ``value`` with ``_low`` and ``_high``.
        path: image file.
        value: column that is drawn.
        label: of the vertical axis.
        lowest: what lies below is not shown (an arm that failed would flatten all others).
        dpi: dots per inch.

    Returns:
        ``path``.

    Raises:
        InputError: the table is empty.
    """
    if table.empty:
        raise InputError("table: expected at least one arm, got none.")
    figure = Figure(figsize=(6.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    arms = list(dict.fromkeys(table["arm"]))
    for place, (arm, colour) in enumerate(zip(arms, _COLOURS * len(arms), strict=False)):
        curve = table[table["arm"] == arm].sort_values("training_pairs")
        shifted = curve["training_pairs"] * 1.02 ** (place - len(arms) / 2)  # so that intervals do not hide each other
        reach = [curve[value] - curve[f"{value}_low"], curve[f"{value}_high"] - curve[value]]
        axis.errorbar(shifted, curve[value], reach, fmt="o-", markersize=4, capsize=2, color=colour, label=arm)
    counts = sorted(table["training_pairs"].unique())
    axis.set_xscale("log")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(bottom=max(lowest, float(table[f"{value}_low"].min()) - 0.02))
    axis.set_xlabel("training pairs")
    axis.set_ylabel(label)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    return _save(figure, path, dpi)


def _save(figure: Figure, path: str | Path, dpi: int) -> Path:
    path = Path(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=path.suffix.removeprefix(".") or "png", metadata={"Software": None})
    return path
