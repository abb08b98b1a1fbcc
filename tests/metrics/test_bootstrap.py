import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dxa_monai.metrics.bootstrap import (
    bootstrap_interval,
    percentile_interval,
    resampled_people,
    resampled_seeds,
)
from tests.metrics.slow_bootstrap import slow_interval


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


@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_agrees_with_the_slow_bootstrap(statistic) -> None:
    """Both draw at random: the ends of 4000 draws are known to about 1 % of the interval (standard error)."""
    rng = np.random.default_rng(2)
    subjects = np.repeat(np.arange(25), rng.integers(1, 4, size=25))
    values = rng.normal(size=25)[subjects] + 0.3 * rng.normal(size=len(subjects))
    fast = bootstrap_interval(values, subjects, statistic, resamples=4000)
    slow = slow_interval(values, subjects, statistic, resamples=4000, seed=1)
    assert fast.estimate == pytest.approx(slow.estimate, rel=1e-12)
    width = slow.high - slow.low
    assert_allclose((fast.low, fast.high), (slow.low, slow.high), rtol=0, atol=0.06 * width)


def test_as_many_people_are_drawn_as_there_are_each_equally_often() -> None:
    counts = resampled_people(7, 20000, 0)
    assert (counts.sum(axis=1) == 7).all()
    assert_allclose(counts.mean(axis=0), 1.0, atol=0.03)
    assert_allclose(counts.var(axis=0), 6 / 7, atol=0.05)  # of a binomial with 7 trials of probability 1/7
    assert resampled_people(7, 20000, 0) is counts
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 1.0


def test_undefined_draws_do_not_count() -> None:
    drawn = np.array([math.nan, 1.0, 2.0, 3.0, math.inf])
    assert percentile_interval(2.0, drawn, 3, confidence=0.5) == (2.0, 1.5, 2.5)
    assert percentile_interval(2.0, drawn, 3).named("r2").keys() == {"r2", "r2_low", "r2_high"}
    assert all(math.isnan(end) for end in percentile_interval(2.0, drawn[:1], 3)[1:])


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


def test_the_mean_of_drawn_seeds_varies_as_the_mean_of_seeds_does() -> None:
    """Rao and Wu: one seed fewer is drawn than there are, or the few draws would lie too near to each other."""
    values = np.random.default_rng(5).normal(size=4)
    shares = resampled_seeds(4, 40000, 0)
    assert_allclose(shares.sum(axis=1), 1.0)
    drawn = shares @ values
    assert_allclose(drawn.mean(), values.mean(), atol=0.01)
    assert_allclose(drawn.var(), values.var(ddof=1) / 4, rtol=0.03)
    assert (resampled_seeds(1, 10, 0) == 1.0).all()


def test_one_person_has_an_estimate_and_no_interval() -> None:
    estimate, low, high = bootstrap_interval([1.0, 3.0], ["a", "a"])
    assert estimate == 2.0
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize(
    ("values", "subjects", "confidence"),
    [([], [], 0.95), ([1.0, 2.0], ["a"], 0.95), ([1.0, math.inf], ["a", "b"], 0.95), ([1.0, 2.0], ["a", "b"], 95)],
)
def test_impossible_input_is_refused(values: list[float], subjects: list[str], confidence: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        bootstrap_interval(values, subjects, confidence=confidence)
