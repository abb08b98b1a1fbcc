from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.evaluation.agreement import STATISTICS, agreement, dice, precision_cv_percent
from tests.metrics.slow_bootstrap import slow_interval


def _naive(measured: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    difference = measured - truth
    bias, deviation = difference.mean(), difference.std(ddof=1)
    return {
        "r2": 1.0 - (difference**2).sum() / ((truth - truth.mean()) ** 2).sum(),
        "rmse": np.sqrt((difference**2).mean()),
        "bias": bias,
        "bias_percent": 100.0 * bias / truth.mean(),
        "loa_low": bias - 1.96 * deviation,
        "loa_high": bias + 1.96 * deviation,
    }


@pytest.fixture
def people() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(0)
    ids = [f"P{person}" for person in range(40) for _ in range(1 + person % 3)]
    truth = 30000.0 + 8000.0 * rng.normal(size=len(ids))
    return truth + 500.0 + 900.0 * rng.normal(size=len(ids)), truth, ids


def test_statistics_are_those_of_the_definitions(people: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    measured, truth, ids = people
    found = agreement(measured, truth, ids, resamples=10)
    for name, value in _naive(measured, truth).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
    assert (found["people"], found["scans"]) == (40, len(ids))


@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_are_those_of_the_cluster_bootstrap(
    name: str, people: tuple[np.ndarray, np.ndarray, list[str]]
) -> None:
    measured, truth, ids = people
    found = agreement(measured, truth, ids, resamples=4000)

    def statistic(index: np.ndarray) -> float:
        chosen = index.astype(int)
        return _naive(measured[chosen], truth[chosen])[name]

    # The oracle resamples people and recomputes the statistic from their scans.
    slow = slow_interval(np.arange(len(ids)), ids, statistic, resamples=1500, seed=1)
    width = slow.high - slow.low
    assert found[f"{name}_low"] == pytest.approx(slow.low, abs=0.08 * width)
    assert found[f"{name}_high"] == pytest.approx(slow.high, abs=0.08 * width)


def test_order_does_not_matter_and_perfect_is_perfect(people: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    measured, truth, ids = people
    order = np.random.default_rng(1).permutation(len(ids))
    moved = agreement(measured[order], truth[order], [ids[index] for index in order], resamples=200)
    for name, value in agreement(measured, truth, ids, resamples=200).items():
        assert moved[name] == pytest.approx(value, rel=1e-9)
    perfect = agreement(truth, truth, ids, resamples=50)
    assert (perfect["r2"], perfect["rmse"], perfect["loa_low"]) == (1.0, 0.0, 0.0)


def test_one_person_has_no_interval() -> None:
    found = agreement([1.0, 2.5], [1.0, 2.0], ["A", "A"], resamples=20)
    assert np.isnan(found["rmse_low"])
    assert found["rmse"] == pytest.approx(np.sqrt(0.125))


@pytest.mark.parametrize(
    ("measured", "truth", "ids"), [([], [], []), ([1.0], [1.0, 2.0], ["A"]), ([np.nan, 1.0], [1.0, 2.0], ["A", "B"])]
)
def test_what_cannot_be_compared_is_refused(measured: list[float], truth: list[float], ids: list[str]) -> None:
    with pytest.raises(ValueError, match="measured: expected"):
        agreement(measured, truth, ids)


def test_precision_recovers_the_spread_between_visits() -> None:
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(20.0, 60.0, 3000), 2)
    values = level * (1.0 + 0.02 * rng.normal(size=level.size))
    ids = np.repeat(np.arange(3000), 2)
    found = precision_cv_percent([*values, 10.0], [*ids, "once"], resamples=300)
    assert found["people"] == 3000
    assert found["cv_percent"] == pytest.approx(2.0, rel=0.05)
    assert found["cv_percent_low"] < 2.0 < found["cv_percent_high"]
    alone = precision_cv_percent([1.0, 2.0], ["A", "A"])
    assert alone["cv_percent"] > 0.0
    assert np.isnan([alone["cv_percent_low"], alone["cv_percent_high"]]).all()


def test_precision_without_repeats_is_unknown() -> None:
    assert np.isnan(precision_cv_percent([1.0, 2.0], ["A", "B"])["cv_percent"])


def test_dice() -> None:
    first, second = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert dice(first, second) == 0.5
    assert dice(first, first) == 1.0
    assert dice(first, ~first) == 0.0
    assert dice(first & ~first, second & ~second) == 1.0
