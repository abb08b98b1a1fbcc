"""Ridge on shape components, on synthetic shapes whose answers are known, and against a naive oracle."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.cohort_report.shape_regression import held_out_r2
from dxa_monai.errors import InputError

PEOPLE, FACTORS = 300, 5


@pytest.fixture(scope="module")
def population() -> tuple[np.ndarray, np.ndarray]:
    """Shapes ``(N, 40, 3)`` spanned by five factors of unequal weight, a little noise, and the factors."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((PEOPLE, FACTORS)) * [3.0, 2.0, 1.5, 1.0, 0.7]
    shapes = factors @ rng.standard_normal((FACTORS, 120)) + 0.05 * rng.standard_normal((PEOPLE, 120))
    return shapes.reshape(PEOPLE, 40, 3) + 10.0, factors


def test_what_shape_decides_is_predicted_and_what_it_does_not_is_not(
    population: tuple[np.ndarray, np.ndarray],
) -> None:
    shapes, factors = population
    rng = np.random.default_rng(1)
    signal = factors @ [1.0, -0.5, 0.3, 0.8, 1.0]
    noise = rng.standard_normal(PEOPLE) * signal.std()
    found = held_out_r2(shapes, {"all": signal, "half": signal + noise, "nothing": noise})
    assert found["all"] > 0.98
    assert found["half"] == pytest.approx(0.5, abs=0.12)
    assert -0.25 < found["nothing"] < 0.1


def test_predicting_nothing_is_not_rewarded_by_many_components(population: tuple[np.ndarray, np.ndarray]) -> None:
    """On the people themselves 200 components would explain most of pure noise; held out they explain none."""
    shapes, _ = population
    noise = np.random.default_rng(2).standard_normal(PEOPLE)
    assert held_out_r2(shapes, {"noise": noise}, components=200, ridge=0.0)["noise"] < 0.0


def naive_r2(shapes: np.ndarray, target: np.ndarray, components: int, ridge: float, folds: int, seed: int) -> float:
    """Oracle: principal components by singular values and the normal equations, fold by fold."""
    features = shapes.reshape(len(shapes), -1)
    group = np.random.default_rng(seed).permutation(len(features)) % folds
    predicted = np.empty(len(target))
    for fold in range(folds):
        training, test = group != fold, group == fold
        mean = features[training].mean(axis=0)
        axes = np.linalg.svd(features[training] - mean, full_matrices=False)[2][:components]
        scores, new = (features[training] - mean) @ axes.T, (features[test] - mean) @ axes.T
        spread = scores.std(axis=0)
        scores, new = scores / spread, new / spread
        gram = scores.T @ scores + ridge * np.eye(components)
        coefficients = np.linalg.solve(gram, scores.T @ (target[training] - target[training].mean()))
        predicted[test] = target[training].mean() + new @ coefficients
    return 1.0 - np.square(target - predicted).sum() / np.square(target - target.mean()).sum()


@pytest.mark.parametrize(("components", "ridge", "folds"), [(5, 1.0, 5), (12, 30.0, 3), (3, 0.0, 7)])
def test_equals_the_naive_way(
    population: tuple[np.ndarray, np.ndarray], components: int, ridge: float, folds: int
) -> None:
    shapes, factors = population
    target = factors[:, 0] + np.random.default_rng(3).standard_normal(PEOPLE)
    found = held_out_r2(shapes, {"t": target}, components, ridge, folds, seed=4)["t"]
    assert found == pytest.approx(naive_r2(shapes, target, components, ridge, folds, 4), abs=1e-8)


def test_units_shift_and_scale_change_nothing(population: tuple[np.ndarray, np.ndarray]) -> None:
    shapes, factors = population
    usual = held_out_r2(shapes, {"t": factors[:, 1]})["t"]
    assert held_out_r2(1000.0 * shapes + 5.0, {"t": 7.0 - 2.0 * factors[:, 1]})["t"] == pytest.approx(usual, abs=1e-6)


def test_a_constant_target_has_no_r2(population: tuple[np.ndarray, np.ndarray]) -> None:
    assert np.isnan(held_out_r2(population[0], {"t": np.ones(PEOPLE)})["t"])


def test_too_few_people_or_values_are_refused() -> None:
    with pytest.raises(InputError, match="at least 10 people for 5 folds, got 9"):
        held_out_r2(np.zeros((9, 4, 3)), {"t": np.zeros(9)})
    with pytest.raises(InputError, match=r"expected 20 values of t, got shape \(19,\)"):
        held_out_r2(np.zeros((20, 4, 3)), {"t": np.zeros(19)})
