from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.figures.contact_sheet import _images, _label
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.io import RawScan, save_scan
from tests.lying_bodies import SCANNERS, lying_bodies


def _panels(acquisition: Acquisition, folder: Path) -> list[np.ndarray]:
    """Low, high, R and the three maps of a body."""
    areal = lying_bodies()[:1]
    counts = acquisition.scan(areal, torch.Generator().manual_seed(0))[0]
    folder.mkdir()
    save_scan(RawScan(counts), folder / "scan.npy")
    np.savez(
        folder / "truth.npz",
        areal_density_g_cm2=areal[0].numpy(),
        region_map=np.zeros(areal.shape[2:], dtype=np.uint8),
        pixel_spacing_mm=[13.0, 6.06],
    )
    row = {"scan_id": "a", "scan": str(folder / "scan.npy"), "truth": str(folder / "truth.npz")}
    return [np.asarray(panel) for panel in _images(row)]


def test_a_grey_background_shows_in_low_and_high_and_not_in_r(tmp_path: Path) -> None:
    ideal, realistic = (_panels(acquisition, tmp_path / name) for name, acquisition in SCANNERS.items())
    for energy in (0, 1):
        assert np.median(ideal[energy][:, :5]) < 0.001
        assert np.median(realistic[energy][:, :5]) > 0.1
    body = ideal[3] + ideal[4] + ideal[5] > 1.0
    for panels in (ideal, realistic):
        assert np.array_equal(np.isfinite(panels[2]), body)
    assert np.median(realistic[2][body]) == pytest.approx(np.median(ideal[2][body]), abs=0.02)


@pytest.mark.parametrize(
    ("sex", "age_years", "expected"),
    [("F", 7.0, "girl, 7 y"), ("M", 17.0, "boy, 17 y"), ("F", 18.0, "woman, 18 y"), ("M", 60.0, "man, 60 y")],
)
def test_children_are_called_girl_and_boy(sex: str, age_years: float, expected: str) -> None:
    person = {"subject_id": "a", "height_cm": 120.0, "mass_kg": 25.0, "total_fat_percent": 20.0}
    assert _label(person | {"sex": sex, "age_years": age_years}).split("\n")[1] == expected
