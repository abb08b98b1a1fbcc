"""The cluster bootstrap as scipy does it, a draw at a time: what the fast one has to agree with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from dxa_monai.metrics.bootstrap import Interval


def slow_interval(
    values: np.ndarray,
    subject_ids: Sequence[Any],
    statistic: Callable[[np.ndarray], Any] = np.mean,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic and its 95 % percentile interval; people are drawn with all of their scans."""
    scans, ids = np.asarray(values, dtype=float), np.asarray([str(subject) for subject in subject_ids])
    people = [scans[ids == subject] for subject in np.unique(ids)]

    def of_people(drawn: np.ndarray) -> float:
        return float(statistic(np.concatenate([people[index] for index in drawn])))

    found = stats.bootstrap(
        (np.arange(len(people)),),
        of_people,
        n_resamples=resamples,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(statistic(scans)), float(found.low), float(found.high))
