"""One-dimensional profiles of an image: means over bands, and where a profile passes a level."""

from __future__ import annotations

import numpy as np

from dxa_monai.analysis.upright import BoolArray, FloatArray


def first_crossing(
    profile: FloatArray, level: float, start: int, stop: int, *, rising: bool, step: int = 1
) -> float | None:
    """Sub-pixel index where ``profile`` first passes ``level`` on the way from ``start`` to ``stop``."""
    for index in range(start, stop + step, step):
        if not 0 <= index < len(profile):
            return None
        if (profile[index] > level) == rising and profile[index] != level:
            if index == start:
                return float(start)
            before, after = profile[index - step], profile[index]
            return float(index - step + step * (level - before) / (after - before))
    return None


def band_mean(image: FloatArray, band: BoolArray) -> FloatArray:
    """``(H,)`` mean of each row over the pixels of ``band``; 0 where the row has none."""
    mean: FloatArray = (image * band).sum(axis=1) / np.maximum(band.sum(axis=1), 1)
    return mean
