"""Confidence intervals over people: the cluster bootstrap.

A person with two visits gives two scans that resemble each other. Resampling scans would count that person twice and
make the interval too narrow, so people are resampled, each with all of their scans [1]. The resampling itself is
``scipy.stats.bootstrap``, run on the people's indices; the interval is the percentile one.

References:
    [1] Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 69:369 (2007),
        doi:10.1111/j.1467-9868.2007.00593.x
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float


def bootstrap_interval(
    values: npt.ArrayLike,
    subject_ids: Sequence[Any] | npt.NDArray[Any],
    statistic: Callable[[npt.NDArray[np.float64]], Any] = np.mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic of all scans and its percentile bootstrap interval over people.

    The order of the scans does not matter. With a handful of people the interval is too narrow: for the mean of normal
    values, 95 % intervals of 5, 10 and 30 people were seen to cover 84, 89 and 94 % of the time.

    Args:
        values: ``(N,)``, one finite number a scan.
        subject_ids: ``(N,)``, whose scan it is.
        statistic: of a ``(M,)`` array of values, gives one number.
        confidence: nominal coverage, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        ``(estimate, low, high)``. One person says nothing about other people: ``low`` and ``high`` are NaN.

    Raises:
        ValueError: there is no scan, the lengths differ, a value is not finite, or the confidence is not in (0, 1).
    """
    scans = np.asarray(values, dtype=np.float64)
    ids = np.asarray([str(subject) for subject in subject_ids])
    if scans.ndim != 1 or scans.size == 0 or scans.shape != ids.shape:
        raise ValueError(f"values: expected one number and one subject a scan, got {scans.shape} and {ids.shape}.")
    if not np.isfinite(scans).all():
        raise ValueError(f"values: expected finite numbers, got {np.count_nonzero(~np.isfinite(scans))} that are not.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}.")

    order = np.lexsort((scans, ids))
    scans, ids = scans[order], ids[order]
    people = np.split(scans, np.flatnonzero(ids[1:] != ids[:-1]) + 1)
    estimate = float(statistic(scans))
    if len(people) == 1:
        return Interval(estimate, float("nan"), float("nan"))

    def of_people(drawn: npt.NDArray[np.int64]) -> float:
        return float(statistic(np.concatenate([people[index] for index in drawn])))

    result = stats.bootstrap(
        (np.arange(len(people)),),
        of_people,
        n_resamples=resamples,
        vectorized=False,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return Interval(estimate, float(result.confidence_interval.low), float(result.confidence_interval.high))


def paired_difference_interval(
    values: npt.ArrayLike,
    minus: npt.ArrayLike,
    subject_ids: Sequence[Any] | npt.NDArray[Any],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of ``values - minus`` scan by scan, with its bootstrap interval over people.

    Two arms see the same scans, and what makes a scan hard is hard for both: the difference of a pair is much better
    known than the difference of two means with intervals of their own.

    Args:
        values: ``(N,)``, one arm, one finite number a scan.
        minus: ``(N,)``, the other arm, the same scans in the same order.
        subject_ids: ``(N,)``, whose scan it is.
        confidence: nominal coverage, between 0 and 1.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        ``(difference, low, high)``; all exactly 0 if the arms are equal; ``low`` and ``high`` NaN for one person.

    Raises:
        ValueError: as :func:`bootstrap_interval`, or the arms' lengths differ.
    """
    first, second = np.asarray(values, dtype=np.float64), np.asarray(minus, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"minus: expected the same scans as in values, {first.shape}, got {second.shape}.")
    return bootstrap_interval(first - second, subject_ids, np.mean, confidence, resamples, seed)
