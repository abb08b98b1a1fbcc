"""How well measured numbers agree with true ones, with intervals over people, and how well they repeat.

References:
    [1] Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical measurement.
        Lancet 327:307 (1986), doi:10.1016/S0140-6736(86)90837-8.
    [2] Glüer CC et al. Accurate assessment of precision errors: how to measure the reproducibility of bone
        densitometry techniques. Osteoporos Int 5:262 (1995), doi:10.1007/BF01774016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dxa_monai.metrics.bootstrap import percentile_interval, resampled_people

FloatArray = npt.NDArray[np.float64]

STATISTICS = ("r2", "rmse", "bias", "bias_percent", "loa_low", "loa_high")
LIMITS_OF_AGREEMENT = 1.96
"""Standard deviations on each side of the bias, between which 95 % of the differences lie [1]."""


def agreement(
    measured: npt.ArrayLike,
    truth: npt.ArrayLike,
    subject_ids: Sequence[Any],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Agreement of measured with true values.

    With d = measured - truth: ``r2`` = 1 - sum d^2 / sum (truth - mean)^2 (no line is fitted, so a bias counts),
    ``rmse`` = sqrt(mean d^2), ``bias`` = mean d, ``bias_percent`` of the mean truth, ``loa_low`` and ``loa_high`` =
    bias -+ 1.96 sd(d) [1].

    People are resampled with all of their scans (:mod:`dxa_monai.metrics.bootstrap`). All statistics follow from five
    sums over each person's scans, so a resample is a row of counts times those sums.

    Args:
        measured: ``(N,)``, or ``(S, N)`` by networks of S seeds: d and d^2 are then means over seeds.
        truth: ``(N,)``.
        subject_ids: ``(N,)`` whose scan it is.
        confidence: nominal coverage.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        ``people, scans, truth_mean`` and each statistic with ``_low`` and ``_high`` of its interval; NaN where it is
        not defined (one person, no spread).

    Raises:
        ValueError: there is no scan, the lengths differ, or a value is not finite.
    """
    first, second = np.atleast_2d(np.asarray(measured, dtype=np.float64)), np.asarray(truth, dtype=np.float64)
    _, person = np.unique([str(subject) for subject in subject_ids], return_inverse=True)
    if not (first.ndim == 2 and first.size and first.shape[1:] == second.shape == person.shape):
        raise ValueError(f"measured: expected as many as truth and subjects, got {first.shape}, {second.shape}.")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("measured: expected finite numbers.")
    error = first - second
    difference, square = error.mean(axis=0), np.square(error).mean(axis=0)
    centre = second.mean()  # far from 0, squares would lose digits
    moved = second - centre
    columns = (np.ones_like(moved), difference, square, moved, moved**2)
    sums = np.stack([np.bincount(person, weights=column) for column in columns], axis=1)
    people = len(sums)
    estimate = _statistics(sums.sum(axis=0, keepdims=True), centre)
    drawn = _statistics(resampled_people(people, resamples, seed) @ sums, centre)
    result = {"people": float(people), "scans": float(second.size), "truth_mean": float(centre)}
    for name in STATISTICS:  # not all are defined in every draw: a few people may all be drawn as one
        result |= percentile_interval(estimate[name][0], drawn[name], people, confidence).named(name)
    return result


def _statistics(sums: FloatArray, centre: float) -> dict[str, FloatArray]:
    """``STATISTICS`` of each row of sums ``(R, 5)``: count, d, d^2, t, t^2, with t = truth - centre."""
    count, d, d2, t, t2 = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = t2 - t**2 / count
        bias = d / count
        deviation = np.sqrt(np.maximum(d2 - d**2 / count, 0.0) / (count - 1.0))
        return {
            "r2": np.where(spread > 0.0, 1.0 - d2 / spread, np.nan),
            "rmse": np.sqrt(d2 / count),
            "bias": bias,
            "bias_percent": 100.0 * bias / (centre + t / count),
            "loa_low": bias - LIMITS_OF_AGREEMENT * deviation,
            "loa_high": bias + LIMITS_OF_AGREEMENT * deviation,
        }


def precision_cv_percent(
    values: npt.ArrayLike,
    subject_ids: Sequence[Any],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, float]:
    """Root mean square over people of the coefficient of variation of repeated scans [2].

    Args:
        values: ``(N,)``, positive.
        subject_ids: ``(N,)``; people with a single scan do not count.
        confidence: nominal coverage of the interval over people.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        ``people``, ``cv_percent``, ``cv_percent_low``, ``cv_percent_high``; NaN without repeated scans, the
        interval also for one person.
    """
    measured = np.asarray(values, dtype=np.float64)
    ids = np.asarray([str(subject) for subject in subject_ids])
    squares = []
    for subject in np.unique(ids):
        own = measured[ids == subject]
        if own.size > 1:
            squares.append(own.var(ddof=1) / own.mean() ** 2)
    if not squares:
        return {"people": 0.0, "cv_percent": np.nan, "cv_percent_low": np.nan, "cv_percent_high": np.nan}
    each = np.array(squares)
    drawn = 100.0 * np.sqrt(resampled_people(len(each), resamples, seed) @ each / len(each))
    found = percentile_interval(100.0 * np.sqrt(each.mean()), drawn, len(each), confidence)
    return {"people": float(len(each))} | found.named("cv_percent")


def dice(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """Overlap of two masks: 2 |A and B| / (|A| + |B|); 1 if both are empty."""
    size = int(first.sum()) + int(second.sum())
    return 2.0 * int((first & second).sum()) / size if size else 1.0
