"""A hyper-parameter search at one glance: its course, what matters, and where the good settings lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import grid_of_panels, save_figure
from dxa_monai.own_matplotlib import in_own_style

_COLOURS = {"complete": "#2f6f9f", "pruned": "#c9822b"}
_BEST_COLOUR = "#b5426b"
_COLUMNS = 3


@in_own_style
def search_figure(
    table: pd.DataFrame,
    path: str | Path,
    metric: str,
    parameters: Sequence[str],
    greater_is_better: bool = True,
    logarithmic: Collection[str] = (),
    importances: Mapping[str, float] | None = None,
    dpi: int = 130,
) -> Path:
    """Write the optimisation history, the parameters' importances and a slice a parameter.

    Values far behind the best are drawn on the edge of the axes.

    Args:
        table: one row a trial: ``trial, state``, the metric (best validation value) and the parameters.
        path: image file.
        metric: column of the table.
        parameters: columns of the table, numbers or names of choices.
        greater_is_better: False for an error.
        logarithmic: parameters that are drawn on a logarithmic axis.
        importances: by parameter, sum 1; None: too few trials to tell.
        dpi: dots per inch.

    Returns:
        ``path``.

    Raises:
        InputError: there is no complete trial.
    """
    shown = table[table["state"].isin(_COLOURS) & table[metric].notna()]
    complete = shown[shown["state"] == "complete"]
    if complete.empty:
        raise InputError("table: expected at least one complete trial, got none.")
    figure, grid = grid_of_panels(len(parameters) + 2, 4.0, 3.1, _COLUMNS)
    # trials that went wrong would flatten all others: they are drawn on the edge
    limits = _limits(complete[metric], greater_is_better)
    shown = shown.assign(**{metric: shown[metric].clip(*limits)})
    complete = complete.assign(**{metric: complete[metric].clip(*limits)})
    _draw_history(grid[0], shown, complete, metric, greater_is_better)
    _draw_importances(grid[1], parameters, importances)
    best_row = complete.loc[complete[metric].idxmax() if greater_is_better else complete[metric].idxmin()]
    for axis, name in zip(grid[2:], parameters, strict=True):
        _draw_slice(axis, shown, best_row, metric, name, name in logarithmic)
    for axis in (grid[0], *grid[2:]):
        axis.set_ylim(*limits)
        axis.set_ylabel(f"{metric}, validation people", fontsize=8)
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
    return save_figure(figure, path, dpi)


def _limits(values: pd.Series, greater_is_better: bool) -> tuple[float, float]:
    """From the best value to the worst of the better three quarters, with a margin."""
    best = values.max() if greater_is_better else values.min()
    worst = values.quantile(0.25 if greater_is_better else 0.75)
    margin = 0.35 * abs(best - worst) or 0.05 * abs(best) or 1.0
    return (worst - margin, best + margin) if greater_is_better else (best - margin, worst + margin)


def _draw_history(axis: Axes, shown: pd.DataFrame, complete: pd.DataFrame, metric: str, greater: bool) -> None:
    for state, colour in _COLOURS.items():
        own = shown[shown["state"] == state]
        axis.plot(own["trial"], own[metric], "o", markersize=4, color=colour, label=state)
    so_far = complete[metric].cummax() if greater else complete[metric].cummin()
    axis.step(complete["trial"], so_far, where="post", color=_BEST_COLOUR, linewidth=1.2, label="best so far")
    axis.set_xlabel("trial", fontsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title("course of the search", fontsize=9)
    axis.legend(fontsize=7)


def _draw_importances(axis: Axes, parameters: Sequence[str], importances: Mapping[str, float] | None) -> None:
    axis.set_title("importance", fontsize=9)
    if importances is None:
        axis.text(0.5, 0.5, "too few complete trials", ha="center", va="center", fontsize=9, color="#777777")
        axis.set_axis_off()
        return
    order = sorted(parameters, key=lambda name: importances.get(name, 0.0))
    lines = [name.replace("#", "\n#") for name in order]
    bars = axis.barh(lines, [importances.get(name, 0.0) for name in order], color=_COLOURS["complete"])
    axis.bar_label(bars, fmt="%.2f", fontsize=8, padding=2)
    axis.set_xlim(0.0, 1.15 * max([importances.get(name, 0.0) for name in order] + [1e-9]))
    axis.tick_params(labelsize=8)


def _draw_slice(axis: Axes, shown: pd.DataFrame, best: pd.Series, metric: str, name: str, logarithmic: bool) -> None:
    as_numbers = pd.to_numeric(shown[name], errors="coerce")
    # choices are drawn side by side, in the order of their size where they have one
    labels = [] if not shown[name].map(lambda value: isinstance(value, str)).any() else _in_order(shown[name])
    places = shown[name].map({label: place for place, label in enumerate(labels)}) if labels else as_numbers
    for state, colour in _COLOURS.items():
        own = shown["state"] == state
        axis.plot(places[own], shown.loc[own, metric], "o", markersize=4, color=colour, alpha=0.8)
    axis.plot(places[best.name], best[metric], "o", markersize=9, fillstyle="none", color=_BEST_COLOUR)
    if labels:
        axis.set_xticks(range(len(labels)), labels)
        axis.set_xlim(-0.5, len(labels) - 0.5)
    elif logarithmic:
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 300.0 * low else (1.0,)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel(name, fontsize=8)


def _in_order(values: pd.Series) -> list[str]:
    distinct = list(dict.fromkeys(values))
    numbers = pd.to_numeric(pd.Series(distinct), errors="coerce")
    return sorted(distinct, key=float) if numbers.notna().all() else sorted(distinct)
