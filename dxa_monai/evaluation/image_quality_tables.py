"""Image quality by arm, as tables: means, differences of arms, intervals over people (the paper's tables 1 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dxa_monai.evaluation.scans import ALIGNED, SHIFTS
from dxa_monai.metrics.bootstrap import bootstrap_interval, drawn_sums, percentile_interval, sums_by_person
from dxa_monai.metrics.scan_metric import FUNCTIONS as METRICS

FloatArray = npt.NDArray[np.float64]

_DIGITS = {"psnr_db": 2, "ssim": 4, "nmae": 4}


def image_quality_table(quality: pd.DataFrame, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Mean and bootstrap interval over people of each metric by arm.

    A scan's value is the mean over seeds; how far the seeds' means lie apart is told beside it.

    Args:
        quality: of :func:`dxa_monai.evaluation.scans.evaluate_scans`.
        confidence: coverage of the intervals.
        seed: of the bootstrap.

    Returns:
        Columns ``arm, people, scans, seeds`` and, for each metric (also after alignment, where it was done),
        ``{metric}``, ``{metric}_low``, ``{metric}_high``, ``{metric}_seed_sd`` (NaN with one seed); then the root mean
        square of the shifts and turns that alignment took.
    """
    names = metric_names(quality)
    rows = []
    averaged = _mean_over_seeds(quality)
    of_seeds = quality.groupby(["arm", "seed"], sort=False)[names].mean()
    for arm, group in averaged.groupby("arm", sort=False):
        row: dict[str, Any] = {"arm": arm, "people": group["subject_id"].nunique(), "scans": len(group)}
        row["seeds"] = len(of_seeds.loc[arm])
        for name in names:
            estimate, low, high = bootstrap_interval(
                group[name].to_numpy(), group["subject_id"].to_numpy(), confidence=confidence, seed=seed
            )
            row |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
            row[f"{name}_seed_sd"] = of_seeds.loc[arm, name].std()
        moved = quality.loc[quality["arm"] == arm, [name for name in SHIFTS if name in quality]]
        row |= {f"rms_{name}": float(np.sqrt((values**2).mean())) for name, values in moved.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def image_quality_differences(
    quality: pd.DataFrame, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Every later arm minus every earlier one, paired scan by scan, with a bootstrap interval over people and seeds.

    Two arms see the same scans, and what makes a scan hard is hard for both: the difference of a pair is much better
    known than the difference of two means with intervals of their own. Arms with as many training seeds as each other
    are paired by seed as well.

    Args:
        quality: as for :func:`image_quality_table`.
        confidence: coverage of the intervals.
        resamples: number of bootstrap samples.
        seed: of the bootstrap.

    Returns:
        Columns ``arm, minus_arm`` and, for each metric, ``{metric}``, ``{metric}_low``, ``{metric}_high``.

    Raises:
        ValueError: arms were evaluated on different scans.
    """
    names = metric_names(quality)
    scans = {arm: set(group["scan_id"]) for arm, group in quality.groupby("arm", sort=False)}
    drawn = {arm: _drawn_means(group, names, resamples, seed) for arm, group in quality.groupby("arm", sort=False)}
    people = quality["subject_id"].nunique()
    rows = []
    for earlier, later in combinations(drawn, 2):
        if scans[earlier] != scans[later]:
            raise ValueError(f"quality: expected the same scans of {earlier} and {later}.")
        row: dict[str, Any] = {"arm": later, "minus_arm": earlier}
        for name, difference in zip(names, (drawn[later] - drawn[earlier]).T, strict=True):
            row |= percentile_interval(difference[0], difference[1:], people, confidence).named(name)
        rows.append(row)
    return pd.DataFrame(rows)


def _drawn_means(group: pd.DataFrame, names: list[str], resamples: int, seed: int) -> FloatArray:
    """Means ``(1 + R, metrics)`` of an arm: of all people and seeds, then of those drawn."""
    by_scan = group.pivot(index=["subject_id", "scan_id"], columns="seed", values=names)
    _, person = np.unique(by_scan.index.get_level_values("subject_id").astype(str), return_inverse=True)
    of_seeds = [by_scan.xs(each, axis="columns", level="seed")[names] for each in sorted(group["seed"].unique())]
    sums = np.stack([sums_by_person(person, each.to_numpy()) for each in of_seeds])
    scans = sums_by_person(person, np.ones((len(person), 1)))
    means: FloatArray = drawn_sums(sums, resamples, seed, draw_seeds=True) / drawn_sums(scans[None], resamples, seed)
    return means


def metric_names(quality: pd.DataFrame) -> list[str]:
    """The metrics that a table has, after alignment last."""
    return [name for name in (*METRICS, *(f"{ALIGNED}{each}" for each in METRICS)) if name in quality]


def format_image_quality(table: pd.DataFrame, labels: Sequence[str] = ("arm",)) -> str:
    """A table as text: the columns ``labels``, ``mean [low, high]`` of every metric, and PSNR after alignment."""
    shown = table[list(labels)].copy()
    for name in METRICS:
        columns = (table[name], table[f"{name}_low"], table[f"{name}_high"])
        numbers = [[f"{value:.{_DIGITS[name]}f}" for value in column] for column in columns]
        shown[name] = [f"{mean} [{low}, {high}]" for mean, low, high in zip(*numbers, strict=True)]
    if f"{ALIGNED}psnr_db" in table:
        shown["aligned"] = [f"{value:.2f}" for value in table[f"{ALIGNED}psnr_db"]]
    return shown.to_string(index=False)


def image_quality_metrics(table: pd.DataFrame) -> dict[str, float]:
    """A table as numbers for a tracker: ``{arm}/{metric}``, with ``_low`` and ``_high`` where the interval is known."""
    columns = [column for column in table.columns if column not in ("arm", "people", "scans", "seeds")]
    values = {f"{row['arm']}/{column}": float(row[column]) for _, row in table.iterrows() for column in columns}
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _mean_over_seeds(quality: pd.DataFrame) -> pd.DataFrame:
    keys = ["scan_id", "subject_id", "arm"]
    return quality.groupby(keys, sort=False, as_index=False)[metric_names(quality)].mean()
