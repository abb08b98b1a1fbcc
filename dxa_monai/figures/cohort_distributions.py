"""Distributions of a cohort's body size, composition and bone, beside published means and spreads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.own_matplotlib import in_own_style

_COLOURS = ("tab:red", "tab:blue", "tab:green", "tab:orange")
_BINS = 30


class Mark(NamedTuple):
    """A published mean and standard deviation (None: unknown) of a group, drawn solid if it was ``looked_up``."""

    group: str
    quantity: str
    mean: float
    sd: float | None
    looked_up: bool


@in_own_style
def write_distributions(
    groups: Mapping[str, Mapping[str, npt.NDArray[np.floating]]],
    labels: Mapping[str, str],
    marks: Sequence[Mark],
    path: str | Path,
) -> Path:
    """Draw histograms of every quantity, a colour a group, published mean and +-1 sd as a bar above each.

    Args:
        groups: values ``(N,)`` by quantity, by the name of a group; four groups at most.
        labels: name and unit of each quantity to draw.
        marks: published values; those of other groups or quantities are left out.
        path: PNG file to write.

    Returns:
        ``path``.
    """
    path = Path(path)
    columns = -(-len(labels) // 2)
    figure = new_figure(2.75 * columns, 5.6, facecolor="white")
    colours = dict(zip(groups, _COLOURS, strict=False))
    for axis, (quantity, label) in zip(figure.subplots(2, columns, squeeze=False).flat, labels.items(), strict=False):
        everybody = np.concatenate([values[quantity] for values in groups.values()])
        edges = np.linspace(everybody.min(), everybody.max(), _BINS + 1)
        top = 0.0
        for name, values in groups.items():
            count, _, _ = axis.hist(values[quantity], edges, density=True, color=colours[name], alpha=0.45, label=name)
            top = max(top, float(np.max(count)))
        for line, name in enumerate(groups):
            for mark in marks:
                if (mark.group, mark.quantity) == (name, quantity):
                    axis.errorbar(
                        mark.mean,
                        top * (1.10 + 0.09 * line),
                        xerr=mark.sd,
                        fmt="o" if mark.looked_up else "D",
                        markerfacecolor=colours[name] if mark.looked_up else "white",
                        color=colours[name],
                        markersize=4,
                        capsize=3,
                    )
        axis.set_xlabel(label, fontsize=8)
        axis.set_yticks([])
        axis.set_ylim(0.0, (1.12 + 0.09 * len(groups)) * top)
        axis.tick_params(labelsize=7)
        for side in ("left", "right", "top"):
            axis.spines[side].set_visible(False)
    figure.axes[0].legend(fontsize=7, frameon=False)
    figure.suptitle(
        "Virtual people (histograms) and published mean +- sd (dots; hollow: from memory, unchecked)", fontsize=9
    )
    figure.tight_layout()
    return save_figure(figure, path, dpi=110)
