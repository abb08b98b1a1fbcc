"""Two directions for two energies, and how far apart they put fat and lean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.energy_basis import EnergyBasis, energy_basis
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import scan_moments

SHAPE = (150, 109)
SOURCE = ScanSource()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Scans of two materials behind three equal segments: low energy reads 1.2 of one and 1.3 of the other."""
    folder, rng = tmp_path_factory.mktemp("scans"), np.random.default_rng(0)
    rows = []
    for number in range(6):
        fat, lean = rng.uniform(500.0, 2500.0, (2, *SHAPE))
        high, low = fat + lean, 1.2 * fat + 1.3 * lean
        counts = np.stack([high, low] * 3, axis=-1) + 3000.0
        path = folder / f"{number}.npy"
        save_scan(RawScan(np.rint(counts).astype(np.uint16)), path)
        rows.append({"scan": str(path)})
    return rows


@pytest.fixture(scope="module")
def mean(rows: list[dict[str, str]]) -> torch.Tensor:
    return torch.stack([SOURCE.image(row["scan"]) for row in rows]).mean(0)


def deviation(rows: list[dict[str, str]], mean: torch.Tensor) -> torch.Tensor:
    return SOURCE.image(rows[0]["scan"]) - mean


def back(basis: EnergyBasis, deviations: torch.Tensor) -> torch.Tensor:
    return (basis.synthesis @ basis.directions_of(deviations).flatten(1)).unflatten(1, deviations.shape[1:])


@pytest.mark.parametrize("weight", [1.0, 6.0])
def test_two_directions_hold_what_two_energies_say(
    rows: list[dict[str, str]], mean: torch.Tensor, weight: float
) -> None:
    basis = energy_basis(scan_moments(rows, SOURCE), mean, weight)
    assert basis.analysis.shape == (2, 6)
    # what is left is the rounding of counts
    torch.testing.assert_close(back(basis, deviation(rows, mean)), deviation(rows, mean), atol=1.0 / 16383, rtol=0.0)
    one = energy_basis(scan_moments(rows, SOURCE), mean, weight, directions=1)
    assert (back(one, deviation(rows, mean)) - deviation(rows, mean)).abs().max() > 1e-3
    torch.testing.assert_close(basis.analysis @ basis.synthesis, torch.eye(2), atol=1e-5, rtol=0.0)


def test_the_weight_counts_the_contrast_and_nothing_else(rows: list[dict[str, str]], mean: torch.Tensor) -> None:
    """The slope of low over high is that of all pixels, 1.25; what lies along it keeps its length."""
    along = torch.tensor([1.0, 1.25] * 3)[:, None, None]
    across = torch.tensor([-1.25, 1.0] * 3)[:, None, None]
    for weight in (1.0, 6.0):
        basis = energy_basis(scan_moments(rows, SOURCE), mean, weight)
        lengths = [float(basis.directions_of(each).norm() / each.norm()) for each in (along, across)]
        assert lengths[0] == pytest.approx(1.0, abs=0.01)
        assert lengths[1] == pytest.approx(weight, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"directions": 7}, "linear_directions: expected 1 to 6, got 7"),
        ({"directions": 0}, "linear_directions: expected 1 to 6, got 0"),
        ({"contrast_weight": 0.0}, "contrast_weight: expected a positive number, got 0"),
        ({"contrast_weight": float("nan")}, "contrast_weight: expected a positive number, got nan"),
    ],
)
def test_numbers_out_of_range_are_refused(
    rows: list[dict[str, str]], mean: torch.Tensor, arguments: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        energy_basis(scan_moments(rows, SOURCE), mean, **arguments)  # type: ignore[arg-type]


def test_scans_that_are_all_alike_have_no_basis(rows: list[dict[str, str]]) -> None:
    with pytest.raises(InputError, match="expected scans that differ from their mean, got 1"):
        energy_basis(scan_moments(rows[:1], SOURCE), SOURCE.image(rows[0]["scan"]))


def test_the_basis_is_that_of_the_deviations_scan_by_scan(rows: list[dict[str, str]], mean: torch.Tensor) -> None:
    """From the moments of one pass, about another mean too, as that of mirror images."""
    for origin in (mean, (mean + mean.flip(-1)) / 2.0):
        deviations = [(SOURCE.image(row["scan"]) - origin).flatten(1).double() for row in rows]
        expected = torch.stack([each @ each.T / each.shape[1] for each in deviations]).mean(0)
        found = scan_moments(rows, SOURCE).covariance(origin)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-10)
