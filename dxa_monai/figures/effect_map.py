"""What each effect of a scanner does to the numbers, at one glance: a table of coloured fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.own_matplotlib import in_own_style

FIELD_COLOURS = {"accurate": "#cfe3d2", "told": "#f2c14e", "standing": "#fbe9bd", "silent": "#d9534f"}
"""By verdict; ``standing`` is told by nothing but a warning that every scan of the calibration has."""
_MEANING = {
    "accurate": "accurate",
    "told": "wrong, and flagged or refused",
    "standing": "wrong, and only warned that no phantom was scanned",
    "silent": "wrong without a word",
}
_CALIBRATIONS = {"phantom": "calibrated with the step phantom", "run": "calibrated with people's scans"}
_MEASURES = {"fat": "fat", "lean": "lean", "bmc": "BMC"}
_ROW_INCHES, _FIELD_INCHES, _LABEL_INCHES, _HEAD_INCHES, _MARGIN_INCHES = 0.2, 0.95, 3.3, 1.15, 0.1
_GAP_FIELDS = 0.15
"""Between two calibrations, in fields."""


@in_own_style
def effect_map_figure(
    table: pd.DataFrame, path: str | Path, titles: Mapping[str, str], title: str = "", dpi: int = 130
) -> Path:
    """Write a row an effect and strength and a field a calibration and measure, with its bias and colour.

    A field shows the bias over the scans with numbers, and R2 beside it unless the measure is accurate.

    Args:
        table: of :func:`dxa_monai.evaluation.scanner_effects_table.effects_table`.
        path: image file.
        titles: of the effects.
        title: above the table.
        dpi: dots per inch.

    Returns:
        ``path``.

    Raises:
        InputError: the table is empty.
    """
    if table.empty:
        raise InputError("table: expected at least one effect, got none.")
    fields = [(each, short) for each in dict.fromkeys(table["calibration"]) for short in _MEASURES]
    lefts = [index + index // len(_MEASURES) * _GAP_FIELDS for index in range(len(fields))]
    cells = list(dict.fromkeys(zip(table["effect"], table["strength"], strict=True)))
    across, down = lefts[-1] + 1.0, len(cells)
    width = _LABEL_INCHES + across * _FIELD_INCHES + _MARGIN_INCHES
    height = _HEAD_INCHES + down * _ROW_INCHES + _MARGIN_INCHES
    figure = new_figure(width, height)
    box = (_LABEL_INCHES / width, _MARGIN_INCHES / height, across * _FIELD_INCHES / width, down * _ROW_INCHES / height)
    axis = figure.add_axes(box)
    axis.set_xlim(0.0, across)
    axis.set_ylim(down, 0.0)
    axis.set_axis_off()
    by_cell = table.set_index(["effect", "strength", "calibration"])
    for left, (calibration, short) in zip(lefts, fields, strict=True):
        axis.text(left + 0.5, -0.3, _MEASURES[short], ha="center", va="bottom", fontsize=8)
        if short == "lean":
            axis.text(
                left + 0.5, -1.4, _CALIBRATIONS.get(calibration, calibration), ha="center", va="bottom", fontsize=9
            )
        for top, cell in enumerate(cells):
            if (*cell, calibration) in by_cell.index:
                _draw_field(axis, left, top, by_cell.loc[(*cell, calibration)], short)
    _label_rows(axis, cells, titles, across)
    _draw_legend(figure, width, height)
    figure.text(0.5, 1.0 - 0.12 / height, title, ha="center", va="top", fontsize=10)
    return save_figure(figure, path, dpi)


def _draw_field(axis: Axes, left: float, top: int, row: Any, short: str) -> None:
    verdict = row[f"{short}_passes"]
    look = "standing" if verdict == "told" and row["warning"] == "standing" else verdict
    axis.add_patch(Rectangle((left, top), 1.0, 1.0, facecolor=FIELD_COLOURS[look], edgecolor="white", linewidth=1))
    bias, r2 = row[f"{short}_bias_percent"], row[f"{short}_r2"]
    if pd.isna(bias):
        words = "no numbers"
    else:
        words = f"{round(bias, 1) + 0.0:+.1f}" + ("*" if row["refused_share"] > 0 else "")
        if verdict != "accurate" and pd.notna(r2):
            words += f" ({r2:.3f})" if r2 > 0 else " (< 0)"
    colour = "white" if verdict == "silent" else "black"
    axis.text(left + 0.5, top + 0.52, words, ha="center", va="center", fontsize=7, color=colour)


def _label_rows(axis: Axes, cells: list[tuple[str, str]], titles: Mapping[str, str], across: float) -> None:
    """The strengths beside their fields, and each effect's title once, under a line."""
    for top, (effect, strength) in enumerate(cells):
        axis.text(-0.08, top + 0.52, strength, ha="right", va="center", fontsize=7.5)
        if top == 0 or cells[top - 1][0] != effect:
            start = -(_LABEL_INCHES - _MARGIN_INCHES) / _FIELD_INCHES
            axis.text(start, top + 0.52, titles[effect], ha="left", va="center", fontsize=8)
            axis.plot([start, across], [top, top], color="0.6", linewidth=0.6, clip_on=False)


def _draw_legend(figure: Figure, width: float, height: float) -> None:
    handles = [Rectangle((0, 0), 1, 1, facecolor=FIELD_COLOURS[name], label=words) for name, words in _MEANING.items()]
    figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.3 / height),
        ncols=len(handles),
        fontsize=8,
        frameon=False,
    )
    note = "in brackets: R2, where a measure misses its bar\n*: some scans have no numbers"
    figure.text(
        _MARGIN_INCHES / width, 1.0 - (_HEAD_INCHES - 0.1) / height, note, fontsize=7, va="bottom", color="0.35"
    )
