"""The scanner of a run; what each calibration gives a table is tested with the inference."""

from __future__ import annotations

import os

import numpy as np
import torch

from dxa_monai.analysis.run_scanner import CALIBRATION_SCANS, calibration_scans, scanner_of_scan
from dxa_monai.errors import InputError
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.io import RawScan, load_scan
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
