"""The paper's figure 2: a scan, what each arm makes of it, and where it errs, channel by channel.

Leong et al., "Quantitative Imaging Principles Improves Medical Image Learning", arXiv 2206.06663.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.metrics.image_quality import psnr_db
from dxa_monai.own_matplotlib import in_own_style
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_NEPERS, PIXEL_SPACING_MM

PANEL_WIDTH_INCHES = 0.85
GAP_INCHES = 0.05
LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, BOTTOM_INCHES = 0.45, 0.75, 0.45, 0.08
ERROR_QUANTILE = 0.995
"""Share of the error pixels, of all arms and channels, that the colour scale spans; the rest saturates."""

Scan = npt.NDArray[np.floating]


def error_percent(prediction: Scan, target: Scan) -> npt.NDArray[np.float64]:
    """Signed error in percent of the channel's range in the target: ``100 (prediction - target) / (max - min)``.

    Percent of each pixel's own value would depend on the scanner's zero, and be noise over nothing in the background of
    one that reads 0 there; percent of the range is defined everywhere and comparable between channels.

    Args:
        prediction: ``(6, H, W)``.
        target: ``(6, H, W)``; a channel without any contrast is taken to have the range 1, full scale.

    Returns:
        ``(6, H, W)``, positive where the prediction is too high.
    """
    truth = np.asarray(target, dtype=np.float64)
    span = np.ptp(truth, axis=(1, 2), keepdims=True)
    return 100 * (np.asarray(prediction, dtype=np.float64) - truth) / np.where(span > 0, span, 1.0)


@in_own_style
def comparison_figure(
    target: Scan,
    reconstructions: Mapping[str, Scan],
    path: str | Path,
    pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM,
    channels: Sequence[str] = CHANNELS,
    dpi: int = 200,
) -> Path:
    """Write a figure with a column for each channel and the rows original, then reconstruction and error of each arm.

    Originals and reconstructions of a channel share one grey scale, the range of the original, which stands under the
    channel's name in nepers, with the scanner's zero in it: open air is black whatever it reads. All error maps share
    one symmetric colour scale (see :func:`error_percent`).

    Args:
        target: the original scan, ``(6, H, W)`` in [0, 1].
        reconstructions: the same scan by name of the arm, in the order of the rows.
        path: of the image, whose ending says the format (``.png``, ``.pdf``, ...).
        pixel_spacing_mm: distance between rows and between columns.
        channels: names of the channels.
        dpi: dots per inch.

    Returns:
        ``path``.

    Raises:
        InputError: there is no reconstruction, or one differs from the original in shape.
    """
    original = np.asarray(target, dtype=np.float64)
    arms = {arm: np.asarray(image, dtype=np.float64) for arm, image in reconstructions.items()}
    _check(original, arms, channels)
    errors = {arm: error_percent(image, original) for arm, image in arms.items()}
    limit = max(float(np.quantile(np.abs(np.stack(list(errors.values()))), ERROR_QUANTILE)), 1e-6)

    field_cm = (original.shape[1] * pixel_spacing_mm[0] / 10, original.shape[2] * pixel_spacing_mm[1] / 10)
    row_count = 1 + 2 * len(arms)
    figure, axes = _grid(row_count, len(channels), panel_height_inches=PANEL_WIDTH_INCHES * field_cm[0] / field_cm[1])
    greys = [(channel.min(), channel.max()) for channel in original]
    _image_row(axes[0], original, greys, field_cm, "original")
    for index, (arm, image) in enumerate(arms.items()):
        quality = psnr_db(torch.as_tensor(image)[None], torch.as_tensor(original)[None]).item()
        _image_row(axes[1 + 2 * index], image, greys, field_cm, f"{arm}\n{quality:.1f} dB")
        _error_row(figure, axes[2 + 2 * index], errors[arm], limit, field_cm, f"{arm}\nerror")
    for axis, name, (low, high) in zip(axes[0], channels, greys, strict=True):
        nepers = f"{low * FULL_SCALE_NEPERS:.1f} to {high * FULL_SCALE_NEPERS:.1f} Np"
        axis.set_title(f"{name.replace('_', ', ')}\n{nepers}", fontsize=8)

    return save_figure(figure, path, dpi)


def _check(original: Scan, arms: Mapping[str, Scan], channels: Sequence[str]) -> None:
    if not arms:
        raise InputError("reconstructions: expected at least one arm, got none.")
    if original.ndim != 3 or len(original) != len(channels):
        raise InputError(f"target: expected a scan of shape ({len(channels)}, H, W), got {original.shape}.")
    for arm, image in arms.items():
        if image.shape != original.shape:
            raise InputError(f"{arm}: expected a reconstruction of shape {original.shape}, got {image.shape}.")


def _grid(rows: int, columns: int, panel_height_inches: float) -> tuple[Figure, npt.NDArray[np.object_]]:
    """A figure of its own (not pyplot's, which keeps every figure alive) with panels of the body's proportions."""
    inner_width = columns * PANEL_WIDTH_INCHES + (columns - 1) * GAP_INCHES
    inner_height = rows * panel_height_inches + (rows - 1) * GAP_INCHES
    width, height = LEFT_INCHES + inner_width + RIGHT_INCHES, TOP_INCHES + inner_height + BOTTOM_INCHES
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=LEFT_INCHES / width,
        right=1 - RIGHT_INCHES / width,
        top=1 - TOP_INCHES / height,
        bottom=BOTTOM_INCHES / height,
        wspace=GAP_INCHES / PANEL_WIDTH_INCHES,
        hspace=GAP_INCHES / panel_height_inches,
    )
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_linewidth(0.5)
    return figure, axes


def _image_row(
    axes: Sequence[Axes], image: Scan, greys: Sequence[tuple[float, float]], field_cm: tuple[float, float], label: str
) -> None:
    extent = (0.0, field_cm[1], field_cm[0], 0.0)
    for axis, channel, (low, high) in zip(axes, image, greys, strict=True):
        axis.imshow(channel, cmap="gray", vmin=low, vmax=high, extent=extent, aspect="equal", interpolation="nearest")
    axes[0].set_ylabel(label, fontsize=8)


def _error_row(
    figure: Figure, axes: Sequence[Axes], error: Scan, limit: float, field_cm: tuple[float, float], label: str
) -> None:
    """Error maps and, to the right of the last one, their colour bar."""
    extent = (0.0, field_cm[1], field_cm[0], 0.0)
    for axis, channel in zip(axes, error, strict=True):
        drawn = axis.imshow(
            channel, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=extent, aspect="equal", interpolation="nearest"
        )
    axes[0].set_ylabel(label, fontsize=8)
    last = axes[-1].get_position()
    beside = figure.add_axes((last.x1 + 0.015, last.y0, 0.015, last.height))
    bar = figure.colorbar(drawn, cax=beside, extend="both")
    bar.set_label("error, % of the channel's range", fontsize=7)
    bar.ax.tick_params(labelsize=7, width=0.5)
