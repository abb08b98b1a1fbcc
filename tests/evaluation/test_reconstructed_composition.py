"""Table 2: a perfect reconstruction agrees with its scan, a mean image does not; the ceiling is the analysis' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dxa_monai.evaluation.composition import MEASURES_13
from dxa_monai.evaluation.reconstructed_composition import (
    CEILING,
    MEAN,
    MEASURES,
    ORIGINAL,
    format_table_2,
    measured_composition,
    table_2,
    table_2_as_metrics,
)
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.scanner_model import ScannerModel, calibrate_with_phantom
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.io import RawScan, save_scan


class _Copy(DXAVAE):
    """Gives the scan back."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return x


class _Constant(DXAVAE):
    """Gives one image back, whoever was scanned."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return self.mean_image.expand_as(x)


TINY = {"latent_channels": 1, "block_config": (1, 1, 1, 1), "growth_rate": 1, "init_features": 2}
SMALL = {"generator_channels": (2, 2, 2), "generator_kernel_sizes": (1,), "generator_dense_shape": (38, 28)}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Manifest rows of four virtual people."""
    folder = tmp_path_factory.mktemp("people")
    simulator = Simulator()
    rows = []
    for index in range(4):
        visit = simulator.simulate_person(index, 11).visits[0]
        save_scan(RawScan(visit.counts), folder / f"{index}.npy")
        rows.append(
            {"subject_id": str(index), "scan_id": f"{index}-1", "scan": str(folder / f"{index}.npy")} | visit.totals
        )
    return rows


@pytest.fixture(scope="module")
def scanner() -> ScannerModel:
    return calibrate_with_phantom(StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def measured(people: list[dict[str, Any]], scanner: ScannerModel) -> pd.DataFrame:
    constant = _Constant(**TINY, **SMALL)
    raw = np.load(people[0]["scan"]).astype(np.float32) / 16383.0
    constant.set_mean_image(torch.from_numpy(np.moveaxis(raw, -1, 0).copy()))
    return measured_composition(people, people[:2], {"copy": [_Copy(**TINY, **SMALL)], "one": [constant]}, scanner)


def test_a_perfect_reconstruction_agrees_and_another_person_s_image_does_not(measured: pd.DataFrame) -> None:
    table = table_2(measured).set_index(["source", "measure"])
    for name in MEASURES:
        assert table.loc[("copy", name), "rmse"] == pytest.approx(0.0, abs=1e-6)
        assert table.loc[("copy", name), "r2"] == pytest.approx(1.0)
    assert table.loc[("one", "total_mass_g"), "r2"] < 0.5


def test_the_ceiling_compares_scans_with_the_truth(measured: pd.DataFrame) -> None:
    table = table_2(measured).set_index(["source", "measure"])
    original = measured[measured["source"] == ORIGINAL]
    expected = np.sqrt(((original["total_fat_g"] - original["true_total_fat_g"]) ** 2).mean())
    assert table.loc[(CEILING, "total_fat_g"), "rmse"] == pytest.approx(expected)
    assert table.loc[(CEILING, "total_mass_g"), "r2"] > 0.99
    assert table.loc[(CEILING, "total_fat_g"), "r2"] > 0.9


def test_the_training_mean_is_one_answer_for_everybody(measured: pd.DataFrame) -> None:
    answers = measured[measured["source"] == MEAN]
    originals = measured[(measured["source"] == ORIGINAL) & measured["subject_id"].isin(["0", "1"])]
    assert answers["total_fat_g"].nunique() == 1
    assert answers["total_fat_g"].iloc[0] == pytest.approx(originals["total_fat_g"].mean())


def test_scans_without_a_body_are_left_out(people: list[dict[str, Any]], scanner: ScannerModel, tmp_path: Path) -> None:
    save_scan(RawScan(np.full((150, 109, 6), 20, dtype=np.uint16)), tmp_path / "empty.npy")
    empty = {"subject_id": "e", "scan_id": "e-1", "scan": str(tmp_path / "empty.npy")}
    measured = measured_composition([people[0], empty], [], {"copy": [_Copy(**TINY, **SMALL)]}, scanner)
    assert set(measured["scan_id"]) == {"0-1"}
    assert set(measured["source"]) == {ORIGINAL, "copy"}
    assert len(measured_composition([empty], [], {"copy": [_Copy(**TINY, **SMALL)]}, scanner)) == 0


def test_every_measure_is_printed_and_logged(measured: pd.DataFrame) -> None:
    table = table_2(measured)
    text = format_table_2(table)
    assert all(name in text for name in (*MEASURES_13, CEILING, "copy", "one"))
    assert table_2_as_metrics(table)["copy/total_fat_g_r2"] == pytest.approx(1.0)
