"""Where a person's values stand: percentiles over age, a panel a measure, and the value as a dot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dxa_monai.analysis.reference_curves import PERCENTILES, ReferenceCurves
from dxa_monai.figures.panels import COLOURS, grid_of_panels, save_figure
from dxa_monai.own_matplotlib import in_own_style
from dxa_monai.scan.measures import measure_label

_AGES = 61


@in_own_style
def reference_figure(
    reference: ReferenceCurves,
    values: Mapping[str, float],
    woman: bool,
    age_years: float,
    path: str | Path,
    dpi: int = 110,
) -> Path:
    """Write a panel for each measure that has a value and a curve: percentiles of people of the same sex over age.

    Args:
        reference: the curves.
        values: of the person, by measure.
        woman: whether these are of women.
        age_years: of the person.
        path: image file.
        dpi: dots per inch.

    Returns:
        ``path``.
    """
    curves = {name: reference.curves[name, woman] for name in values if (name, woman) in reference.curves}
    figure, axes = grid_of_panels(len(curves), 2.6, 2.4, 3)
    for axis, (measure, curve) in zip(axes, curves.items(), strict=True):
        ages = np.linspace(curve.age_years[0], curve.age_years[-1], _AGES)
        for percentile in PERCENTILES:
            line = curve.value(percentile, ages)
            axis.plot(ages, line, color=COLOURS[1], linewidth=1.6 if percentile == 50 else 0.7)
            axis.annotate(str(percentile), (ages[-1], line[-1]), (2, -2), textcoords="offset points", fontsize=6)
        axis.plot(age_years, values[measure], "o", color=COLOURS[0], markersize=6)
        axis.set_title(measure_label(measure), fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
    figure.supxlabel("age (years)", fontsize=8)
    return save_figure(figure, path, dpi)
