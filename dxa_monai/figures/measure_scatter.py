"""Predicted against true measures, and what more training people bring."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.ticker import NullFormatter

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import COLOURS, draw_points, label_figure, measure_panels, new_figure, save_figure
from dxa_monai.own_matplotlib import in_own_style


@in_own_style
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
    figure, panels = measure_panels(pairs, len(groups), 2.7, 2.6)
    for panel in panels:
        axis, name, made, true = panel
        draw_points(panel, true, made, groups)
        ends = [min(true.min(), made.min()), max(true.max(), made.max())]
        axis.plot(ends, ends, color="black", linewidth=0.8)
        squared_error = np.square(made - true)
        spread = np.square(true - true.mean()).sum()
        r2 = 1.0 - squared_error.sum() / spread if spread > 0.0 else math.nan
        axis.set_title(f"{name}\nR² {r2:.3f}, RMSE {math.sqrt(squared_error.mean()):.3g}", fontsize=8)
        axis.set_aspect("equal", adjustable="box")
    panels[0].axis.legend(fontsize=7, loc="upper left", framealpha=0.6)
    label_figure(figure, "true", "predicted", title)
    return save_figure(figure, path, dpi)


@in_own_style
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
    figure = new_figure(6.2, 4.2, layout="constrained")
    axis = figure.subplots()
    arms = list(dict.fromkeys(table["arm"]))
    for place, (arm, colour) in enumerate(zip(arms, COLOURS * len(arms), strict=False)):
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
    return save_figure(figure, path, dpi)
