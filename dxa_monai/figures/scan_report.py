"""The picture of a body-composition report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dxa_monai.analysis.composition import BodyComposition
from dxa_monai.analysis.segments import Point
from dxa_monai.figures.region_overlay import write_region_overlay


def composition_figure(
    composition: BodyComposition,
    title: str,
    pixel_spacing_mm: tuple[float, float],
    polygons: Mapping[str, Sequence[Point]],
    path: Path,
) -> Path:
    """Write soft tissue with the regions and bone with the cut lines; the arguments are those of a report's picture.

    Args:
        composition: the analysis of a scan.
        title: stands above the panels.
        pixel_spacing_mm: (row, column).
        polygons: the user's regions in pixels.
        path: PNG file.
    """
    return write_region_overlay(
        composition.areal_density_g_cm2,
        composition.region_map,
        composition.landmarks,
        pixel_spacing_mm,
        path,
        polygons,
        title,
    )
