"""How a scan is read and analysed; what the numbers are is tested with inference and with the page for landmarks."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.analysis.bone import BoneSettings
from dxa_monai.inference.scan_analysis import ScanAnalysis
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_rows

ONE = ScanAnalysis(ScannerModel())


@pytest.mark.parametrize(
    "other",
    [
        {"model": ScannerModel(photons_per_pixel=5e5)},
        {"settings": BoneSettings(coupling=1.2)},
        {"source": ScanSource(channels=[*CHANNELS[:2], *CHANNELS[4:], *CHANNELS[2:4]])},
        {"source": ScanSource(pixel_spacing_mm=(13.0, 6.1))},
        {"source": ScanSource(zero_counts=[1, 2, 3, 4, 5, 6])},
        {"method": "q_scan"},
        {"predicted": True},
    ],
)
def test_whatever_changes_the_numbers_changes_the_fingerprint(other: dict[str, Any]) -> None:
    path = cohort_rows()[0]["scan"]
    first = ONE.read(path, "A").fingerprint(None)
    assert first == dataclasses.replace(ONE, model=ScannerModel()).read(path, "A").fingerprint(None)
    assert first != dataclasses.replace(ONE, **other).read(path, "A").fingerprint(None)


def test_polygons_and_landmarks_change_the_fingerprint(tmp_path: Path) -> None:
    path = cohort_rows()[0]["scan"]
    scan = ONE.read(path, "A")
    landmarks = ScanAnalysis().read(path, "A").composition(None).landmarks
    (tmp_path / "polygons.json").write_text(
        '{"version": 1, "unit": "pixel", "polygons": {"belly": [[60, 30], [60, 70], [90, 70]]}}'
    )
    with_polygons = dataclasses.replace(ONE, polygons_file=tmp_path / "polygons.json").read(path, "A")
    assert landmarks is not None
    assert len({scan.fingerprint(None), scan.fingerprint(landmarks), with_polygons.fingerprint(None)}) == 3
