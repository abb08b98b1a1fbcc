"""The paper's figure 3, a body scan and the raw DXA scan predicted from it, and a page of several people.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663, section 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dxa_monai.errors import InputError
from dxa_monai.figures.arm_comparison import ERROR_QUANTILE, error_percent
from dxa_monai.figures.mesh_view import draw_mesh
from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.metrics.image_quality import psnr_db
from dxa_monai.own_matplotlib import in_own_style
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_NEPERS, PIXEL_SPACING_MM

Scan = npt.NDArray[np.floating]

CHANNEL_OF_PAGE = "tissue_low"
PEOPLE_IN_A_ROW = 2
DPI = 160


@dataclass(frozen=True, eq=False)
class Prediction:
    """A body, its scan and what was predicted.

    Attributes:
        name: stands beside it.
        mesh: the body.
        target: ``(6, H, W)`` in [0, 1], the true scan; None where there is none.
        predicted: ``(6, H, W)``.
    """

    name: str
    mesh: BodyMesh
    target: Scan | None
    predicted: Scan

    @property
    def error(self) -> npt.NDArray[np.float64]:
        """Signed error in percent of each channel's range, ``(6, H, W)``."""
        if self.target is None:
            raise InputError(f"{self.name}: expected a true scan, got none.")
        return error_percent(self.predicted, self.target)

    @property
    def psnr_db(self) -> float:
        """Of all channels."""
        if self.target is None:
            return float("nan")
        return psnr_db(torch.as_tensor(self.predicted)[None], torch.as_tensor(self.target)[None]).item()


@in_own_style
def prediction_figure(
    prediction: Prediction, path: str | Path, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> Path:
    """Write figure 3: the mesh at the left; six channels of the scan, of the prediction and of its error beside it.

    Scan and prediction of a channel share one grey scale, the range of the scan: open air is black whatever it reads.
    All errors share one symmetric scale. Without a true scan the prediction stands alone.

    Args:
        prediction: a person.
        path: of the image, whose ending says the format.
        pixel_spacing_mm: distance between rows and between columns.

    Returns:
        ``path``.
    """
    target = prediction.target
    rows = [("predicted", prediction.predicted)] if target is None else [("scan", target), ("", prediction.predicted)]
    extent = _field_cm(prediction.predicted, pixel_spacing_mm)
    has_error = target is not None
    height = 2.6 * (len(rows) + has_error)
    figure = new_figure(2.8 + 0.95 * len(CHANNELS) + 0.6, height + 0.5)
    grid = figure.add_gridspec(
        len(rows) + has_error,
        2 + len(CHANNELS),
        width_ratios=[2.8, *[0.95] * len(CHANNELS), 0.1],
        wspace=0.06,
        hspace=0.04,
        left=0.01,
        right=0.93,
        top=1 - 0.45 / (height + 0.5),
        bottom=0.01,
    )
    body = figure.add_subplot(grid[:, 0])
    draw_mesh(body, prediction.mesh)
    body.set_title(f"{prediction.name}\n{prediction.mesh.height_m:.2f} m", fontsize=8)
    greys = [(channel.min(), channel.max()) for channel in rows[0][1]]
    for index, (label, image) in enumerate(rows):
        label = label or f"predicted\n{prediction.psnr_db:.1f} dB"
        for place, (channel, grey) in enumerate(zip(image, greys, strict=True)):
            axes = figure.add_subplot(grid[index, 1 + place])
            _show(axes, channel, extent, grey, "gray")
            if place == 0:
                axes.set_ylabel(label, fontsize=8)
            if index == 0:
                nepers = f"{grey[0] * FULL_SCALE_NEPERS:.1f} to {grey[1] * FULL_SCALE_NEPERS:.1f} Np"
                axes.set_title(f"{CHANNELS[place].replace('_', ', ')}\n{nepers}", fontsize=7)
    if has_error:
        error = prediction.error
        limit = _limit(error)
        for place, channel in enumerate(error):
            axes = figure.add_subplot(grid[len(rows), 1 + place])
            drawn = _show(axes, channel, extent, (-limit, limit), "RdBu_r")
            if place == 0:
                axes.set_ylabel("error", fontsize=8)
        _bar(figure, drawn, figure.add_subplot(grid[len(rows), 1 + len(CHANNELS)]))
    return save_figure(figure, path, DPI)


@in_own_style
def people_page(
    people: Sequence[Prediction], path: str | Path, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> Path:
    """Write a page of people: mesh, one channel of the scan, what was predicted, and its error.

    Grey and error scales are the same for all, so that people can be compared.

    Args:
        people: each with a true scan.
        path: of the image.
        pixel_spacing_mm: distance between rows and between columns.

    Returns:
        ``path``.

    Raises:
        InputError: there is nobody, or somebody has no true scan.
    """
    if not people:
        raise InputError("people: expected at least one, got none.")
    channel = CHANNELS.index(CHANNEL_OF_PAGE)
    errors = [person.error[channel] for person in people]
    limit = _limit(np.stack(errors))
    targets = np.stack([np.asarray(person.target)[channel] for person in people])
    grey = (float(targets.min()), float(targets.max()))
    extent = _field_cm(people[0].predicted, pixel_spacing_mm)
    rows = -(-len(people) // PEOPLE_IN_A_ROW)
    panels = ("body", "scan", "predicted", "error")
    widths = ([1.7, 0.8, 0.8, 0.8, 0.15] * PEOPLE_IN_A_ROW)[:-1]
    width, height = sum(widths) + 0.9, 2.3 * rows + 0.3
    figure = new_figure(width, height)
    grid = figure.add_gridspec(
        rows, len(widths), width_ratios=widths, wspace=0.04, hspace=0.12,
        left=0.005, right=1 - 0.85 / width, top=1 - 0.35 / height, bottom=0.005,
    )  # fmt: skip
    for index, (person, error) in enumerate(zip(people, errors, strict=True)):
        row, block = index // PEOPLE_IN_A_ROW, (len(panels) + 1) * (index % PEOPLE_IN_A_ROW)
        body, scan, predicted, wrong = (figure.add_subplot(grid[row, block + place]) for place in range(len(panels)))
        draw_mesh(body, person.mesh)
        body.set_title(f"{person.name}, {person.psnr_db:.1f} dB", fontsize=7)
        _show(scan, np.asarray(person.target)[channel], extent, grey, "gray")
        _show(predicted, person.predicted[channel], extent, grey, "gray")
        drawn = _show(wrong, error, extent, (-limit, limit), "RdBu_r")
        if row == 0:
            for axes, label in zip((scan, predicted, wrong), panels[1:], strict=True):
                axes.set_title(label, fontsize=7)
    _bar(figure, drawn, figure.add_axes((1 - 0.7 / width, 0.35, 0.12 / width, 0.3)))
    return save_figure(figure, path, DPI)


def _field_cm(scan: Scan, pixel_spacing_mm: tuple[float, float]) -> tuple[float, float, float, float]:
    rows, columns = scan.shape[1:]
    return 0.0, columns * pixel_spacing_mm[1] / 10, rows * pixel_spacing_mm[0] / 10, 0.0


def _limit(errors: npt.NDArray[np.float64]) -> float:
    return max(float(np.quantile(np.abs(errors), ERROR_QUANTILE)), 1e-6)


def _show(
    axes: Axes, image: Scan, extent: tuple[float, float, float, float], limits: tuple[float, float], colours: str
) -> Any:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)
    return axes.imshow(
        image, cmap=colours, vmin=limits[0], vmax=limits[1], extent=extent, aspect="equal", interpolation="nearest"
    )


def _bar(figure: Figure, drawn: Any, axes: Axes) -> None:
    bar = figure.colorbar(drawn, cax=axes, extend="both")
    bar.set_label("error, % of the channel's range", fontsize=7)
    bar.ax.tick_params(labelsize=7, width=0.5)
