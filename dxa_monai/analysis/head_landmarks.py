"""The head of an upright scan and the neck line, from the silhouette and the lower jaw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dxa_monai.analysis.profiles import first_crossing
from dxa_monai.analysis.upright import UprightScan

HEAD_WIDTH_RANGE_MM = (90.0, 260.0)
"""Silhouettes outside this range are no head of a child or an adult (breadth 5th to 95th percentile 13 to 17 cm)."""
NECK_WIDENING = 1.1
"""The neck ends where the silhouette is this much wider than at its narrowest."""
JAW_TO_NECK_MM = 35.0
"""From the lower edge of the jaw's angles to the neck line."""


@dataclass(frozen=True)
class Head:
    """The head's silhouette: rows of its top, of the neck line; its width and its middle column."""

    top: float
    neck: float
    width_mm: float
    column: float
    flags: tuple[str, ...]


def find_head(scan: UprightScan) -> Head | None:
    """Head and neck line, or None where the silhouette has no head on shoulders."""
    row_mm, column_mm = scan.pixel_spacing_mm
    width = scan.body.sum(axis=1) * column_mm
    rows = np.flatnonzero(width > 0.0)
    if rows.size == 0:
        return None
    top = int(rows[0])
    first, reach = top + round(100.0 / row_mm), round(65.0 / row_mm)
    widest_above = np.maximum.accumulate(width)
    shoulder = next(
        (row for row in range(first, int(rows[-1])) if width[row] > 1.45 * widest_above[row - reach]),
        None,
    )
    if shoulder is None:
        return None
    widest = top + int(np.argmax(width[top : shoulder - reach + 1]))
    head_mm = float(width[widest])
    if not HEAD_WIDTH_RANGE_MM[0] <= head_mm <= HEAD_WIDTH_RANGE_MM[1]:
        return None
    narrowest = widest + int(np.argmin(width[widest : shoulder + 1]))
    columns = np.arange(scan.body.shape[1])
    column = float(np.average(columns, weights=scan.body[top : narrowest + 1].sum(axis=0)))

    flags: list[str] = []
    if width[narrowest] > 0.92 * head_mm:
        flags.append("neck_unclear")
    neck = first_crossing(width, NECK_WIDENING * width[narrowest], narrowest, shoulder, rising=True)
    beside = np.abs(columns - column) * column_mm
    jaw_profile = scan.bone_g_cm2[:, (beside > head_mm / 6.0) & (beside < head_mm / 3.0)].mean(axis=1)
    densest = top + int(np.argmax(jaw_profile[top : narrowest + 1]))
    jaw = first_crossing(jaw_profile, 0.2 * jaw_profile[densest], densest, shoulder, rising=False)
    if neck is None:
        neck = float(shoulder) - 1.0
        flags.append("neck_guessed")
    if jaw is None or jaw_profile[densest] < 0.2 or abs(jaw + JAW_TO_NECK_MM / row_mm - neck) > 50.0 / row_mm:
        flags.append("jaw_not_found")
    else:
        neck = 0.5 * (neck + jaw + JAW_TO_NECK_MM / row_mm)
    if {"neck_unclear", "jaw_not_found"} <= set(flags):
        return None
    return Head(float(top), float(neck), head_mm, column, tuple(flags))
