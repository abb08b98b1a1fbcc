from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.image import imread

from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.figures.scan_report import composition_figure
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE
from tests.analysis.cohort import raw_scan


def test_an_analysed_scan_is_drawn(tmp_path: Path) -> None:
    raw = torch.from_numpy(raw_scan())
    found = analyse_scan(raw, calibrate_with_scan(raw))
    polygon = {"belly": [(60.0, 40.0), (60.0, 60.0), (70.0, 60.0)]}
    path = composition_figure(found, "title", PIXEL_SPACING_MM, polygon, tmp_path / "a.png")
    assert imread(path)[..., :3].std() > 0.1


def test_a_refused_scan_is_drawn(tmp_path: Path) -> None:
    found = analyse_scan(torch.zeros(6, *SCAN_SHAPE), ScannerModel())
    assert found.refused
    assert np.isfinite(imread(composition_figure(found, "empty", PIXEL_SPACING_MM, {}, tmp_path / "a.png"))).all()
