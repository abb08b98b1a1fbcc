"""The raw whole-body DXA scan: channels, bit depth, grid, and what cannot be right.

A raw scan holds six log-attenuation images. In memory it is float32 ``(6, 150, 109)`` in [0, 1]; on disk it is unsigned
14-bit ``(150, 109, 6)``, channel last, the layout of the published code. 1.0 = 16383 counts = 12 nepers relative to the
open beam in the air segment, above the scanner's zero: what it reads in open air (electronics, table, mat) need not be
0. Rows run from head to feet, columns from the patient's right to left.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError

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
"""Nominal distance between rows and between columns (195 x 66 cm field); override it if the scanner says otherwise."""

_BODY_COUNTS = 0.5 / FULL_SCALE_NEPERS * FULL_SCALE_COUNTS
"""How far a pixel lies above the open air to be called body: 0.5 nepers, about 2.5 cm of soft tissue at 60 keV."""
_BACKGROUND_PERCENTILE = 5.0
_FEWEST_BODY_ROWS = 20
_UPSIDE_DOWN_CENTRE, _UPSIDE_DOWN_LEGS, _UPSIDE_DOWN_HEAD = 0.52, 0.6, 0.6
_SMALLEST_BODY_FRACTION = 0.01
"""With fewer body pixels than this a scan is taken as empty, so that a few bad pixels judge nothing."""


def pixel_area_cm2(pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM) -> float:
    """Area of one pixel in cm2."""
    return pixel_spacing_mm[0] * pixel_spacing_mm[1] / 100.0


def counts_to_unit(counts: Array) -> npt.NDArray[np.float32]:
    """Counts 0..16383 as float32 in [0, 1]: ``counts / 16383``. :func:`unit_to_counts` undoes it exactly."""
    return (np.asarray(counts, dtype=np.float64) / FULL_SCALE_COUNTS).astype(np.float32)


def channels_first(counts: Array) -> npt.NDArray[np.float32]:
    """A scan as networks and physics take it: counts ``(H, W, 6)`` as contiguous float32 ``(6, H, W)`` in [0, 1]."""
    return np.ascontiguousarray(np.moveaxis(counts_to_unit(counts), -1, 0))


def unit_to_counts(unit: Array) -> npt.NDArray[np.uint16]:
    """Finite values in [0, 1] as counts: ``unit * 16383``, rounded to the nearest count and clipped to 0..16383."""
    counts = np.rint(np.asarray(unit, dtype=np.float64) * FULL_SCALE_COUNTS)
    return np.clip(counts, 0, FULL_SCALE_COUNTS).astype(np.uint16)


def channel_index(channels: Sequence[str], source: object) -> list[int]:
    """Where each channel of ``CHANNELS`` stands in a scan whose channels are declared to be ``channels``.

    Raises:
        InputError: ``channels`` is not a permutation of ``CHANNELS``.
    """
    declared = [str(name) for name in channels]
    if sorted(declared) != sorted(CHANNELS):
        raise InputError(
            f"{source}: expected the channels {', '.join(CHANNELS)} in any order, got {', '.join(declared) or 'none'}."
        )
    return [declared.index(name) for name in CHANNELS]


def checked_zero_counts(zero_counts: Sequence[float]) -> tuple[float, ...]:
    """What each channel of ``CHANNELS`` reads in open air, as a user declares it.

    Raises:
        InputError: not six numbers in 0..16383.
    """
    try:
        values = tuple(float(value) for value in zero_counts)
    except (TypeError, ValueError, OverflowError):
        values = ()
    if len(values) != len(CHANNELS) or not all(0 <= value <= FULL_SCALE_COUNTS for value in values):
        raise InputError(
            f"zero_counts: expected what {', '.join(CHANNELS)} read in open air, six numbers in "
            f"0..{FULL_SCALE_COUNTS}, got {zero_counts}."
        )
    return values


def check_counts(
    array: Array,
    source: object,
    spatial_shape: tuple[int, int] | None = SCAN_SHAPE,
    channels: Sequence[str] = CHANNELS,
) -> npt.NDArray[np.uint16]:
    """The array as a raw scan with its channels in the order of ``CHANNELS``, if it can be one.

    Args:
        array: counts, channel last; see :func:`as_counts`.
        source: path or name that an error sentence begins with.
        spatial_shape: rows and columns that a scan must have; None takes any.
        channels: order of the channels in ``array``. It is declared, never guessed.

    Returns:
        uint16 ``(H, W, 6)``, C-contiguous.

    Raises:
        InputError: shape, type or values cannot be counts (:func:`as_counts`), the channel names are wrong
            (:func:`channel_index`), low and high energy are swapped (:func:`check_energy_order`) or the feet come
            first (:func:`check_upright`).
    """
    index = channel_index(channels, source)
    counts = np.ascontiguousarray(as_counts(array, source, spatial_shape)[..., index])
    seen = body_pixels(counts)
    check_energy_order(counts, source, seen)
    check_upright(counts, source, seen)
    return counts


def as_counts(
    array: Array, source: object, spatial_shape: tuple[int, int] | None = SCAN_SHAPE
) -> npt.NDArray[np.uint16]:
    """The array as uint16 counts, if shape, type and values allow it without loss.

    Any integer type is taken, and floats that hold whole numbers, since image tools like to store integers that way.
    Fractions (a scan already divided by 16383) are refused rather than rescaled.

    Args:
        array: ``(H, W, 6)``.
        source: path or name that an error sentence begins with.
        spatial_shape: rows and columns that a scan must have; None takes any.

    Raises:
        InputError: another shape, a type that holds no numbers, NaN or infinity, fractions, or values outside 0..16383.
    """
    array = np.asarray(array)
    rows, columns = ("H", "W") if spatial_shape is None else spatial_shape
    channels = len(CHANNELS)
    if array.ndim != 3 or array.shape[2] != channels or 0 in array.shape:
        raise InputError(f"{source}: expected counts of shape ({rows}, {columns}, {channels}), got {array.shape}.")
    if spatial_shape is not None and array.shape[:2] != tuple(spatial_shape):
        raise InputError(f"{source}: expected counts of shape ({rows}, {columns}, {channels}), got {array.shape}.")
    if array.dtype.kind not in "uif":
        raise InputError(f"{source}: expected integer counts 0..{FULL_SCALE_COUNTS}, got type {array.dtype}.")
    if array.dtype.kind == "f":
        bad = np.count_nonzero(~np.isfinite(array))
        if bad:
            raise InputError(f"{source}: expected integer counts, got {bad} values that are NaN or infinite.")
        fractions = np.count_nonzero(array != np.rint(array))
        if fractions:
            raise InputError(
                f"{source}: expected integer counts 0..{FULL_SCALE_COUNTS}, "
                f"got {array.dtype} with {fractions} fractions between {array.min():.6g} and {array.max():.6g}."
            )
    low, high = array.min(), array.max()
    if low < 0 or high > FULL_SCALE_COUNTS:
        raise InputError(f"{source}: expected counts in 0..{FULL_SCALE_COUNTS}, got {low:.0f}..{high:.0f}.")
    return array.astype(np.uint16)


Body = tuple[npt.NDArray[np.float32], float, npt.NDArray[np.bool_]]
"""What :func:`body_pixels` finds."""


def body_pixels(counts: Array) -> Body:
    """Mean of all channels ``(H, W)``, its level in air (5th percentile), and where it lies 0.5 nepers above: the body.

    Args:
        counts: ``(H, W, 6)``.
    """
    pixels = np.asarray(counts, dtype=np.float32)
    attenuation = pixels @ np.full(len(CHANNELS), 1.0 / len(CHANNELS), np.float32)
    air = float(np.percentile(attenuation, _BACKGROUND_PERCENTILE))
    return attenuation, air, attenuation > air + _BODY_COUNTS


def check_energy_order(counts: Array, source: object, seen: Body | None = None) -> None:
    """Refuse a scan whose low-energy channels attenuate less than its high-energy ones.

    X-rays of the lower tube voltage are attenuated more in every material of a body, so over the body the median of
    ``low - high`` is positive in every segment, of what lies above the open air: zeros of channels differ. Open air is
    the 5 % of the pixels with the lowest mean of all channels, which a swap does not change; body is where that mean
    lies 0.5 nepers above. An inverted scan passes that, but reads more at the sides of the field than in the middle and
    low energy below high energy as it is; it is refused, too. A scan with less than 1 % of body is taken as empty and
    not judged.

    Args:
        counts: ``(H, W, 6)``, channels as in ``CHANNELS``.
        source: path or name that an error sentence begins with.
        seen: of :func:`body_pixels`, where that is known; None: it is found.

    Raises:
        InputError: the median is not positive in some segment, or the scan is inverted.
    """
    pixels = np.asarray(counts, dtype=np.float32)
    attenuation, air, body = body_pixels(pixels) if seen is None else seen
    if np.count_nonzero(body) < _SMALLEST_BODY_FRACTION * body.size:
        return
    inside, zero = pixels[body], pixels[attenuation <= air].mean(axis=0)
    as_read = inside[:, LOW_CHANNELS] - inside[:, HIGH_CHANNELS]
    in_air = zero[[*LOW_CHANNELS]] - zero[[*HIGH_CHANNELS]]
    if all((np.count_nonzero(as_read > level, axis=0) > len(as_read) / 2).all() for level in (0.0, in_air)):
        return  # where most are positive the median is: no need to sort
    difference = np.median(as_read, axis=0)
    if not ((difference <= 0).any() and _is_inverted(attenuation)):
        difference = difference - in_air
    swapped = [f"{segment} {value:+.0f}" for segment, value in zip(SEGMENTS, difference, strict=True) if value <= 0]
    if swapped:
        raise InputError(
            f"{source}: expected low energy to attenuate more than high energy in the body, "
            f"got a median of low minus high of {', '.join(swapped)} counts (are the channels in another order?)."
        )


def check_upright(counts: Array, source: object, seen: Body | None = None) -> None:
    """Refuse a scan whose rows run from feet to head.

    That takes three signs of it, each of which is far from what bodies show that lie as they should (the figures are of
    300 virtual adults, children and amputees, the right way up): the body's centre of attenuation lies in its lower
    half (at 0.39 to 0.45 of its height from the top), most rows of its first fifth show two parts or more beside each
    other, as legs are (none do), and those of its last fifth one, as a head is (hardly any do). Legs that touch
    everywhere, or one that is missing, hide it. That left and right are exchanged no scan shows.

    Args:
        counts: ``(H, W, 6)``, channels as in ``CHANNELS``.
        source: path or name that an error sentence begins with.
        seen: of :func:`body_pixels`, where that is known; None: it is found.

    Raises:
        InputError: all three signs are there.
    """
    attenuation, air, body = body_pixels(counts) if seen is None else seen
    rows = np.flatnonzero(body.any(axis=1))
    if np.count_nonzero(body) < _SMALLEST_BODY_FRACTION * body.size or len(rows) < _FEWEST_BODY_ROWS:
        return
    place = (rows - rows[0] + 0.5) / (rows[-1] - rows[0] + 1.0)
    mass = np.where(body, attenuation - air, 0.0).sum(axis=1)[rows]
    parts = np.count_nonzero(body[:, 1:] & ~body[:, :-1], axis=1) + body[:, 0]
    first, last = parts[rows[place < 0.2]], parts[rows[place > 0.8]]
    heavy_below = float(mass @ place / mass.sum()) > _UPSIDE_DOWN_CENTRE
    if heavy_below and np.mean(first >= 2) > _UPSIDE_DOWN_LEGS and np.mean(last == 1) > _UPSIDE_DOWN_HEAD:
        raise InputError(
            f"{source}: expected rows from head to feet, got a body whose legs come first: turn its rows over."
        )


def _is_inverted(attenuation: npt.NDArray[np.float32]) -> bool:
    """Whether the sides of the field, a tenth of it each, read more than its middle fifth."""
    side, middle = max(attenuation.shape[1] // 10, 1), attenuation.shape[1] // 2
    sides = np.concatenate([attenuation[:, :side], attenuation[:, -side:]], axis=1)
    return float(np.median(sides)) > float(np.median(attenuation[:, max(middle - side, 0) : middle + side]))
