"""How far the two energies of a scan see the scene displaced against each other, and how that is undone.

The phases of the tube follow each other while the scanner moves. A displacement d of the low-energy image makes it read
more on one side of everything that attenuates and less on the other:

    y_low(x) - f(y_high(x)) ~ -d . grad y_low(x)                                                        (1)

with f what low energy reads where high energy reads y on average (a smooth curve through all pixels). d is the least
squares of (1) in bands of rows, and then what the bands agree on: both sides of a body weigh the same, so that fat on
the one and bone on the other side of an edge does not look like a displacement, and the end of a bone counts once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.physics.forward import along_axis, shift_matrix
from dxa_monai.scan.format import CHANNELS, LOW_CHANNELS, PIXEL_SPACING_MM

FloatArray = npt.NDArray[np.float64]

_AIR_HIGH, _AIR_LOW = CHANNELS.index("air_high"), CHANNELS.index("air_low")
_BODY_NEPERS, _THICK_NEPERS = 0.05, 7.0
_CURVE_DEGREE = 5
_MOST_GRADIENT = 1.0
"""Nepers a pixel: where the image changes by more, the first order of (1) does not hold."""
SMALLEST_SHIFT_MM = (0.3, 0.03)
"""Along rows and columns: what a body whose energies agree shows at most (30 virtual people)."""
_SMALL_PIXELS = 0.05
_BAND_ROWS, _FEWEST_BANDS, _LEAST_WEIGHT = 8, 4, 0.05
_LEAST_SLOPE = 0.01
"""Nepers a pixel, root mean square: below, a band shows noise and no edges; bands of bodies have 0.01 to 0.3."""
_SD_OF_MAD, _SD_OF_MEDIAN, _SURE = 1.4826, 1.2533, 2.5
_MOST_PIXELS = 0.5
"""A larger displacement than this is no small one, and is not undone."""


class EnergyShift(NamedTuple):
    """By how much the low-energy image of a scan lies displaced against the high-energy one.

    Attributes:
        rows_mm: towards higher rows.
        columns_mm: towards higher columns.
        rows_error_mm: standard error.
        columns_error_mm: standard error.
    """

    rows_mm: float
    columns_mm: float
    rows_error_mm: float
    columns_error_mm: float


def energy_shift(nepers: torch.Tensor, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM) -> EnergyShift:
    """Measure the displacement of a scan's energies, up to half a pixel.

    Args:
        nepers: ``(6, H, W)`` log attenuation above the zero.
        pixel_spacing_mm: distance between rows and between columns.
    """
    high, low = nepers[[_AIR_HIGH, _AIR_LOW]].detach().cpu().numpy()
    shift, error = _step(high, low)
    shift = np.clip(shift, -_MOST_PIXELS, _MOST_PIXELS)
    if (np.abs(shift) > _SMALL_PIXELS).any():
        # The first order of (1) has left a part of a large one.
        further, error = _step(high, _moved(low, -shift))
        shift = np.clip(shift + further, -_MOST_PIXELS, _MOST_PIXELS)
    rows, columns = (shift * pixel_spacing_mm).tolist()
    rows_error, columns_error = (error * pixel_spacing_mm).tolist()
    return EnergyShift(rows, columns, rows_error, columns_error)


def believed_shift_mm(measured: Sequence[EnergyShift], expected_mm: tuple[float, float]) -> tuple[float, float]:
    """What scans of one scanner say where they are sure that it is not what is expected, along rows and columns.

    Args:
        measured: of one scan or several.
        expected_mm: the scanner's.
    """
    values = np.median(np.array(measured), axis=0)
    error = np.maximum(_SURE * values[2:], SMALLEST_SHIFT_MM) / len(measured) ** 0.5
    sure = np.abs(values[:2] - expected_mm) > error
    rows, columns = np.where(sure, values[:2], expected_mm).tolist()
    return rows, columns


def shift_back(
    raw: torch.Tensor, shift_mm: tuple[float, float], pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> torch.Tensor:
    """A scan whose low-energy channels are moved back.

    Args:
        raw: ``(B, 6, H, W)``.
        shift_mm: of :func:`believed_shift_mm`.
        pixel_spacing_mm: distance between rows and between columns.
    """
    if not any(shift_mm):
        return raw
    low = raw[:, list(LOW_CHANNELS)]
    for axis, shift, spacing in zip((2, 3), shift_mm, pixel_spacing_mm, strict=True):
        if shift:
            low = along_axis(low, axis, shift_matrix(raw.shape[axis], -shift / spacing).to(raw))
    moved = raw.clone()
    moved[:, list(LOW_CHANNELS)] = low
    return moved


def _step(high: FloatArray, low: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Least squares of equation (1) along rows and columns, ``(2,)`` pixels, and its standard error."""
    body = (high > _BODY_NEPERS) & (low < _THICK_NEPERS)
    if body.sum() < _CURVE_DEGREE * 10:
        return np.zeros(2), np.full(2, np.inf)
    place = high / _THICK_NEPERS
    powers = np.stack([place[body] ** power for power in range(_CURVE_DEGREE + 1)])
    curve = np.linalg.solve(powers @ powers.T + 1e-6 * np.eye(len(powers)), powers @ low[body])
    left = np.where(body, low - np.polynomial.polynomial.polyval(place, curve), 0.0)
    found, error = np.zeros(2), np.zeros(2)
    for axis in range(2):
        slope = np.gradient(low, axis=axis)
        used = _inner(body & (np.abs(slope) < _MOST_GRADIENT), axis)
        if axis == 0:
            # A body is not alike from head to feet: only what changes from row to row is compared.
            slope, compared = _detail(slope), _detail(left)
        else:
            compared = left
        weight, pixels = _band_sums(slope**2 * used), _band_sums(used)
        shown = np.where(weight > _LEAST_SLOPE**2 * pixels, weight, 0.0)
        found[axis], error[axis] = _agreed(-_band_sums(slope * compared * used), shown)
    return found, error


def _band_sums(image: npt.NDArray[Any]) -> FloatArray:
    """Sums over bands of rows."""
    return np.asarray(np.add.reduceat(image.sum(axis=1), np.arange(0, len(image), _BAND_ROWS)))


def _agreed(numerator: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Weighted median of the bands' displacements, and its standard error by how much they disagree.

    The end of a bone or of a lung in one band looks like a displacement there; a scanner displaces all of them.
    """
    bands = (weight > 0.0) & (weight >= _LEAST_WEIGHT * weight.max(initial=0.0))
    if bands.sum() < _FEWEST_BANDS:
        return 0.0, np.inf
    each, weight = numerator[bands] / weight[bands], weight[bands]
    order = np.argsort(each)
    along = np.cumsum(weight[order])
    median = float(each[order][np.searchsorted(along, along[-1] / 2.0)])
    spread = _SD_OF_MAD * float(np.median(np.abs(each - median)))
    return median, _SD_OF_MEDIAN * spread / len(each) ** 0.5


def _detail(image: FloatArray) -> FloatArray:
    """What a pixel differs by from the mean of those above and below it."""
    return image - (np.roll(image, 1, 0) + np.roll(image, -1, 0)) / 2.0


def _inner(mask: npt.NDArray[np.bool_], axis: int) -> npt.NDArray[np.bool_]:
    return np.asarray(mask & np.roll(mask, 1, axis) & np.roll(mask, -1, axis))


def _moved(image: FloatArray, shift: FloatArray) -> FloatArray:
    rows, columns = (shift_matrix(size, float(part)).numpy() for size, part in zip(image.shape, shift, strict=True))
    return rows @ image @ columns.T
