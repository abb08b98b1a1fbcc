"""Copies are found whatever was done to them, two visits are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from dxa_monai.scan.duplicates import DuplicatePair, near_duplicates, residual, signature
from tests.lying_bodies import SCANNERS, lying_bodies
from tests.scan.examples import air_counts, body_counts


def person(seed: int) -> np.ndarray:
    """A body of its own size and place."""
    rng = np.random.default_rng(seed)
    counts = body_counts(seed=seed).astype(float)
    rows, columns = np.meshgrid(np.linspace(-1, 1, 150), np.linspace(-1, 1, 109), indexing="ij")
    for _ in range(6):
        row, column = rng.uniform(-0.6, 0.6), rng.uniform(-0.4, 0.4)
        blob = np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 0.02)
        counts += 3000.0 * blob[..., None] * (counts > 1500)
    return np.clip(counts, 0, 16383).astype(np.uint16)


def noisy(counts: np.ndarray, sd: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0.0, sd, counts.shape)
    return np.clip(np.rint(counts + noise), 0, 16383).astype(np.uint16)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda counts: counts.copy(),
    "noise": lambda counts: noisy(counts, 30.0),
    "shift by one": lambda counts: np.roll(counts, (1, 0), (0, 1)),
    "shift by two": lambda counts: np.roll(counts, (-2, 2), (0, 1)),
    "both": lambda counts: noisy(np.roll(counts, (2, -1), (0, 1)), 30.0),
    "eight bits": lambda counts: (np.rint(counts / 64.0) * 64.0).clip(0, 16383).astype(np.uint16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_others(change: str) -> None:
    scans = [person(seed) for seed in range(8)]
    scans.append(CHANGES[change](scans[3]))
    (pair,) = near_duplicates([signature(scan) for scan in scans], lambda place: scans[place])
    assert (pair.first, pair.second) == (3, 8)


@pytest.mark.parametrize("change", CHANGES)
def test_a_mirrored_copy_is_found_and_nobody_is_his_own(change: str) -> None:
    scans = [person(seed) for seed in range(8)]
    scans.append(np.ascontiguousarray(CHANGES[change](scans[3])[:, ::-1]))
    (pair,) = near_duplicates([signature(scan) for scan in scans], lambda place: scans[place])
    assert (pair.first, pair.second, pair.mirrored) == (3, 8, True)


def test_a_copy_of_somebody_symmetric_is_told_once() -> None:
    half = person(3)
    scan = np.maximum(half, half[:, ::-1])
    (pair,) = near_duplicates([signature(scan)] * 2, lambda place: scan)
    assert (pair.first, pair.second, pair.mirrored) == (0, 1, False)


def test_a_turned_body_is_another_visit() -> None:
    scan = person(0)
    turned = rotate(scan.astype(float), 3.0, reshape=False, order=1, mode="nearest").clip(0, 16383).astype(np.uint16)
    assert near_duplicates([signature(scan), signature(turned)], [scan, turned].__getitem__) == []


def test_a_zero_of_the_scanner_does_not_tell_scans_apart_or_make_them_alike() -> None:
    """Two bodies are about as far apart on a scanner with a table, a pedestal and another wheel as on one without."""
    found = []
    for acquisition in SCANNERS.values():
        lean, fat = acquisition.scan(lying_bodies(), torch.Generator().manual_seed(0))
        first, second = signature(lean), signature(fat)
        assert first is not None
        assert second is not None
        found.append((first, second, residual(lean, fat)))
    (lean, fat, apart), (also_lean, also_fat, also_apart) = found
    assert np.linalg.norm(lean - also_lean) < 0.01
    assert np.linalg.norm(lean - fat) == pytest.approx(np.linalg.norm(also_lean - also_fat), rel=0.05)
    assert also_apart == pytest.approx(apart, rel=0.15)


def test_only_what_is_near_is_opened() -> None:
    scans = [person(seed) for seed in range(5)]
    opened: list[int] = []

    def load(place: int) -> np.ndarray:
        opened.append(place)
        return scans[2 if place == 5 else place]

    signatures = [signature(scan) for scan in scans]
    pairs = near_duplicates([*signatures, signatures[2]], load)
    assert pairs == [DuplicatePair(2, 5, pytest.approx(0.0, abs=1e-6), 0.0)]
    assert sorted(opened) == [2, 5]


def test_residual_against_the_formula() -> None:
    scan = person(4)
    body = scan.mean(axis=-1) > np.percentile(scan.mean(axis=-1), 5) + 0.5 / 12 * 16383
    other = noisy(scan, 5.0)
    body |= other.mean(axis=-1) > np.percentile(other.mean(axis=-1), 5) + 0.5 / 12 * 16383
    one, two = scan[body].astype(float), other[body].astype(float)
    expected = np.sqrt(((one - two) ** 2).mean()) / ((one + two) / 2).std()
    assert residual(scan, other) == pytest.approx(expected, rel=1e-4)
    assert residual(other, scan) == pytest.approx(expected, rel=1e-4)


def test_a_signature_has_no_place_and_unit_length() -> None:
    scan = person(5)
    found = signature(scan)
    assert found is not None
    assert np.linalg.norm(found) == pytest.approx(1.0, rel=1e-5)
    assert abs(float(found.sum())) < 1e-4
    moved = signature(np.roll(scan, (3, -2), (0, 1)))
    assert moved is not None
    assert np.linalg.norm(found - moved) < 1e-3


def test_without_a_body_there_is_nothing_to_compare() -> None:
    assert signature(air_counts()) is None
    assert signature(np.zeros((8, 8, 6), np.uint16)) is None
    assert residual(air_counts(), air_counts()) == float("inf")
    assert residual(person(0), body_counts((80, 60))) == float("inf")
    assert near_duplicates([None, None, signature(person(0))], lambda place: person(0)) == []


def test_each_of_many_copies_is_in_a_pair() -> None:
    scan = person(6)
    pairs = near_duplicates([signature(scan)] * 12, lambda place: scan, neighbours=3)
    assert {place for pair in pairs for place in (pair.first, pair.second)} == set(range(12))
