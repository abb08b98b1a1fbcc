"""Few bad scans are listed and left out, many stop the run, and without a policy the first does."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.quarantine import QUARANTINE_COLUMNS, QUARANTINE_NAME, BadScan, BadScanPolicy

BAD = [BadScan({"subject_id": "A", "scan_id": f"A{i}"}, f"a{i}.npy", "train", f"a{i}.npy: bad.") for i in range(2)]


def listed(folder: Path) -> list[dict[str, str]]:
    with open(folder / QUARANTINE_NAME, newline="") as file:
        return list(csv.DictReader(file))


def test_stop_ends_with_the_first_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^a0\.npy: bad\.$"):
        BadScanPolicy().apply(BAD, 1000, tmp_path)
    BadScanPolicy().apply([], 1000, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_quarantine_lists_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    BadScanPolicy("quarantine").apply(BAD, 100, tmp_path)
    assert tuple(listed(tmp_path)[0]) == QUARANTINE_COLUMNS
    assert listed(tmp_path)[1] == {
        "subject_id": "A",
        "scan_id": "A1",
        "path": "a1.npy",
        "part": "train",
        "reason": "a1.npy: bad.",
    }
    assert "2 of 100 scans" in caplog.text


@pytest.mark.parametrize(("total", "share", "stops"), [(100, 0.02, False), (99, 0.02, True), (2, 1.0, False)])
def test_the_share_is_the_limit(tmp_path: Path, total: int, share: float, stops: bool) -> None:
    policy = BadScanPolicy("quarantine", share)
    if not stops:
        policy.apply(BAD, total, tmp_path)
        return
    with pytest.raises(InputError, match=r"quarantine\.csv: expected at most 2 % of 99 scans .* got 2"):
        policy.apply(BAD, total, tmp_path)
    assert len(listed(tmp_path)) == 2


def test_no_bad_scan_leaves_an_empty_table(tmp_path: Path) -> None:
    BadScanPolicy("quarantine").apply(BAD, 100, tmp_path)
    BadScanPolicy("quarantine").apply([], 100, tmp_path)
    assert listed(tmp_path) == []


def test_arguments_are_checked() -> None:
    with pytest.raises(InputError, match="bad_scans: expected one of stop, quarantine, got 'skip'"):
        BadScanPolicy("skip")
    with pytest.raises(InputError, match="max_bad_share: expected a share from 0 to 1, got 2"):
        BadScanPolicy("quarantine", 2)
