"""Screening tells of each scan what reading it would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dxa_monai.scan import screening
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.screening import copies_among, read_scans
from dxa_monai.scan.source import ScanSource
from tests.scan.examples import body_counts


@pytest.fixture
def paths(tmp_path: Path) -> list[str]:
    """Scan 1 is cut short, scan 3 inverted, scan 4 a copy of scan 0 in another format."""
    files = [tmp_path / f"{name}.npy" for name in "abcd"]
    for seed, file in enumerate(files):
        save_scan(RawScan(body_counts(seed=seed)), file)
    files[1].write_bytes(files[1].read_bytes()[:1000])
    np.save(files[3], 16383 - body_counts(seed=3))
    save_scan(RawScan(body_counts(seed=0)), tmp_path / "e.nii.gz")
    return [str(file) for file in [*files, tmp_path / "e.nii.gz"]]


def test_each_bad_scan_has_its_sentence_and_no_signature(paths: list[str]) -> None:
    scans = read_scans(paths, ScanSource())
    assert [bool(scan.reason) for scan in scans] == [False, True, False, True, False]
    assert [scan.signature is None for scan in scans] == [False, True, False, True, False]
    assert scans[1].reason.startswith(paths[1])
    assert "low energy to attenuate more" in scans[3].reason


def test_the_reader_says_what_a_scan_has_to_be(paths: list[str]) -> None:
    assert all(scan.reason for scan in read_scans(paths, ScanSource(spatial_shape=(10, 10))))


def test_a_copy_in_another_format(paths: list[str]) -> None:
    rows = [{"scan": path} for path in paths]
    pairs = copies_among(rows, read_scans(paths, ScanSource()), ScanSource())
    assert (0, 4) in {(pair.first, pair.second) for pair in pairs}
    assert next(pair for pair in pairs if pair.second == 4).residual == 0.0


def test_processes_and_chunks_change_nothing(paths: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    here = read_scans(paths, ScanSource())
    monkeypatch.setattr(screening, "CHUNK_SCANS", 2)
    monkeypatch.setattr(screening, "_WORTH_PROCESSES", 1)
    there = read_scans(paths, ScanSource(), workers=2)
    assert [scan.reason for scan in here] == [scan.reason for scan in there]
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.signature, other.signature) if one.reason == "" else other.signature is None
