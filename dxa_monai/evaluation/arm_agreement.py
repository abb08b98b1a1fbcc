"""Measures that several arms predict, each trained with several seeds, against the truth: tables and differences.

The interval of a number is over people (the cluster bootstrap of :mod:`dxa_monai.metrics.bootstrap`), the squared
error of a scan being the mean over seeds; how far the seeds lie apart is told beside it. Arms are compared in the same
draws of people, so that what makes a person hard for all arms does not blur their difference, and in draws of seeds:
what two arms differ by has to be more than two trainings of one arm do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dxa_monai.metrics.bootstrap import Interval, drawn_sums, percentile_interval, sums_by_person

FloatArray = npt.NDArray[np.float64]

MEAN_OF_MEASURES = "mean_of_measures"
"""Row of the mean of R2 over all measures; their RMSEs and biases have different units and no mean."""
STATISTICS = ("r2", "rmse", "bias")
"""Coefficient of determination, root mean square error, and the mean of predicted - truth."""


def arm_table(
    predictions: pd.DataFrame, by: Sequence[str], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """R2, RMSE and bias of every arm and measure.

    Args:
        predictions: one row a scan, measure, seed and arm: ``scan_id, subject_id, measure, truth, predicted, seed`` and
            the columns ``by``. Every arm and seed has the same scans.
        by: columns that tell arms apart.
        confidence: coverage of the intervals.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        One row an arm and measure, and one of ``MEAN_OF_MEASURES``: ``by``, ``measure, people, scans, seeds``, R2, RMSE
        and bias with ``_low``, ``_high`` and ``_seed_sd`` (NaN with one seed).
    """
    tables = []
    for key, group in predictions.groupby(list(by), sort=False):
        arm = _Arm(group)
        table = arm.statistics(resamples, seed)
        named = dict(zip(by, key, strict=True))
        for index, measure in enumerate((*arm.measures, MEAN_OF_MEASURES)):
            row: dict[str, Any] = named | {"measure": measure, "people": arm.people, "scans": arm.scans}
            row["seeds"] = len(arm.errors)
            for name in STATISTICS:
                row |= _interval(table[name][:, index], arm.people, confidence).named(name)
                row[f"{name}_seed_sd"] = _spread(arm.of_each_seed(name)[:, index])
            tables.append(row)
    return pd.DataFrame(tables)


def arm_differences(
    predictions: pd.DataFrame, by: Sequence[str], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Every later arm minus every earlier one.

    Args:
        predictions: as for :func:`arm_table`.
        by: likewise; arms are compared with all others, so filter what should not be.
        confidence: coverage of the intervals.
        resamples: number of bootstrap samples.
        seed: of the resampling.

    Returns:
        One row a pair of arms and measure: ``by``, ``minus_{by}``, ``measure``, and R2, RMSE and bias with ``_low``
        and ``_high``, over people and seeds.
    """
    arms = {key: _Arm(group) for key, group in predictions.groupby(list(by), sort=False)}
    drawn = {key: arm.statistics(resamples, seed, draw_seeds=True) for key, arm in arms.items()}
    rows = []
    for earlier, later in combinations(arms, 2):
        if arms[earlier].scan_ids != arms[later].scan_ids:
            raise ValueError(f"predictions: expected the same scans of {earlier} and {later}.")
        if arms[earlier].measures != arms[later].measures:
            raise ValueError(f"predictions: expected the same measures, in one order, of {earlier} and {later}.")
        named = dict(zip(by, later, strict=True)) | dict(zip((f"minus_{name}" for name in by), earlier, strict=True))
        for index, measure in enumerate((*arms[later].measures, MEAN_OF_MEASURES)):
            row: dict[str, Any] = named | {"measure": measure}
            for name in STATISTICS:
                difference = drawn[later][name][:, index] - drawn[earlier][name][:, index]
                row |= _interval(difference, arms[later].people, confidence).named(name)
            rows.append(row)
    return pd.DataFrame(rows)


class _Arm:
    """Sums over each person of what the statistics need."""

    def __init__(self, group: pd.DataFrame) -> None:
        wide = group.pivot(index=["scan_id", "subject_id"], columns=["seed", "measure"], values="predicted")
        truth = group.drop_duplicates(["scan_id", "measure"]).pivot(
            index=["scan_id", "subject_id"], columns="measure", values="truth"
        )
        self.measures = list(dict.fromkeys(group["measure"]))
        self.scan_ids = list(wide.index.get_level_values("scan_id"))
        self.scans = len(wide)
        values = truth[self.measures].to_numpy(dtype=np.float64)
        _, person = np.unique(wide.index.get_level_values("subject_id").astype(str), return_inverse=True)
        self.people = int(person.max()) + 1
        moved = values - values.mean(axis=0)  # far from 0, squares would lose digits
        self.truth = np.stack([sums_by_person(person, each) for each in (np.ones_like(moved), moved, moved**2)])
        seeds = sorted(group["seed"].unique())
        differences = [wide[seed][self.measures].to_numpy() - values for seed in seeds]
        self.errors = np.stack(
            [np.stack([sums_by_person(person, each), sums_by_person(person, np.square(each))]) for each in differences]
        )
        """Of each seed: sums over each person of the errors and of their squares, ``(S, 2, P, M)``."""

    def statistics(self, resamples: int, seed: int, draw_seeds: bool = False) -> dict[str, FloatArray]:
        """Row 0: of all people; the others: of people drawn, and of seeds drawn. Columns: measures, then their mean."""
        truth = drawn_sums(self.truth[None], resamples, seed)
        return _statistics(truth, drawn_sums(self.errors, resamples, seed, draw_seeds))

    def of_each_seed(self, name: str) -> FloatArray:
        """``(S, M + 1)``."""
        truth = self.truth.sum(axis=1)[:, None]
        return np.concatenate([_statistics(truth, errors.sum(axis=1)[:, None])[name] for errors in self.errors])


def _statistics(truth: FloatArray, errors: FloatArray) -> dict[str, FloatArray]:
    (count, total, squares), (error, squared_error) = truth, errors
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = squares - total**2 / count
        r2 = np.where(spread > 0.0, 1.0 - squared_error / spread, np.nan)
        rmse = np.sqrt(squared_error / count)
    none = np.full((len(rmse), 1), np.nan)
    found = {"r2": np.hstack([r2, r2.mean(axis=1, keepdims=True)]), "rmse": np.hstack([rmse, none])}
    return found | {"bias": np.hstack([error / count, none])}


def _interval(values: FloatArray, people: int, confidence: float) -> Interval:
    """The estimate stands first."""
    return percentile_interval(values[0], values[1:], people, confidence)


def _spread(values: FloatArray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")
