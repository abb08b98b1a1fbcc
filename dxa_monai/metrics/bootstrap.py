"""Confidence intervals over people: the cluster bootstrap.

A person with two visits gives two scans that resemble each other. Resampling scans would count that person twice and
make the interval too narrow, so people are resampled, each with all of their scans [1]. How often each person is drawn
is a row of weights; a statistic of sums over people (a mean, R2, RMSE) follows for all draws at once from the product
of the weights with each person's sums. Intervals are the percentile ones.

Two arms are compared in what they are, not in what one training became, so their difference has to hold for other seeds
of training, too: where there are S of them, S - 1 are drawn each time, of the mean of which the variance is that of the
mean of S [2].

References:
    [1] Field CA, Welsh AH. Bootstrapping clustered data. J R Stat Soc B 69:369 (2007),
        doi:10.1111/j.1467-9868.2007.00593.x
    [2] Rao JNK, Wu CFJ. Resampling inference with complex survey data. J Am Stat Assoc 83:231 (1988),
        doi:10.1080/01621459.1988.10478591
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and its confidence interval."""

    estimate: float
    low: float
    high: float

    def named(self, name: str) -> dict[str, float]:
        """As columns of a table: ``name``, ``name_low``, ``name_high``."""
        return {name: self.estimate, f"{name}_low": self.low, f"{name}_high": self.high}


@lru_cache(maxsize=4)
def resampled_people(people: int, resamples: int, seed: int) -> FloatArray:
    """``(R, P)`` how often each person is drawn, the same for equal arguments; read-only.

    Args:
        people: P, people; as many are drawn each time.
        resamples: R, number of bootstrap samples.
        seed: of the draws.
    """
    generator = np.random.default_rng(seed)
    counts: FloatArray = generator.multinomial(people, np.full(people, 1.0 / people), size=resamples).astype(np.float64)
    counts.setflags(write=False)
    return counts


@lru_cache(maxsize=4)
def resampled_seeds(seeds: int, resamples: int, seed: int) -> FloatArray:
    """``(R, S)`` share of each training seed in the mean of those drawn, the same for equal arguments; read-only.

    Args:
        seeds: S, of training; all but one are drawn each time, and a single one always.
        resamples: R, number of bootstrap samples.
        seed: of the draws.
    """
    drawn = max(seeds - 1, 1)
    generator = np.random.default_rng([seed, seeds])
    shares: FloatArray = generator.multinomial(drawn, np.full(seeds, 1.0 / seeds), size=resamples) / float(drawn)
    shares.setflags(write=False)
    return shares


def sums_by_person(person: npt.NDArray[np.int64], values: FloatArray) -> FloatArray:
    """``(P, M)`` sums of values ``(N, M)``, of which ``person`` ``(N,)`` says whose they are, from 0 to P - 1."""
    sums = np.zeros((int(person.max()) + 1, values.shape[1]))
    np.add.at(sums, person, values)
    return sums


def drawn_sums(sums: FloatArray, resamples: int, seed: int, draw_seeds: bool = False) -> FloatArray:
    """``(..., 1 + R, M)``: sums over all people, averaged over training seeds; then over those drawn.

    Args:
        sums: ``(S, ..., P, M)`` of each seed and person.
        resamples: R, number of bootstrap samples.
        seed: of the draws.
        draw_seeds: whether seeds are drawn, too; otherwise all are averaged each time.
    """
    seeds, people = len(sums), sums.shape[-2]
    weights = np.vstack([np.ones(people), resampled_people(people, resamples, seed)])
    shares = np.full((len(weights), seeds), 1.0 / seeds)
    if draw_seeds:
        shares[1:] = resampled_seeds(seeds, resamples, seed)
    of_seeds = [np.einsum("rp,...pm->...rm", weights, each) for each in sums]
    return np.asarray(sum(share[:, None] * each for share, each in zip(shares.T, of_seeds, strict=True)))


def percentile_interval(estimate: float, drawn: FloatArray, people: int, confidence: float = 0.95) -> Interval:
    """The percentile interval of a statistic.

    Args:
        estimate: the statistic of all people.
        drawn: ``(R,)`` of the people drawn; draws in which it is not defined (NaN) do not count.
        people: number of people. One person says nothing about other people.
        confidence: nominal coverage, between 0 and 1.

    Returns:
        ``(estimate, low, high)``; ``low`` and ``high`` are NaN for one person, or where no draw is defined.

    Raises:
        ValueError: the confidence is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence}.")
    defined = drawn[np.isfinite(drawn)]
    if people < 2 or not defined.size:
        return Interval(float(estimate), float("nan"), float("nan"))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return Interval(float(estimate), float(low), float(high))


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
        statistic: of a ``(M,)`` array of values, gives one number. Another than the mean is computed draw by draw.
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
    order = np.lexsort((scans, ids))
    scans = scans[order]
    _, person = np.unique(ids[order], return_inverse=True)
    scans_of_person = np.bincount(person)
    weights = resampled_people(len(scans_of_person), resamples, seed)
    if statistic is np.mean:
        drawn = weights @ np.bincount(person, scans) / (weights @ scans_of_person)
    else:
        drawn = np.array([statistic(np.repeat(scans, times[person].astype(int))) for times in weights])
    return percentile_interval(statistic(scans), drawn, len(scans_of_person), confidence)
