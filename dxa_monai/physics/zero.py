"""The zero of a scan: what each channel reads where the beam meets nothing but the table, found in the open air.

A reading is log attenuation above a zero that is not 0: the electronics' own, the table and its mat, and drifts of the
gain since the scanner was normalised. In the open air, around the body,

    reading_c(row, column) = level_c + along_rows_e(row) + along_columns_e(column) + noise                     (1)

with one level for each channel c and two profiles for each energy e: gain changes alike behind all segments of the
wheel, because all six readings of a pixel come from one detector within milliseconds. Profiles are smooth plus what
stands out of the noise (rows that jitter, columns whose detectors differ); both have the mean 0 over the air.

A scanner whose zero is exactly 0 writes no negative counts: its air channels are cut off there and tell half of the
truth. Profiles then come from the wheel's channels, and the level from the odds of a reading of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solveh_banded
from scipy.ndimage import binary_dilation
from scipy.special import erf

from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, HIGH_CHANNELS, LOW_CHANNELS

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ENERGIES = (HIGH_CHANNELS, LOW_CHANNELS)
AIR_NEPERS = 0.02
"""How far a pixel may lie above the zero and still be air: 0.1 g/cm2 of soft tissue."""
FEWEST_AIR_PIXELS = 100
_ROUNDED_CHANNELS = [CHANNELS.index("air_low"), CHANNELS.index("bone_high")]
"""Two are enough to see how coarse an export is."""
_AIR_MARGIN = np.ones((5, 5), dtype=bool)
"""Air is two pixels away from anything that attenuates."""
_LOWEST_SHARE = 0.03
"""Of a row's or column's pixels: where least is read, there is air, even beside the widest body."""
_LOWEST_LINES, _ROUGH_SPREAD_NEPERS = 0.05, 3.0 * AIR_NEPERS
"""Rows or columns that certainly hold air, and how far others may lie above them and still do."""
_ROUGH_DEGREE, _ROUGH_ROUNDS = 5, 6
_FIT_ROUNDS = 2
_SAME_AIR = 0.002
"""Share of the pixels that may be air in one estimate and not in the next: profiles hardly depend on them."""
_WALK_NEPERS = 3e-4
"""How much a smooth profile may change from one row or column to the next (one standard deviation)."""
_CUT_OFF_SHARE = 0.2
"""Of the air pixels of an air channel that read 0 counts: from there on the channel is cut off."""
_BISECTIONS = 20
_TABLE_STEP_NEPERS = (0.05, 0.6)
"""0.3 to 3 g/cm2 of table and mat."""
_BESIDE_COLUMNS, _FLAT_ROWS = 3, 0.4
_EVERY_ROW, _END_ROWS = 3, 1
_TABLE_STEP_ROWS, _TABLE_STEP_ALIKE = 0.6, 0.3
"""A table's edge is a step of so much between columns, within so much of it in so many rows: no body is so straight."""
_SMALLEST_SIDE = 0.05
"""Share of the air that either side of the body must hold for the profile across columns to be known there."""


@dataclass(frozen=True)
class Zero:
    """Equation (1) of one scan.

    Attributes:
        level_nepers: ``(6,)`` what each channel reads in the open air, segment of the wheel and table included.
        along_rows_nepers: ``(2, H)`` of high and low energy.
        along_columns_nepers: ``(2, W)`` of high and low energy.
        air: ``(H, W)`` bool, the pixels that it was found in.
        noise_nepers: ``(6,)`` standard deviation of a pixel in the air, rounding included.
        rounding_nepers: distance between the values that the export knows.
        cut_off: whether the air channels are cut off at 0 counts.
        table_columns: first and one past the last column that lie on the table; the whole width where no edge shows.
        air_shares: share of the air that lies left and right of the body's middle column.
    """

    level_nepers: FloatArray
    along_rows_nepers: FloatArray
    along_columns_nepers: FloatArray
    air: BoolArray
    noise_nepers: FloatArray
    rounding_nepers: float
    cut_off: bool
    table_columns: tuple[int, int]
    air_shares: tuple[float, float]

    @property
    def enough_air(self) -> bool:
        """Whether there were pixels enough to find it in."""
        return int(self.air.sum()) >= FEWEST_AIR_PIXELS

    @property
    def one_sided(self) -> bool:
        """Whether hardly any air lies on one side of the body."""
        return min(self.air_shares) < _SMALLEST_SIDE

    @property
    def wheel_nepers(self) -> FloatArray:
        """``(6,)`` what each channel's segment attenuates beyond the air segment, if all channels of an energy have one
        zero; 0 for the air segment's channels."""
        return np.asarray(self.level_nepers - np.tile(self.level_nepers[:2], len(self.level_nepers) // 2))

    def level_counts(self, full_scale_nepers: float = FULL_SCALE_NEPERS) -> tuple[float, ...]:
        """``level_nepers`` in counts of 14 bits, not below 0, to two digits."""
        return zero_counts_of(self.level_nepers, full_scale_nepers)

    def image_nepers(self) -> FloatArray:
        """``(6, H, W)``: what the channels would read without a body."""
        image = np.empty((len(CHANNELS), *self.air.shape))
        for energy, channels in enumerate(ENERGIES):
            profile = self.along_rows_nepers[energy][:, None] + self.along_columns_nepers[energy][None, :]
            for channel in channels:
                image[channel] = self.level_nepers[channel] + profile
        return image

    def photons(self, variance_per_photon: FloatArray) -> float | None:
        """Photons a pixel that the noise in the air tells of; None where rounding hides it.

        Args:
            variance_per_photon: ``(6,)`` relative variance of each channel in the open air, times photons.
        """
        channels = list(range(2 if self.cut_off else 0, len(CHANNELS)))
        measured = self.noise_nepers[channels] ** 2 - self.rounding_nepers**2 / 12.0
        if (measured < self.rounding_nepers**2 / 12.0 * _LEAST_ABOVE_ROUNDING).any() or (measured <= 0).any():
            return None
        return float(np.exp(np.mean(np.log(variance_per_photon[channels] / measured))))


_LEAST_ABOVE_ROUNDING = 0.2
"""Share of the rounding's variance that the photons' must have to be told from it."""


def zero_counts_of(level_nepers: FloatArray, full_scale_nepers: float = FULL_SCALE_NEPERS) -> tuple[float, ...]:
    """Levels in nepers as counts of 14 bits, not below 0, to two digits."""
    counts = level_nepers / full_scale_nepers * FULL_SCALE_COUNTS
    return tuple(round(max(float(count), 0.0), 2) for count in counts)


def find_zero(raw: npt.NDArray[np.floating], full_scale_nepers: float = FULL_SCALE_NEPERS) -> Zero:
    """The zero of a scan from its open air.

    Args:
        raw: ``(6, H, W)`` in [0, 1], columns that read nothing already filled in.
        full_scale_nepers: what a raw value of 1 means.

    Returns:
        The zero; look at ``enough_air`` before it is used. Nothing is refused here.
    """
    raw = np.asarray(raw)
    nepers = np.multiply(raw, full_scale_nepers, dtype=np.float64)
    rounding = _rounding_counts(raw[_ROUNDED_CHANNELS]) / FULL_SCALE_COUNTS * full_scale_nepers
    mean = nepers.mean(axis=0)
    first, stop = _table_columns(mean)
    on_table = np.zeros(mean.shape, dtype=bool)
    on_table[:, first:stop] = True
    rough = np.zeros_like(mean)
    rough[:, first:stop] = _rough_zero(mean[:, first:stop])
    air = _open_air(mean - rough, on_table)
    cut_off = bool(air.any()) and float((raw[:2, air] == 0.0).mean()) > _CUT_OFF_SHARE
    rows, columns = _profiles(nepers, air, cut_off)
    # Once more with what lies above the fitted profile: the rough one may have taken a limb's rim for air.
    above = mean - rows.mean(axis=0)[:, None] - columns.mean(axis=0)
    again = _open_air(above - (float(np.median(above[air])) if air.any() else 0.0), on_table)
    if int(again.sum()) >= FEWEST_AIR_PIXELS and (again != air).mean() > _SAME_AIR:
        air = again
        rows, columns = _profiles(nepers, air, cut_off)
    level, noise = _levels(nepers, air, rows, columns)
    if cut_off:
        for channel in range(2):
            drift = (rows[channel][:, None] + columns[channel])[air]
            noise[channel] = _extrapolated_noise(level[[channel + 2, channel + 4]], noise[[channel + 2, channel + 4]])
            level[channel] = _level_of_cut_off(nepers[channel][air], drift, float(noise[channel]))
    sides = _air_beside(air, (mean - rough > AIR_NEPERS) & on_table)
    return Zero(level, rows, columns, air, noise, rounding, cut_off, (first, stop), sides)


def _open_air(above: FloatArray, on_table: BoolArray) -> BoolArray:
    return ~binary_dilation((above > AIR_NEPERS) | ~on_table, _AIR_MARGIN)


def _air_beside(air: BoolArray, body: BoolArray) -> tuple[float, float]:
    """Shares of the air left and right of the body's middle column."""
    in_column, columns = air.sum(axis=0), np.flatnonzero(body.any(axis=0))
    middle = int(columns.mean()) if columns.size else air.shape[1] // 2
    left, right, every = (float(part.sum()) for part in (in_column[:middle], in_column[middle + 1 :], in_column))
    return left / max(every, 1.0), right / max(every, 1.0)


def _rough_zero(mean: FloatArray) -> FloatArray:
    """``(H, W)`` within a few times the noise: what is least in each row and column, where that is air."""
    rows = _lower_curve(np.quantile(mean, _LOWEST_SHARE, axis=1))
    columns = _lower_curve(np.quantile(mean - rows[:, None], _LOWEST_SHARE, axis=0))
    return rows[:, None] + columns


def _lower_curve(least: FloatArray) -> FloatArray:
    """A smooth curve through the lower ones of values: a body raises what is least in its rows, and lowers none."""
    place = np.linspace(-1.0, 1.0, len(least))
    basis = np.polynomial.legendre.legvander(place, _ROUGH_DEGREE).T
    lowest = np.quantile(least, _LOWEST_LINES)
    kept = least < lowest + _ROUGH_SPREAD_NEPERS
    curve = np.full_like(least, lowest)
    for _ in range(_ROUGH_ROUNDS):
        if kept.sum() <= 2 * len(basis):
            return curve
        used = basis[:, kept]
        curve = np.linalg.solve(used @ used.T + 1e-3 * np.eye(len(basis)), used @ least[kept]) @ basis
        before, kept = kept, least < curve + AIR_NEPERS / 2.0
        if (kept == before).all():
            break
    return curve


def _profiles(nepers: FloatArray, air: BoolArray, cut_off: bool) -> tuple[FloatArray, FloatArray]:
    """Profiles ``(2, H)`` and ``(2, W)`` of equation (1)."""
    rows, columns = np.zeros((2, air.shape[0])), np.zeros((2, air.shape[1]))
    if not air.any():
        return rows, columns
    weight = air.astype(np.float64)
    in_row, in_column = weight.sum(axis=1), weight.sum(axis=0)
    smooth: _SmoothProfiles | None = None
    for energy, channels in enumerate(ENERGIES):
        used = [channel for channel in channels if not (cut_off and channel < 2)]
        values = nepers[used].mean(axis=0)
        values = (values - values[air].mean()) * weight
        deviation = float(_noise(values[None], air)[0])
        smooth = _SmoothProfiles(weight, deviation) if smooth is None else smooth
        rows[energy], columns[energy] = smooth.fit(values.sum(axis=1), values.sum(axis=0))
        left = values - weight * (rows[energy][:, None] + columns[energy])
        for _ in range(_FIT_ROUNDS):
            in_rows = _stands_out(left.sum(axis=1), in_row, deviation)
            left -= weight * in_rows[:, None]
            in_columns = _stands_out(left.sum(axis=0), in_column, deviation)
            left -= weight * in_columns
            rows[energy] += in_rows
            columns[energy] += in_columns
        rows[energy] -= (rows[energy] * in_row).sum() / in_row.sum()
        columns[energy] -= (columns[energy] * in_column).sum() / in_column.sum()
    return rows, columns


def _levels(nepers: FloatArray, air: BoolArray, rows: FloatArray, columns: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Level and noise of each channel, ``(6,)`` each."""
    if not air.any():
        return np.zeros(len(nepers)), np.zeros(len(nepers))
    profile = rows[:, :, None] + columns[:, None, :]
    rest = (nepers - np.tile(profile, (len(nepers) // 2, 1, 1))) * air
    noise = _noise(rest, air)
    # The mean logarithm of a noisy signal lies above the logarithm of its mean.
    return rest.sum(axis=(1, 2)) / air.sum() - noise**2 / 2.0, noise


class _SmoothProfiles:
    """Slow changes along rows and columns, fitted together: random walks, straight where nothing was seen.

    The normal equations are (A, W; W^T, B) with W the air and A, B tridiagonal. Rows are eliminated first, so what is
    left to solve is as large as a scan is wide: (B - W^T A^-1 W) columns = right - W^T A^-1 rows' right.
    """

    def __init__(self, weight: FloatArray, deviation: float) -> None:
        walk = (deviation / _WALK_NEPERS) ** 2
        # A constant may be in either: a little weight on both parts' sizes shares it out.
        least = 1e-6 * weight.sum()
        self._along_rows = _random_walk(weight.sum(axis=1) + least, walk)
        self._carried = solveh_banded(self._along_rows, weight, lower=True)
        along_columns = _random_walk(weight.sum(axis=0) + least, walk)
        neighbours = np.diag(along_columns[1, :-1], -1)
        self._columns_alone = np.diag(along_columns[0]) + neighbours + neighbours.T - weight.T @ self._carried

    def fit(self, in_rows: FloatArray, in_columns: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Profiles ``(H,)`` and ``(W,)`` from the sums over each row's and each column's air."""
        columns = np.linalg.solve(self._columns_alone, in_columns - self._carried.T @ in_rows)
        return solveh_banded(self._along_rows, in_rows, lower=True) - self._carried @ columns, columns


def _random_walk(weight: FloatArray, walk: float) -> FloatArray:
    """``(2, N)`` diagonal and what lies below it of ``weight`` plus ``walk`` times neighbours' squared differences."""
    ends = np.ones(len(weight))
    ends[1:-1] = 2.0
    return np.stack([weight + walk * ends, np.full(len(weight), -walk)])


def _noise(values: FloatArray, air: BoolArray) -> FloatArray:
    """Standard deviation of a pixel of ``(C, H, W)``, ``(C,)``: from the differences of neighbours in a row, less what
    each pair of columns differs by; no profile reaches into that."""
    both = (air[:, 1:] & air[:, :-1]).astype(np.float64)
    count = both.sum(axis=0)
    difference = (values[:, :, 1:] - values[:, :, :-1]) * both
    freedom = np.maximum(count - 1.0, 0.0).sum()
    square = np.einsum("chw,chw->c", difference, difference)
    own = (difference.sum(axis=1) ** 2 / np.maximum(count, 1.0)).sum(axis=1)
    return np.asarray(np.sqrt(np.maximum(square - own, 0.0) / (2.0 * max(freedom, 1.0))))


def _stands_out(sums: FloatArray, count: FloatArray, deviation: float) -> FloatArray:
    """What means (``sums`` / ``count``) differ by beyond their noise: empirical Bayes, 0 where nothing was seen."""
    seen = count > 0
    mean = sums / np.maximum(count, 1.0)
    expected = deviation**2 / np.maximum(count, 1.0)
    excess = max(float((mean[seen] ** 2 - expected[seen]).mean()), 0.0)
    return np.where(seen, mean * excess / (excess + expected + 1e-30), 0.0)


def _extrapolated_noise(level: FloatArray, noise: FloatArray) -> float:
    """Noise of the air segment from those of the bone and tissue segments: its logarithm rises with attenuation."""
    if abs(level[1] - level[0]) < AIR_NEPERS or min(noise) <= 0.0:
        return float(min(noise))
    slope = np.log(noise[1] / noise[0]) / (level[1] - level[0])
    return float(noise[0] * np.exp(-np.clip(slope, 0.0, 1.0) * level[0]))


def _level_of_cut_off(values: FloatArray, drift: FloatArray, deviation: float) -> float:
    """Mean mu of normal readings mu + drift that are cut off at 0, by what they are on average.

    With z = (mu + drift) / sigma, the mean of what is not below 0 is sigma (z Phi(z) + phi(z)), which rises with mu.
    """
    seen = float(values.mean())
    if deviation <= 0.0 or seen <= 0.0:  # an export too coarse for the noise reads 0 everywhere
        return seen
    low, high = -6.0 * deviation - float(drift.max()), float(values.max()) + deviation
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        z = (middle + drift) / deviation
        below = (1.0 + erf(z / np.sqrt(2.0))) / 2.0
        expected = deviation * (z * below + np.exp(-(z**2) / 2.0) / np.sqrt(2.0 * np.pi))
        low, high = (middle, high) if float(expected.mean()) < seen else (low, middle)
    return (low + high) / 2.0


def _rounding_counts(raw: npt.NDArray[np.floating]) -> float:
    """Counts between the values that an export knows: 1 of 14 bits, 16 of 10 bits."""
    counts = np.clip(np.rint(raw * FULL_SCALE_COUNTS), 0, FULL_SCALE_COUNTS).astype(np.int64).ravel()
    values = np.flatnonzero(np.bincount(counts))
    # Few pixels are very thick, and values that none of them has leave gaps there.
    return float(np.median(np.diff(values[: max(3, len(values) // 2)]))) if len(values) > 2 else 1.0


def _table_columns(mean: FloatArray) -> tuple[int, int]:
    """First and one past the last column on the table; (0, W) where no edge shows."""
    width = mean.shape[1]
    mean = mean[::_EVERY_ROW]
    step = mean[:, 2:] - mean[:, :-2]
    height = np.median(step, axis=0)
    alike = (np.abs(step - height) < np.maximum(_TABLE_STEP_ALIKE * np.abs(height), AIR_NEPERS / 4.0)).mean(axis=0)
    # Air lies on both sides of an edge, in most rows; a body rises on beyond its own.
    # Where the field ends sooner, up to its end.
    padded = np.pad(mean, ((0, 0), (_BESIDE_COLUMNS, _BESIDE_COLUMNS)), mode="edge")
    flat = (np.abs(padded[:, _BESIDE_COLUMNS:] - padded[:, :-_BESIDE_COLUMNS]) < AIR_NEPERS / 2.0).mean(axis=0)
    before, behind = flat[: width - 2], flat[_BESIDE_COLUMNS + 2 :]  # flat[c]: of columns c - _BESIDE_COLUMNS to c
    # And a table lies under head and feet, too.
    ends = np.concatenate([step[:_END_ROWS], step[-_END_ROWS:]])
    throughout = (np.abs(ends - height) < AIR_NEPERS).all(axis=0)
    edge = (alike > _TABLE_STEP_ROWS) & (np.minimum(before, behind) > _FLAT_ROWS) & throughout
    edge &= (np.abs(height) > _TABLE_STEP_NEPERS[0]) & (np.abs(height) < _TABLE_STEP_NEPERS[1])
    left, right = np.flatnonzero(edge & (height > 0)), np.flatnonzero(edge & (height < 0))
    # Narrower than half of the field lies nobody: that is a straight limb.
    left, right = left[left < width // 4], right[right >= width - width // 4]
    # The edge's own column is partly covered; it lies in the middle of a step over two columns.
    return (int(left[-1]) + 2 if left.size else 0), (int(right[0]) + 1 if right.size else width)
