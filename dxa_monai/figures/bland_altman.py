"""Bland-Altman plots: difference over mean of two methods.

Bland JM, Altman DG. Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dxa_monai.figures.panels import draw_points, label_figure, measure_panels, save_figure
from dxa_monai.own_matplotlib import in_own_style

LIMITS_OF_AGREEMENT = 1.96


@in_own_style
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
    figure, panels = measure_panels(pairs, None if groups is None else len(groups), 2.9, 2.4)
    for panel in panels:
        axis, difference = panel.axis, panel.values - panel.truth
        draw_points(panel, (panel.values + panel.truth) / 2.0, difference, groups)
        bias = difference.mean()
        spread = LIMITS_OF_AGREEMENT * (difference.std(ddof=1) if difference.size > 1 else 0.0)
        axis.axhline(0.0, color="0.75", linewidth=0.8)
        axis.axhline(bias, color="black", linewidth=1.1)
        for limit in (bias - spread, bias + spread):
            axis.axhline(limit, color="black", linewidth=0.9, linestyle="--")
        reach = 1.1 * max(np.abs(difference).max(), abs(bias) + spread, 1e-9)
        axis.set_ylim(-reach, reach)
        axis.set_title(f"{panel.name}\n{bias:+.3g} [{bias - spread:+.3g}, {bias + spread:+.3g}]", fontsize=8)
    if groups is not None:
        panels[0].axis.legend(fontsize=7, loc="lower left", framealpha=0.6)
    label_figure(figure, "mean of measured and true", "measured - true", title)
    return save_figure(figure, path, dpi)
