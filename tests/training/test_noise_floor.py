import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.losses.elementary import PixelL1
from dxa_monai.losses.perceptual import RAW_VIEWS, CalibratedPerceptualLoss, RawPerceptualLoss
from dxa_monai.losses.vgg import VGGFeatures
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.calibration import STACKS
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.training.data import TrainingData
from dxa_monai.training.noise_floor import NoiseFloorFile


def _cohort(folder: Path, photons_per_pixel: float, scanner: str = "ideal") -> list[dict[str, str]]:
    acquisition = {"ideal": Acquisition.ideal, "realistic": Acquisition}[scanner](photons_per_pixel=photons_per_pixel)
    areal = np.zeros((3, 150, 109), dtype=np.float32)
    areal[:, 40:110, 30:80] = np.array([4.0, 12.0, 0.3])[:, None, None]
    counts = acquisition.scan(torch.from_numpy(areal)[None], torch.Generator().manual_seed(0))[0]
    folder.mkdir()
    regions = np.zeros(areal.shape[1:], dtype=np.uint8)
    np.savez(folder / "truth.npz", areal_density_g_cm2=areal, region_map=regions, pixel_spacing_mm=[13.0, 6.06])
    save_scan(RawScan(counts), folder / "scan.npy")
    (folder / "cohort.json").write_text(json.dumps({"acquisition": acquisition.as_dict()}))
    return [{"scan_id": "a", "scan": str(folder / "scan.npy"), "truth": str(folder / "truth.npz")}]


class _Data(TrainingData):
    """Rows that no manifest lists."""

    def __init__(self, folder: Path, rows: list[dict[str, str]]) -> None:
        super().__init__(folder / "manifest.csv", folder)
        self.training_rows = rows


@pytest.fixture(scope="module")
def loss() -> WeightedLoss:
    features = VGGFeatures("random", cutoff="relu1_2", downsampling=4)
    return WeightedLoss(
        {
            "pixel_l1": Term(PixelL1()),
            "raw_perceptual": Term(RawPerceptualLoss(features)),
            "calibrated_perceptual": Term(CalibratedPerceptualLoss("as_published", features=features)),
        }
    ).eval()


def test_fewer_photons_raise_every_view_s_floor(tmp_path: Path, loss: WeightedLoss) -> None:
    floors = []
    for photons in (3e6, 1e5):
        folder = tmp_path / f"{photons:g}"
        rows = _cohort(folder, photons)
        NoiseFloorFile(folder, loss, _Data(folder, rows)).write()
        floors.append(json.loads((folder / "noise_floor.json").read_text())["floor"])
    assert set(floors[0]) == {*RAW_VIEWS, *STACKS}
    assert all(floors[1][view] > floors[0][view] > 0 for view in floors[0])


def test_the_noise_free_reference_has_the_scanner_s_zero(tmp_path: Path, loss: WeightedLoss) -> None:
    """Raw channels lie no further from it than drift and an uneven mat make them."""
    floors = {}
    for scanner in ("ideal", "realistic"):
        folder = tmp_path / scanner
        NoiseFloorFile(folder, loss, _Data(folder, _cohort(folder, 3e6, scanner))).write()
        floors[scanner] = json.loads((folder / "noise_floor.json").read_text())["floor"]
    for view in RAW_VIEWS:
        assert floors["ideal"][view] < floors["realistic"][view] < 10 * floors["ideal"][view]


@pytest.mark.parametrize(("name", "content"), [("cohort.json", "{}"), ("cohort.json", "[1"), ("truth.npz", "no zip")])
def test_a_broken_cohort_is_told_with_its_path(tmp_path: Path, loss: WeightedLoss, name: str, content: str) -> None:
    folder = tmp_path / "cohort"
    rows = _cohort(folder, 3e6)
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: expected"):
        NoiseFloorFile(folder, loss, _Data(folder, rows)).write()
    assert not (folder / "noise_floor.json").exists()


def test_scans_without_truth_have_no_floor(tmp_path: Path, loss: WeightedLoss) -> None:
    rows = [{"scan_id": "a", "scan": "a.npy"}]
    NoiseFloorFile(tmp_path, loss, _Data(tmp_path, rows)).write()
    assert not (tmp_path / "noise_floor.json").exists()


def test_a_loss_without_perceptual_terms_has_no_floor(tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    data = _Data(folder, _cohort(folder, 3e6))
    NoiseFloorFile(folder, WeightedLoss({"pixel_l1": Term(PixelL1())}), data).write()
    assert not (folder / "noise_floor.json").exists()
