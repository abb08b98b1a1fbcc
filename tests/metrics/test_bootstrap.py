import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dxa_monai.metrics.bootstrap import bootstrap_interval, paired_difference_interval


def test_naive_oracle() -> None:
    """The same interval from people's scans resampled in a plain loop."""
    rng = np.random.default_rng(1)
    people = [rng.normal(size=rng.integers(1, 4)) for _ in range(12)]
    values = np.concatenate(people)
    subjects = np.repeat([f"p{index:02d}" for index in range(12)], [len(scans) for scans in people])
    means = [np.concatenate([people[index] for index in rng.integers(0, 12, size=12)]).mean() for _ in range(20000)]
    estimate, low, high = bootstrap_interval(values, subjects, resamples=20000)
    assert estimate == pytest.approx(values.mean())
    assert_allclose((low, high), np.quantile(means, (0.025, 0.975)), atol=0.03)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        # 20 people, two visits each, which differ less than people do
        values = np.repeat(rng.normal(size=20), 2) + 0.2 * rng.normal(size=40)
        _, low, high = bootstrap_interval(values, np.repeat(np.arange(20), 2), resamples=200)
        hits += low <= 0 <= high
    assert 0.86 <= hits / 200 <= 0.98


def test_repeated_visits_add_no_people() -> None:
    values = np.random.default_rng(0).normal(size=30)
    once = bootstrap_interval(values, range(30))
    fourfold = bootstrap_interval(np.repeat(values, 4), np.repeat(np.arange(30), 4))
    as_if_independent = bootstrap_interval(np.repeat(values, 4), range(120))
    assert fourfold.high - fourfold.low == pytest.approx(once.high - once.low, rel=0.1)
    assert as_if_independent.high - as_if_independent.low < 0.6 * (once.high - once.low)


def test_reproducible_and_blind_to_order() -> None:
    rng = np.random.default_rng(0)
    values, subjects = rng.normal(size=40), rng.integers(0, 15, size=40).astype(str)
    order = rng.permutation(40)
    first = bootstrap_interval(values, subjects, seed=3)
    assert first == bootstrap_interval(values, subjects, seed=3)
    assert first == bootstrap_interval(values[order], subjects[order], seed=3)
    assert first != bootstrap_interval(values, subjects, seed=4)


def test_other_statistics_and_confidences() -> None:
    values = np.random.default_rng(0).normal(size=50)
    median = bootstrap_interval(values, range(50), statistic=np.median)
    assert median.estimate == np.median(values)
    wide, narrow = (bootstrap_interval(values, range(50), confidence=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < values.mean() < narrow.high < wide.high


def test_one_person_has_an_estimate_and_no_interval() -> None:
    estimate, low, high = bootstrap_interval([1.0, 3.0], ["a", "a"])
    assert estimate == 2.0
    assert math.isnan(low)
    assert math.isnan(high)


def test_equal_arms_differ_by_exactly_zero() -> None:
    values = np.random.default_rng(0).normal(size=10)
    assert paired_difference_interval(values, values, range(10)) == (0.0, 0.0, 0.0)


def test_pairing_removes_what_is_common_to_both_arms() -> None:
    rng = np.random.default_rng(0)
    common = 10 * rng.normal(size=30)
    better = common + 1 + 0.1 * rng.normal(size=30)
    difference, low, high = paired_difference_interval(better, common, range(30))
    assert difference == pytest.approx(1, abs=0.1)
    assert 0.9 < low < high < 1.1


@pytest.mark.parametrize(
    ("values", "subjects", "confidence"),
    [([], [], 0.95), ([1.0, 2.0], ["a"], 0.95), ([1.0, math.inf], ["a", "b"], 0.95), ([1.0, 2.0], ["a", "b"], 95)],
)
def test_impossible_input_is_refused(values: list[float], subjects: list[str], confidence: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        bootstrap_interval(values, subjects, confidence=confidence)


def test_arms_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same scans"):
        paired_difference_interval([1.0, 2.0], [1.0], ["a", "b"])
