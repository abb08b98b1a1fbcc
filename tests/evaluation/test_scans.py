"""Image quality and body composition of predicted scans, on virtual people whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dxa_monai.evaluation.composition_tables import (
    SCAN,
    TRUTH,
    composition_metrics,
    composition_predictions,
    composition_table,
    format_composition,
)
from dxa_monai.evaluation.predictors import MEAN_ARM, Batch, MeanScan, Reconstruction, load_shapes
from dxa_monai.evaluation.scans import (
    ALIGNED,
    COMPOSITION_PROCESS_ARM,
    COMPOSITION_RIDGE_ARM,
    MEASURES,
    ORIGINAL,
    SHIFTS,
    composition_from_shape,
    composition_of_scans,
    evaluate_scans,
    mean_composition,
    quality_of_another_visit,
)
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.source import ScanSource

SOURCE = ScanSource()
MESH = {"unit": "m"}
TINY: dict[str, Any] = {"latent_channels": 1, "block_config": (1, 1, 1, 1), "growth_rate": 1, "init_features": 2}
SMALL: dict[str, Any] = {
    "generator_channels": (2, 2, 2),
    "generator_kernel_sizes": (1,),
    "generator_dense_shape": (38, 28),
}


class Copy(DXAVAE):
    """Gives the scan back."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Constant(DXAVAE):
    """Gives one image back, whoever was scanned."""

    def reconstruct(self, x: torch.Tensor) -> torch.Tensor:
        return self.mean_image.expand_as(x)


class OwnScan:
    """Reads the scan of each row itself."""

    def predict(self, batch: Batch) -> torch.Tensor:
        return SOURCE.images(batch.rows)


@pytest.fixture(scope="module")
def scanner() -> ScannerModel:
    return calibrate_with_phantom(StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0)))


@pytest.fixture(scope="module")
def measured(people: list[dict[str, Any]], scanner: ScannerModel) -> pd.DataFrame:
    """Composition of four people, of a perfect reconstruction and of the first person's scan as the answer to all."""
    constant = Constant(**TINY, **SMALL)
    constant.set_mean_image(SOURCE.image(people[0]["scan"]))
    networks = {("copy", 0): Reconstruction(Copy(**TINY, **SMALL)), ("one", 0): Reconstruction(constant)}
    return evaluate_scans(people[:4], SOURCE, networks, scanner)[1]


@pytest.fixture(scope="module")
def predictions(measured: pd.DataFrame, people: list[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    return composition_predictions(measured, {}, [row["scan_id"] for row in people[:4]])


def test_a_perfect_reconstruction_agrees_and_another_person_s_image_does_not(
    predictions: dict[str, pd.DataFrame],
) -> None:
    table = composition_table(predictions).set_index(["reference", "arm", "measure"])
    for name in MEASURES:
        assert table.loc[(SCAN, "copy", name), "rmse"] == pytest.approx(0.0, abs=1e-6)
        assert table.loc[(SCAN, "copy", name), "r2"] == pytest.approx(1.0)
    assert table.loc[(SCAN, "one", "total_mass_g"), "r2"] < 0.5


def test_the_ceiling_compares_scans_with_the_truth(
    measured: pd.DataFrame, predictions: dict[str, pd.DataFrame]
) -> None:
    table = composition_table(predictions).set_index(["reference", "arm", "measure"])
    original = measured[measured["arm"] == ORIGINAL]
    expected = np.sqrt(((original["total_fat_g"] - original["true_total_fat_g"]) ** 2).mean())
    assert table.loc[(TRUTH, ORIGINAL, "total_fat_g"), "rmse"] == pytest.approx(expected)
    assert table.loc[(TRUTH, ORIGINAL, "total_mass_g"), "r2"] > 0.99
    assert table.loc[(TRUTH, ORIGINAL, "total_fat_g"), "r2"] > 0.9


def test_every_measure_is_printed_and_logged(predictions: dict[str, pd.DataFrame]) -> None:
    table = composition_table(predictions)
    text = format_composition(table, SCAN)
    assert all(name in text for name in (*MEASURES, "copy", "one"))
    assert ORIGINAL in format_composition(table, TRUTH)
    assert composition_metrics(table)["copy/total_fat_g_r2_of_scan"] == pytest.approx(1.0)


def test_the_training_mean_is_one_answer_for_everybody(
    measured: pd.DataFrame, people: list[dict[str, Any]], scanner: ScannerModel
) -> None:
    (answers,) = mean_composition(people[:2], people[:4], SOURCE, scanner).values()
    originals = measured[(measured["arm"] == ORIGINAL) & measured["subject_id"].isin(["B0", "B1"])]
    assert answers.shape == (4, len(MEASURES))
    assert len(np.unique(answers, axis=0)) == 1
    np.testing.assert_allclose(answers[0], originals[list(MEASURES)].mean())


def test_of_many_training_scans_some_spread_evenly_make_the_mean(
    people: list[dict[str, Any]], scanner: ScannerModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dxa_monai.evaluation.scans.MEAN_SCANS", 2)
    (some,) = mean_composition(people[:3], people[:1], SOURCE, scanner).values()
    (both,) = mean_composition([people[0], people[2]], people[:1], SOURCE, scanner).values()
    np.testing.assert_array_equal(some, both)


def test_scans_without_a_body_are_left_out(people: list[dict[str, Any]], scanner: ScannerModel, tmp_path: Path) -> None:
    save_scan(RawScan(np.full((150, 109, 6), 20, dtype=np.uint16)), tmp_path / "empty.npy")
    empty = {"subject_id": "e", "scan_id": "e-1", "scan": str(tmp_path / "empty.npy"), "mesh": people[0]["mesh"]}
    copy = {("copy", 0): Reconstruction(Copy(**TINY, **SMALL))}
    quality, measured = evaluate_scans([people[0], empty], SOURCE, copy, scanner)
    assert set(measured["scan_id"]) == {"B0-1"}
    assert set(measured["arm"]) == {ORIGINAL, "copy"}
    assert set(quality["scan_id"]) == {"B0-1", "e-1"}
    assert len(evaluate_scans([empty], SOURCE, copy, scanner)[1]) == 0
    kept, totals = composition_of_scans([empty, people[0]], SOURCE, scanner)
    assert [row["scan_id"] for row in kept] == ["B0-1"]
    np.testing.assert_allclose(totals, measured[measured["arm"] == ORIGINAL][list(MEASURES)])
    assert mean_composition([empty], people[:1], SOURCE, scanner) == {}
    assert composition_from_shape([empty], people[:1], SOURCE, scanner, None) == {}
    (answer,) = mean_composition([empty, people[0]], people[:1], SOURCE, scanner).values()
    np.testing.assert_allclose(answer, totals)


def test_perfect_predictions_are_perfect_in_both_tables(people: list[dict[str, Any]]) -> None:
    held_out = people[:2]
    predictors = {("exact", 0): OwnScan(), ("first", 0): MeanScan(SOURCE.image(people[0]["scan"]))}
    quality, measured = evaluate_scans(held_out, SOURCE, predictors, ScannerModel(), aligned=True)
    exact = quality[quality["arm"] == "exact"]
    assert np.isinf(exact["psnr_db"]).all()
    assert (exact["shift_rows_mm"] == 0.0).all()
    other = quality[(quality["arm"] == "first") & (quality["subject_id"] == "B1")].iloc[0]
    assert other["aligned_psnr_db"] > other["psnr_db"]
    wide = measured.set_index(["arm", "scan_id"])
    for scan_id in ("B0-1", "B1-1"):
        for name in MEASURES:
            assert wide.loc[("exact", scan_id), name] == pytest.approx(wide.loc[(ORIGINAL, scan_id), name])
    assert wide.loc[(ORIGINAL, "B0-1"), "true_total_fat_g"] == people[0]["total_fat_g"]
    assert wide.loc[("first", "B1-1"), "total_mass_g"] != pytest.approx(
        wide.loc[(ORIGINAL, "B1-1"), "total_mass_g"], rel=1e-3
    )


def test_scans_at_a_time_alignment_and_scanner_change_nothing_else(
    people: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictors = {("first", 0): MeanScan(SOURCE.image(people[0]["scan"])), ("exact", 1): OwnScan()}
    aligned, measured = evaluate_scans(people[:3], SOURCE, predictors, None, aligned=True)
    monkeypatch.setattr("dxa_monai.evaluation.scans._SCANS_AT_A_TIME", 2)
    plain, _ = evaluate_scans(people[:3], SOURCE, predictors, None)
    assert measured.empty
    assert set(aligned) - set(plain) == {*SHIFTS, *(name for name in aligned if name.startswith(ALIGNED))}
    keys = ["scan_id", "arm", "seed"]
    plain, aligned = (table.sort_values(keys, ignore_index=True) for table in (plain, aligned[plain.columns]))
    assert list(plain[keys].itertuples(index=False, name=None)) == [
        (f"B{index}-1", arm, seed) for index in range(3) for arm, seed in (("exact", 1), ("first", 0))
    ]
    pd.testing.assert_frame_equal(plain, aligned)


def test_the_mean_of_many_people_is_not_analysed(people: list[dict[str, Any]]) -> None:
    predictors = {(MEAN_ARM, 0): MeanScan(SOURCE.image(people[0]["scan"])), ("exact", 0): OwnScan()}
    quality, measured = evaluate_scans(people[:1], SOURCE, predictors, ScannerModel())
    assert list(quality["arm"]) == [MEAN_ARM, "exact"]
    assert list(measured["arm"]) == [ORIGINAL, "exact"]


def test_another_visit_stands_for_the_prediction_where_there_is_one(people: list[dict[str, Any]]) -> None:
    same = [people[0], people[1] | {"subject_id": "B0"}, people[2]]
    quality = quality_of_another_visit(same, SOURCE).set_index("scan_id")
    assert list(quality.index) == ["B0-1", "B1-1"]
    assert quality.loc["B0-1", "psnr_db"] == pytest.approx(quality.loc["B1-1", "psnr_db"])
    first, second = SOURCE.images(people[:2])
    expected = -10 * torch.log10((first - second).square().mean())
    assert quality.loc["B0-1", "psnr_db"] == pytest.approx(expected.item(), abs=1e-3)
    assert len(quality_of_another_visit(people, SOURCE)) == 0


def test_composition_follows_from_shape_without_an_image(people: list[dict[str, Any]]) -> None:
    training, held_out = people[:5], people[5:6]
    shapes = load_shapes(people[:6], MESH)
    composition = composition_from_shape(training, held_out, SOURCE, ScannerModel(), shapes)
    assert {name: values.shape for name, values in composition.items()} == {
        MEAN_ARM: (1, len(MEASURES)),
        COMPOSITION_RIDGE_ARM: (1, len(MEASURES)),
        COMPOSITION_PROCESS_ARM: (1, len(MEASURES)),
    }
    assert list(composition_from_shape(training[:1], held_out, SOURCE, ScannerModel(), None)) == [MEAN_ARM]


def test_scans_are_read_through_the_source(people: list[dict[str, Any]], tmp_path: Path) -> None:
    """Files with their channels in another order give the same tables, where the source says so."""
    source = ScanSource(channels=CHANNELS[::-1])
    others = []
    for row in people[:2]:
        path = tmp_path / f"{row['scan_id']}.npy"
        save_scan(RawScan(np.ascontiguousarray(load_scan(row["scan"]).counts[..., ::-1])), path)
        others.append(row | {"scan": str(path), "subject_id": "same"})
    rows = [row | {"subject_id": "same"} for row in people[:2]]
    predictors = {("first", 0): MeanScan(SOURCE.image(people[0]["scan"]))}
    for found, expected in zip(
        evaluate_scans(others, source, predictors, ScannerModel()),
        evaluate_scans(rows, SOURCE, predictors, ScannerModel()),
        strict=True,
    ):
        pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(quality_of_another_visit(others, source), quality_of_another_visit(rows, SOURCE))
    found, expected = (
        composition_of_scans(each, of, ScannerModel())[1] for each, of in ((others, source), (rows, SOURCE))
    )
    np.testing.assert_array_equal(found, expected)
