"""Harmonic continuation against a sparse direct solve."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from dxa_monai.analysis.harmonic import harmonic_fill

SPACING_MM = (13.0, 6.06)


def direct_solution(
    values: np.ndarray, known: np.ndarray, domain: np.ndarray, spacing_mm: tuple[float, float]
) -> np.ndarray:
    """Each unknown pixel's equation written out, solved by elimination."""
    number = -np.ones(values.shape, dtype=int)
    unknown = np.argwhere(domain & ~known)
    number[tuple(unknown.T)] = np.arange(len(unknown))
    matrix, right = scipy.sparse.lil_matrix((len(unknown), len(unknown))), np.zeros(len(unknown))
    for equation, (row, column) in enumerate(unknown):
        for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = row + step[0], column + step[1]
            if not (0 <= r < values.shape[0] and 0 <= c < values.shape[1] and domain[r, c]):
                continue
            weight = 1.0 / spacing_mm[0] ** 2 if step[0] else 1.0 / spacing_mm[1] ** 2
            matrix[equation, equation] += weight
            if known[r, c]:
                right[equation] += weight * values[r, c]
            else:
                matrix[equation, number[r, c]] -= weight
    solution = np.where(known & domain, values, 0.0)
    solution[tuple(unknown.T)] = scipy.sparse.linalg.spsolve(matrix.tocsr(), right)
    return solution


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def as_image(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)[None, None]


@pytest.fixture
def holes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, known pixels and domain: an oval body with a small hole, a wide one, and one at its edge."""
    shape = (48, 40)
    rng = np.random.default_rng(0)
    rows, columns = np.indices(shape)
    values = 5.0 + np.sin(rows / 9.0) * 2.0 + np.cos(columns / 7.0) + rng.normal(0.0, 0.1, shape)
    domain = disc(shape, (24, 20), 18.5)
    known = domain & ~disc(shape, (16, 14), 3) & ~disc(shape, (27, 20), 8) & ~disc(shape, (24, 37), 5)
    return values, known, domain


@pytest.mark.parametrize("spacing_mm", [SPACING_MM, (1.0, 1.0)])
def test_equals_the_direct_solution(
    holes: tuple[np.ndarray, np.ndarray, np.ndarray], spacing_mm: tuple[float, float]
) -> None:
    values, known, domain = holes
    found = harmonic_fill(as_image(values), as_image(known), as_image(domain), spacing_mm)[0, 0].numpy()
    expected = direct_solution(values, known, domain, spacing_mm)
    assert np.abs(found - expected).max() < 0.02
    np.testing.assert_array_equal(found[known], values[known])
    assert (found[~domain] == 0).all()


def test_a_hole_as_wide_as_the_skull_is_filled_within_a_percent() -> None:
    shape = (40, 44)
    rows, columns = np.indices(shape)
    values = 4.0 + 0.05 * rows + 0.003 * (columns - 20.0) ** 2
    domain = np.ones(shape, dtype=bool)
    known = ~disc(shape, (20, 22), 15)
    found = harmonic_fill(as_image(values), as_image(known), as_image(domain), SPACING_MM)[0, 0].numpy()
    expected = direct_solution(values, known, domain, SPACING_MM)
    assert np.abs(found / expected - 1.0).max() < 0.01


def test_a_good_start_is_kept() -> None:
    """Begun at the solution, the iteration stays there."""
    shape = (40, 44)
    rows, columns = np.indices(shape)
    values = 4.0 + 0.05 * rows + 0.003 * (columns - 20.0) ** 2
    known = ~disc(shape, (20, 22), 15)
    domain = np.ones(shape, dtype=bool)
    expected = direct_solution(values, known, domain, SPACING_MM)
    start = as_image(expected)
    found = harmonic_fill(as_image(values), as_image(known), as_image(domain), SPACING_MM, start)
    assert (found - start).abs().max() < 1e-9


def test_linear_fields_are_carried_on_exactly() -> None:
    rows, columns = torch.meshgrid(torch.arange(30.0), torch.arange(26.0), indexing="ij")
    field = (2.0 + 0.3 * rows - 0.2 * columns).double()[None, None]
    domain = torch.ones(1, 1, 30, 26, dtype=torch.bool)
    known = as_image(~disc((30, 26), (14, 12), 6))
    torch.testing.assert_close(harmonic_fill(field, known, domain), field, atol=3e-3, rtol=0.0)


def test_constants_come_through_whatever_the_domain(holes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    _, known, domain = (as_image(array) for array in holes)
    found = harmonic_fill(torch.full(known.shape, 3.0), known, domain)
    torch.testing.assert_close(found, 3.0 * domain, atol=1e-4, rtol=0.0)


def test_linear_in_the_values(holes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, known, domain = (as_image(array) for array in holes)
    other = torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=values.dtype)
    both = harmonic_fill(2.0 * values - 3.0 * other, known, domain)
    torch.testing.assert_close(
        both, 2.0 * harmonic_fill(values, known, domain) - 3.0 * harmonic_fill(other, known, domain)
    )


def test_unknown_values_do_not_matter_even_if_nan(holes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, known, domain = (as_image(array) for array in holes)
    spoilt = torch.where(known, values, torch.full_like(values, float("nan")))
    torch.testing.assert_close(harmonic_fill(spoilt, known, domain), harmonic_fill(values, known, domain))


def test_gradient() -> None:
    """It is that of the solution: enough iterations, and it is that of the function too."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 1, 6, 7, generator=generator, dtype=torch.float64).requires_grad_()
    known = torch.rand(1, 1, 6, 7, generator=generator) < 0.5
    domain = torch.ones(1, 1, 6, 7, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: harmonic_fill(x, known, domain, iterations=400), values)


def test_batch_and_channels_are_independent(holes: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    values, known, domain = (as_image(array) for array in holes)
    batch = torch.cat([torch.cat([values, values**2], 1), torch.cat([-values, values.sin()], 1)])
    knowns = torch.cat([known, known.flip(2)])
    domains = torch.cat([domain, domain.flip(2)])
    together = harmonic_fill(batch, knowns, domains)
    for index in range(2):
        for channel in range(2):
            alone = harmonic_fill(
                batch[index : index + 1, channel : channel + 1], knowns[index : index + 1], domains[index : index + 1]
            )
            torch.testing.assert_close(together[index : index + 1, channel : channel + 1], alone)


def test_nothing_known_is_zero_and_all_known_is_unchanged() -> None:
    values = torch.randn(1, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    everywhere = torch.ones(1, 1, 7, 5, dtype=torch.bool)
    assert harmonic_fill(values, ~everywhere, everywhere).count_nonzero() == 0
    torch.testing.assert_close(harmonic_fill(values, everywhere, everywhere), values)
