"""What figures share: a sheet, a grid of panels, measures against their truth, and a file with the same bytes again."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path

FloatArray = npt.NDArray[np.float64]

COLOURS = ("#b5426b", "#2f6f9f", "#777777", "#4c956c", "#c9822b", "#6a4c93", "#1b998b", "#3d3d3d")
"""Of groups or arms, in their order."""
_COLUMNS = 5


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure in inches of its own, not pyplot's, which keeps every figure alive; ``options`` of matplotlib's."""
    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int) -> Path:
    """Write a figure whole or not at all; a PNG, or what the ending says. PNGs have the same bytes again.

    The figure is cleared afterwards: its parts refer to each other, so that Python would keep hundreds of megabytes of
    outlines and pixels until it happens to look for such circles.
    """
    path = Path(path)
    form = path.suffix.removeprefix(".") or "png"
    _take_texts_as_they_are(figure)
    metadata = {"Software": None} if form == "png" else None  # it would name the version of matplotlib
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=dpi, format=form, metadata=metadata)
    finally:
        figure.clear()
        figure.set_canvas(FigureCanvasBase(figure))  # the other one holds the drawn pixels
    return path


def _take_texts_as_they_are(figure: Figure) -> None:
    """Names of scans and arms may hold dollar signs, between which matplotlib would look for mathematics, and bytes
    that are no characters, which it cannot draw."""
    texts = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        legend = axes.get_legend()
        texts += [axes.title, *axes.texts, axes.xaxis.label, axes.yaxis.label, *(legend.get_texts() if legend else ())]
    for text in texts:
        # not set_parse_math: wrapped texts ignore it
        shown = text.get_text().encode("utf-8", "replace").decode()
        text.set_text(re.sub(r"(?<!\\)\$", r"\\$", shown))


def grid_of_panels(
    panels: int, width: float, height: float, columns: int, heading: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure with panels of ``width`` x ``height`` inches, row by row below a heading.

    Returns:
        The figure and its axes, one a panel.
    """
    rows = math.ceil(panels / columns)
    figure = new_figure(width * columns, height * rows + heading, layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in grid[panels:]:
        axis.set_axis_off()
    return figure, grid[:panels]


class MeasurePanel(NamedTuple):
    """A panel of one measure."""

    axis: Axes
    name: str
    values: FloatArray
    """``(N,)`` as measured or predicted."""
    truth: FloatArray
    """``(N,)``."""


def measure_panels(
    pairs: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], scans: int | None, width: float, height: float
) -> tuple[Figure, list[MeasurePanel]]:
    """A figure with an empty panel for each measure.

    Args:
        pairs: values and their truth, ``(N,)`` each, by the measure's name with its unit.
        scans: N, if all measures must have as many.
        width: of a panel, inches.
        height: of a panel, inches.

    Raises:
        InputError: there is no measure, or the lengths differ.
    """
    if not pairs:
        raise InputError("pairs: expected at least one measure, got none.")
    arrays = {name: [np.asarray(each, dtype=np.float64) for each in pair] for name, pair in pairs.items()}
    for name, (values, truth) in arrays.items():
        if not values.size or values.shape != truth.shape or values.shape != (values.size if scans is None else scans,):
            raise InputError(f"{name}: expected as many values as true ones, got {values.shape} and {truth.shape}.")
    figure, grid = grid_of_panels(len(arrays), width, height, min(_COLUMNS, len(arrays)), heading=0.4)
    return figure, [MeasurePanel(axis, name, *arrays[name]) for axis, name in zip(grid, arrays, strict=True)]


def draw_points(panel: MeasurePanel, x: FloatArray, y: FloatArray, groups: Sequence[str] | None) -> None:
    """A point a scan, coloured by its group (None: all alike)."""
    labels = np.asarray(["all"] * len(x) if groups is None else [str(group) for group in groups])
    for group, colour in zip(np.unique(labels), COLOURS * len(labels), strict=False):
        own = labels == group
        panel.axis.plot(x[own], y[own], ".", markersize=3.5, alpha=0.6, color=colour, label=group)
    panel.axis.tick_params(labelsize=7)


def label_figure(figure: Figure, x: str, y: str, title: str) -> None:
    """Name what all panels have on their axes."""
    figure.supxlabel(x, fontsize=9)
    figure.supylabel(y, fontsize=9)
    figure.suptitle(title, fontsize=10)
