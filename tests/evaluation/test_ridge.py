"""The one ridge regression against a slow one, and what it must find in shapes and images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.linear_model import RidgeCV

from dxa_monai.evaluation.ridge import PENALTIES, ComponentRidge

Array = npt.NDArray[np.floating]


def slow_ridge(inputs: Array, wanted: Array, held_out: Array, components: int) -> Array:
    """Components by the singular values of all inputs in double precision, then one ridge regression a target."""
    inputs, held_out = inputs.astype(np.float64), held_out.astype(np.float64)
    mean = inputs.mean(axis=0)
    _, singular, directions = np.linalg.svd(inputs - mean, full_matrices=False)
    most = min(components, len(inputs) - 1)
    kept = [index for index, value in enumerate(singular[:most]) if value**2 > 1e-9 * singular[0] ** 2]
    first_deviation = singular[0] / np.sqrt(len(inputs))
    codes, of_held_out = ((each - mean) @ directions[kept].T / first_deviation for each in (inputs, held_out))
    predicted = []
    for target in wanted.T:
        spread = target.std() if target.std() > 0 else 1.0
        ridge = RidgeCV(alphas=PENALTIES).fit(codes, (target - target.mean()) / spread)
        predicted.append(ridge.predict(of_held_out) * spread + target.mean())
    return np.stack(predicted, axis=1)


def _people(columns: int, people: int = 60, hidden: int = 12, noise: float = 1e-3) -> tuple[Array, Array]:
    """Inputs about 0.3, as of images, that differ in some hidden ways, and three targets of very different size."""
    rng = np.random.default_rng(columns)
    codes = rng.normal(size=(people, hidden)) / np.arange(1, hidden + 1)
    inputs = 0.3 + 0.1 * codes @ rng.normal(size=(hidden, columns)) + noise * rng.normal(size=(people, columns))
    wanted = codes @ rng.normal(size=(hidden, 3)) + 0.3 * rng.normal(size=(people, 3))
    return inputs, wanted * [1.0, 1e4, 1e-3] + [0.0, 5e4, 1.0]


# fewer columns than people, about as many, and more than are multiplied at a time
@pytest.mark.parametrize("columns", [7, 50, 5000])
@pytest.mark.parametrize("components", [1, 5, 160])
@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_equals_the_slow_ridge(columns: int, components: int, precision: type[np.floating]) -> None:
    inputs, wanted = _people(columns)
    inputs = inputs.astype(precision)
    found = ComponentRidge(inputs[:40], wanted[:40], components).predict(inputs[40:])
    expected = slow_ridge(inputs[:40], wanted[:40], inputs[40:], components)
    assert np.abs((found - expected) / wanted.std(axis=0)).max() < 1e-9


def test_inputs_of_fewer_dimensions_than_people_equal_the_slow_ridge() -> None:
    """Components that are rounding carry nothing, though single precision gives them some variance."""
    inputs, wanted = _people(5000, hidden=3, noise=0.0)
    inputs = inputs.astype(np.float32)
    found = ComponentRidge(inputs[:40], wanted[:40], 160).predict(inputs[40:])
    expected = slow_ridge(inputs[:40], wanted[:40], inputs[40:], 160)
    assert np.abs((found - expected) / wanted.std(axis=0)).max() < 1e-9


def test_order_of_people_and_number_of_them_at_a_time_do_not_matter() -> None:
    inputs, wanted = _people(300)
    ridge = ComponentRidge(inputs[:40], wanted[:40], 20)
    at_once = ridge.predict(inputs[40:])
    order = np.random.default_rng(0).permutation(40)
    other = ComponentRidge(inputs[order], wanted[order], 20).predict(inputs[40:])
    np.testing.assert_allclose(other, at_once, rtol=1e-7)
    np.testing.assert_allclose(np.concatenate([ridge.predict(each[None]) for each in inputs[40:]]), at_once, rtol=1e-9)


@pytest.mark.parametrize("targets", [1, 2])
def test_what_is_equal_in_all_people_is_predicted_as_such(targets: int) -> None:
    inputs, wanted = _people(50)
    wanted = wanted[:, :targets].copy()
    wanted[:, -1] = 7.0
    found = ComponentRidge(inputs[:40], wanted[:40], 20).predict(inputs[40:])
    assert found.shape == (20, targets)
    np.testing.assert_allclose(found[:, -1], 7.0, rtol=1e-12)


def test_all_components_without_penalty_solve_a_linear_map_exactly() -> None:
    rng = np.random.default_rng(0)
    hidden, weights = rng.normal(size=(60, 5)), rng.normal(size=(5, 2)) * [1.0, 1e4]
    pixels = rng.normal(size=(5, 300))
    training, held_out = hidden[:40] @ pixels + 3.0, hidden[40:] @ pixels + 3.0
    predicted = ComponentRidge(training, hidden[:40] @ weights, 160).predict(held_out)
    np.testing.assert_allclose(predicted, hidden[40:] @ weights, rtol=1e-3, atol=1e-3 * np.abs(weights).max())


def test_linear_dependence_on_shape_is_found_on_people_held_out() -> None:
    rng = np.random.default_rng(0)
    corners = np.array([[x, y, z] for x in (-0.3, 0.3) for y in (-0.1, 0.1) for z in (0.0, 1.7)])
    sizes = np.stack([rng.uniform(0.8, 1.2, 24), np.ones(24), rng.uniform(0.9, 1.1, 24)], axis=1)
    shapes = (corners * sizes[:, None]).reshape(24, 24).astype(np.float32)
    wanted = np.stack([3.0 * sizes[:, 0] - sizes[:, 2], np.full(24, 7.0)], axis=1)
    ridge = ComponentRidge(shapes[:18], wanted[:18], 80)
    np.testing.assert_allclose(ridge.predict(shapes[18:]), wanted[18:], atol=0.01)
    # a direction in which shapes hardly differ cannot carry the prediction away
    np.testing.assert_allclose(ridge.predict(shapes[18:] + np.float32(1e-6)), wanted[18:], atol=0.01)
