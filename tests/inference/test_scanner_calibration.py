from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.inference.scanner_calibration import calibrate_scanner
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import CHANNELS, unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_rows


@pytest.fixture(scope="module")
def phantom() -> torch.Tensor:
    return StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0))


def test_the_file_holds_the_model_of_the_phantoms_scan(phantom: torch.Tensor, tmp_path: Path) -> None:
    save_scan(RawScan(unit_to_counts(np.moveaxis(phantom.numpy(), 0, -1))), tmp_path / "phantom.npy")
    model = calibrate_scanner(tmp_path / "phantom.npy", tmp_path / "models" / "scanner.json")
    assert read_scanner_model(tmp_path / "models" / "scanner.json").as_dict() == model.as_dict()
    assert model.beam == calibrate_with_phantom(phantom).beam


def test_another_order_of_channels_is_declared(phantom: torch.Tensor, tmp_path: Path) -> None:
    order = [1, 0, 3, 2, 5, 4]
    counts = unit_to_counts(np.moveaxis(phantom.numpy()[order], 0, -1))
    np.save(tmp_path / "phantom.npy", counts)
    declared = calibrate_scanner(
        tmp_path / "phantom.npy", tmp_path / "a.json", ScanSource([CHANNELS[index] for index in order])
    )
    assert declared.beam == calibrate_with_phantom(phantom).beam


def test_a_scan_of_a_person_is_no_phantom(tmp_path: Path) -> None:
    scan = cohort_rows()[0]["scan"]
    with pytest.raises(InputError, match=f"{Path(scan).name}: .*phantom"):
        calibrate_scanner(scan, tmp_path / "model.json")
    assert not (tmp_path / "model.json").exists()
