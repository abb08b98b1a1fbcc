"""A scan with its cut lines: what was taken for which region, to be judged at a glance."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dxa_monai.analysis.landmarks import LANDMARK_NAMES, Landmarks, cut_lines
from dxa_monai.analysis.segments import Point
from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.own_matplotlib import in_own_style
from dxa_monai.scan.format import Array
from dxa_monai.scan.regions import Region, android_gynoid
from dxa_monai.scan.trunk_parts import trunk_parts

REGION_COLOURS = {
    Region.HEAD: "#e8a33d",
    Region.LEFT_ARM: "#4fb3bf",
    Region.RIGHT_ARM: "#4fb3bf",
    Region.LEFT_LEG: "#7fb069",
    Region.RIGHT_LEG: "#7fb069",
    Region.RIBS: "#d1608c",
    Region.SPINE: "#f2e863",
    Region.PELVIS: "#a78bda",
}
"""Of outlines on a grey picture."""
REGION_LABELS = {
    Region.HEAD: "head",
    Region.LEFT_ARM: "L arm",
    Region.RIGHT_ARM: "R arm",
    Region.LEFT_LEG: "L leg",
    Region.RIGHT_LEG: "R leg",
    Region.RIBS: "ribs",
    Region.SPINE: "spine",
    Region.PELVIS: "pelvis",
}
"""Short, for pictures."""
_BEHIND_LABELS = {"facecolor": "black", "alpha": 0.45, "pad": 0.8, "linewidth": 0}
"""White letters are read on thick tissue, too, which is white."""
_LINE, _DOT, _BAND, _POLYGON = "#37d6ff", "#ff4d3d", "#ffffff", "#ffb000"
BRIGHTEST_BONE_G_CM2 = 1.5
"""White in a picture of bone mineral."""


_TITLE_CHARACTERS = 95
"""In a line."""


@in_own_style
def write_region_overlay(
    areal_density_g_cm2: Array,
    region_map: Array,
    landmarks: Landmarks | None,
    pixel_spacing_mm: tuple[float, float],
    path: str | Path,
    polygons: Mapping[str, Sequence[Point]] | None = None,
    title: str = "",
) -> Path:
    """Write a PNG of two panels: soft tissue with the coloured, labelled regions; bone with cut lines and landmarks.

    Dashed lines bound android (A), gynoid (G) and the lumbar spine (L).

    Args:
        areal_density_g_cm2: ``(3, H, W)`` fat, lean and bone mineral.
        region_map: ``(H, W)`` integers of :class:`dxa_monai.scan.regions.Region`.
        landmarks: of this image; None draws no lines (none were found).
        pixel_spacing_mm: (row, column).
        path: PNG file to write.
        polygons: the user's polygons in pixels, by name.
        title: stands above the panels, for example the scan and its quality flags.

    Returns:
        ``path``.
    """
    path = Path(path)
    density, regions = np.nan_to_num(np.asarray(areal_density_g_cm2, dtype=np.float64)), np.asarray(region_map)
    row_mm, column_mm = pixel_spacing_mm
    tissue = np.maximum(density[0] + density[1], 0.0)
    height, width = tissue.shape
    panel_height = 8.0
    panel_width = panel_height * width * column_mm / (height * row_mm)
    figure = new_figure(2.0 * panel_width + 0.3, panel_height + 0.5, facecolor="white")
    top = panel_height / (panel_height + 0.5)
    share = panel_width / (2.0 * panel_width + 0.3)
    brightest = max(float(np.quantile(tissue, 0.995)), 1e-3)
    images = ((tissue, brightest, "soft tissue"), (density[2], BRIGHTEST_BONE_G_CM2, "bone mineral"))
    axes = []
    for index, (image, highest, name) in enumerate(images):
        axis = figure.add_axes((index * (1.0 - share), 0.0, share, top))
        axis.imshow(image, cmap="gray", vmin=0.0, vmax=highest, aspect=row_mm / column_mm, interpolation="nearest")
        axis.set_axis_off()
        axis.text(2, 2, name, color="white", fontsize=8, va="top")
        axes.append(axis)
    _draw_regions(axes[0], regions)
    if landmarks is not None:
        for lines in cut_lines(landmarks).values():
            for (row_a, column_a), (row_b, column_b) in lines:
                axes[1].plot([column_a, column_b], [row_a, row_b], color=_LINE, linewidth=0.9)
        points = np.array([landmarks.point(name) for name in LANDMARK_NAMES])
        axes[1].plot(points[:, 1], points[:, 0], ".", color=_DOT, markersize=4)
    for axis in axes:
        for name, outline in (polygons or {}).items():
            closed = np.array([*outline, outline[0]])
            axis.plot(closed[:, 1], closed[:, 0], color=_POLYGON, linewidth=1.2)
            row, column = closed[:-1].mean(axis=0)
            axis.text(column, row, name, color=_POLYGON, fontsize=6, ha="center", va="center", clip_on=True)
        axis.set_xlim(-0.5, width - 0.5)
        axis.set_ylim(height - 0.5, -0.5)
    wraps = "$" not in title  # matplotlib takes dollar signs for mathematics while it wraps, whatever it was told
    if not wraps:
        title = "\n".join(textwrap.fill(line, _TITLE_CHARACTERS) for line in title.splitlines())
    figure.text(0.5, 0.5 * (1.0 + top), title, ha="center", va="center", fontsize=8, wrap=wraps)
    return save_figure(figure, path, dpi=110)


def _draw_regions(axis: Axes, regions: Array) -> None:
    """Outline and label every region, and mark the android and the gynoid band and the lumbar spine."""
    for region, colour in REGION_COLOURS.items():
        mask = np.asarray(regions == region)
        if not mask.any():
            continue
        # Outlines follow the pixels' edges: each pixel becomes a block, so that a contour cannot cut corners.
        block = np.kron(np.pad(mask, 1).astype(float), np.ones((8, 8)))
        rows = (np.arange(block.shape[0]) + 0.5) / 8.0 - 1.5
        columns = (np.arange(block.shape[1]) + 0.5) / 8.0 - 1.5
        axis.contour(columns, rows, block, [0.5], colors=[colour], linewidths=0.8)
        # The label stands on the region's most inward pixel of its middle row, which is inside even if it is curved.
        inside = np.argwhere(mask)
        row = int(np.median(inside[:, 0]))
        column = float(np.median(inside[inside[:, 0] == row, 1])) if (inside[:, 0] == row).any() else 0.0
        if region is Region.RIBS:
            across = inside[inside[:, 0] == row, 1]
            column = float(across[: max(len(across) // 2, 1)].mean())
        turned = 90.0 if region in (Region.SPINE, Region.LEFT_ARM, Region.RIGHT_ARM) else 0.0
        axis.text(
            column, row, REGION_LABELS[region], color="white", fontsize=7, ha="center", va="center", rotation=turned,
            bbox=_BEHIND_LABELS,
        )  # fmt: skip
    bands = (*android_gynoid(regions), trunk_parts(regions)["lumbar_spine"])
    for name, share in zip("AGL", bands, strict=True):
        if share.any():
            axis.contour(share, [0.5], colors=[_BAND], linewidths=0.8, linestyles="dashed")
            row, column = np.argwhere(share > 0.5)[-1]
            axis.text(column + 1.5, row, name, color=_BAND, fontsize=7, va="bottom", bbox=_BEHIND_LABELS)
