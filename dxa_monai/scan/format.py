"""The raw whole-body DXA scan: channels, bit depth, grid, and what cannot be right.

A raw scan holds six log-attenuation images. In memory it is float32 ``(6, 150, 109)`` in [0, 1]; on disk it is unsigned
14-bit ``(150, 109, 6)``, channel last, the layout of the published code. 1.0 = 16383 counts = 12 nepers relative to the
open beam in the air segment. Rows run from head to feet, columns from the patient's right to left.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

CHANNELS = ("air_high", "air_low", "bone_high", "bone_low", "tissue_high", "tissue_low")
"""Order of the six channels: calibration segment in the beam x X-ray energy."""

SEGMENTS = ("air", "bone", "tissue")
HIGH_CHANNELS = (0, 2, 4)
"""Indices of the high-energy channels, in the order of ``SEGMENTS``."""
LOW_CHANNELS = (1, 3, 5)
"""Indices of the low-energy channels, in the order of ``SEGMENTS``."""

FULL_SCALE_COUNTS = 2**14 - 1
FULL_SCALE_NEPERS = 12.0

SCAN_SHAPE = (150, 109)
"""Rows and columns of a whole-body scan."""
PIXEL_SPACING_MM = (13.0, 6.06)
"""Nominal distance between rows and between columns (195 x 66 cm field); override it where the scanner says otherwise."""


def pixel_area_cm2(pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM) -> float:
    """Area of one pixel in cm2."""
    return pixel_spacing_mm[0] * pixel_spacing_mm[1] / 100.0
