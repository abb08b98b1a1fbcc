from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.energy_basis import EnergyBasis
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics, mirrored_mean, principal_components


def test_statistics_are_those_of_all_scans_at_once(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean, deviation = image_statistics(rows, ScanSource())
    stack = np.stack([counts_to_unit(load_scan(row["scan"]).counts) for row in rows]).astype(np.float64)
    assert mean.shape == (6, 150, 109)
    assert mean.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), np.moveaxis(stack.mean(0), -1, 0), atol=1e-7)
    assert deviation == pytest.approx(np.sqrt(np.square(stack - stack.mean(0)).mean()), rel=1e-6)


def test_no_scan_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least one scan, got none"):
        image_statistics([], ScanSource())


def test_principal_components_are_those_of_a_singular_value_decomposition(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean, deviation = image_statistics(rows, ScanSource())
    components, deviations = principal_components(rows, mean, 3, ScanSource())
    stack = np.stack([counts_to_unit(load_scan(row["scan"]).counts) for row in rows]).astype(np.float64)
    centred = np.moveaxis(stack - stack.mean(0), -1, 1).reshape(len(rows), -1)
    _, singular_values, basis = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(deviations.numpy(), singular_values[:3] / np.sqrt(len(rows)), rtol=1e-4)
    np.testing.assert_allclose(np.abs(components.flatten(1).numpy() @ basis[:3].T), np.eye(3), atol=1e-3)
    everything, all_deviations = principal_components(rows, mean, len(rows) - 1, ScanSource())
    total = float(all_deviations.square().sum()) / mean.numel()
    assert total == pytest.approx(deviation**2, rel=1e-4)
    assert everything.shape == (len(rows) - 1, 6, 150, 109)


def test_more_components_than_scans_are_refused(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)[:3]
    with pytest.raises(InputError, match="expected more than 3 scans for 3 components, got 3"):
        principal_components(rows, image_statistics(rows, ScanSource())[0], 3, ScanSource())
    assert principal_components(rows, image_statistics(rows, ScanSource())[0], 0, ScanSource())[0].shape == (
        0,
        6,
        150,
        109,
    )


def test_mirror_images_count_as_scans(bar_cohort: Path) -> None:
    """Components of all scans and their mirror images at once, by a singular value decomposition."""
    rows = read_manifest(bar_cohort)
    mean = mirrored_mean(image_statistics(rows, ScanSource())[0])
    assert mean.equal(mean.flip(-1))
    images = torch.stack([ScanSource().image(row["scan"]) for row in rows]) - mean
    both = torch.cat([images, images.flip(-1)]).flatten(1).double()
    _, singular_values, basis = torch.linalg.svd(both, full_matrices=False)
    components, deviations = principal_components(rows, mean, 4, ScanSource(), mirrored=True)
    torch.testing.assert_close(deviations.double(), singular_values[:4] / len(both) ** 0.5, rtol=1e-4, atol=0.0)
    kept = images.flatten(1) @ components.flatten(1).T @ components.flatten(1)
    expected = images.flatten(1).double() @ basis[:4].T @ basis[:4]
    torch.testing.assert_close(kept.double(), expected, atol=1e-4, rtol=0.0)


def test_copies_count_as_scans(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean, _ = image_statistics(rows, ScanSource())
    images = torch.stack([ScanSource().image(row["scan"]) for row in rows])
    numbers = []

    def copies(image: torch.Tensor, number: int) -> list[torch.Tensor]:
        numbers.append(number)
        return [image.roll(2, 1), image.roll(-3, 2)]

    components, deviations = principal_components(rows, mean, 30, ScanSource(), copies=copies)
    every = torch.cat([images, images.roll(2, 2), images.roll(-3, 3)]) - mean
    _, singular_values, basis = torch.linalg.svd(every.flatten(1).double(), full_matrices=False)
    assert numbers == list(range(len(rows)))
    torch.testing.assert_close(deviations.double(), singular_values[:30] / len(every) ** 0.5, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(
        (components[:3].flatten(1).double() @ basis[:3].T).abs(), torch.eye(3).double(), atol=1e-3, rtol=0.0
    )


def test_mirror_images_allow_twice_as_many_components(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)[:3]
    mean = mirrored_mean(image_statistics(rows, ScanSource())[0])
    assert len(principal_components(rows, mean, 5, ScanSource(), mirrored=True)[0]) == 5
    with pytest.raises(InputError, match="expected more than 6 scans for 6 components, got 6"):
        principal_components(rows, mean, 6, ScanSource(), mirrored=True)


def test_more_components_than_scans_and_copies_are_refused(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)[:3]
    mean, _ = image_statistics(rows, ScanSource())

    def copies(image: torch.Tensor, _: int) -> list[torch.Tensor]:
        return [image.roll(2, 1)]

    assert len(principal_components(rows, mean, 5, ScanSource(), copies=copies)[0]) == 5
    with pytest.raises(InputError, match="expected more than 6 scans for 6 components, got 6"):
        principal_components(rows, mean, 6, ScanSource(), copies=copies)
    with pytest.raises(InputError, match="expected more than 6 scans for 6 components, got 0"):
        principal_components([], mean, 6, ScanSource(), copies=copies)


def test_components_lie_in_the_directions_of_a_basis(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean, _ = image_statistics(rows, ScanSource())
    basis = EnergyBasis(torch.eye(2, 6), torch.eye(6, 2))  # the first two channels
    components, deviations = principal_components(rows, mean, 2, ScanSource(), basis)
    images = torch.stack([ScanSource().image(row["scan"]) for row in rows])[:, :2] - mean[:2]
    singular_values = torch.linalg.svdvals(images.flatten(1).double())
    assert components.shape == (2, 2, 150, 109)
    torch.testing.assert_close(deviations.double(), singular_values[:2] / len(rows) ** 0.5, rtol=1e-4, atol=0.0)
