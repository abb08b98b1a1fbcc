"""The scanner of a run; what each calibration gives a table is tested with the inference."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.errors import InputError
from dxa_monai.inference.run_scanner import CALIBRATION_SCANS, calibration_scans, scanner_of_rows, scanner_of_scan
from dxa_monai.physics.scanner_model import ScannerModel, write_scanner_model
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_rows


def test_scans_without_a_body_calibrate_nothing() -> None:
    class EmptyScans(ScanSource):
        def read(self, path: str | os.PathLike[str]) -> RawScan:
            return RawScan(np.full((150, 109, 6), 100, dtype=np.uint16))

    assert len(calibration_scans([{"scan": "a"}, {"scan": "b"}], EmptyScans())[0]) == 0
    assert scanner_of_scan(torch.full((6, 150, 109), 0.01), (13.0, 13.0)) == ScannerModel()


def test_scans_that_cannot_be_read_are_passed_over_and_not_all_are_taken() -> None:
    good = cohort_rows()[0]["scan"]
    read = []

    class SomeTorn(ScanSource):
        def read(self, path: str | os.PathLike[str]) -> RawScan:
            read.append(path)
            if path == "torn":
                raise InputError("torn: expected a scan, got half of one.")
            return super().read(path)

    rows = [{"scan": "torn" if number % 2 else good} for number in range(100)]
    scans, spacing = calibration_scans(rows, SomeTorn())
    assert 0 < len(scans) <= CALIBRATION_SCANS
    assert scans.shape[1:] == (6, 150, 109)
    assert spacing == load_scan(good).pixel_spacing_mm
    assert "torn" in read


def test_people_calibrate_the_scanner_of_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scanner = scanner_of_rows(cohort_rows(), ScanSource())
    assert scanner.source == "scan"
    scans, spacing = calibration_scans(cohort_rows(), ScanSource())
    assert scanner.as_dict() == calibrate_with_scan(scans, pixel_spacing_mm=spacing).as_dict()
    assert capsys.readouterr().out == ""
    write_scanner_model(scanner, tmp_path / "scanner.json")
    # a file needs no scans
    assert scanner_of_rows([], ScanSource(), tmp_path / "scanner.json").as_dict() == scanner.as_dict()


def test_a_scanner_that_no_scan_can_calibrate_is_nominal_and_told(
    bar_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scan(RawScan(np.full((150, 109, 6), 20, dtype=np.uint16)), tmp_path / "empty.npy")
    for rows in ([{"scan": str(tmp_path / "empty.npy")}], read_manifest(bar_cohort)):
        assert scanner_of_rows(rows, ScanSource()) == ScannerModel()
        told = capsys.readouterr().out
        assert told.startswith("Body composition is analysed as of the nominal scanner, uncalibrated: ")
        assert len(told.splitlines()) == 1


def test_a_file_that_is_no_scanner_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a scanner model, got no such file"):
        scanner_of_rows([], ScanSource(), tmp_path / "none.json")
