from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dxa_monai.evaluation.pseudo_dxa_tables import (
    SCAN,
    TRUTH,
    composition_predictions,
    format_table_4,
    format_table_5,
    table_4,
    table_4_differences,
    table_5,
    table_5_differences,
    tables_as_metrics,
)
from dxa_monai.evaluation.reconstructed_composition import MEASURES, ORIGINAL

PEOPLE = 12


@pytest.fixture
def quality() -> pd.DataFrame:
    """Two arms, the second with two seeds, 2 and 4 dB better; alignment gives 1 dB to all."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(PEOPLE):
        base = rng.normal(28, 1)
        for arm, seed, better in (("mean", 0, 0.0), ("net", 0, 2.0), ("net", 1, 4.0)):
            values = {"psnr_db": base + better, "ssim": 0.9, "nmae": 0.1}
            aligned = {"aligned_psnr_db": base + better + 1.0, "aligned_ssim": 0.95, "aligned_nmae": 0.09}
            moved = {"shift_rows_mm": -13.0, "shift_columns_mm": 3.0, "turn_degrees": 0.5}
            ids = {"scan_id": f"{person}-1", "subject_id": str(person), "arm": arm, "seed": seed}
            rows.append(ids | values | aligned | moved)
    return pd.DataFrame(rows)


def test_table_4_averages_seeds_and_sets_alignment_beside(quality: pd.DataFrame) -> None:
    table = table_4(quality).set_index("arm")
    assert table.loc["net", "psnr_db"] == pytest.approx(table.loc["mean", "psnr_db"] + 3.0)
    assert table.loc["net", "psnr_db_seed_sd"] == pytest.approx(np.sqrt(2.0))
    assert table.loc["net", "psnr_db_low"] < table.loc["net", "psnr_db"] < table.loc["net", "psnr_db_high"]
    assert table.loc["net", "aligned_psnr_db"] == pytest.approx(table.loc["net", "psnr_db"] + 1.0)
    assert table.loc["net", "rms_shift_rows_mm"] == pytest.approx(13.0)
    difference = table_4_differences(quality).iloc[0]
    assert (difference["arm"], difference["minus"]) == ("net", "mean")
    assert difference["psnr_db_low"] == pytest.approx(3.0) == difference["aligned_psnr_db_high"]
    assert f"{table.loc['net', 'aligned_psnr_db']:.2f}" in format_table_4(table_4(quality))


@pytest.fixture
def measured() -> pd.DataFrame:
    """The scan is 1 % off the truth, a network gives the scan's numbers, each seed off by +-1 g."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for person in range(PEOPLE):
        true = rng.uniform(100, 200, len(MEASURES))
        ids = {"scan_id": f"{person}-1", "subject_id": str(person)}
        truth = {f"true_{name}": value for name, value in zip(MEASURES, true, strict=True)}
        for arm, seed, off in ((ORIGINAL, 0, 0.0), ("net", 0, 1.0), ("net", 1, -1.0)):
            values = dict(zip(MEASURES, 1.01 * true + off, strict=True))
            rows.append(ids | {"arm": arm, "seed": seed} | truth | values)
    return pd.DataFrame(rows)


def test_table_5_compares_with_the_scan_and_with_the_truth(measured: pd.DataFrame) -> None:
    ids = [f"{person}-1" for person in range(PEOPLE)]
    constant = np.full((PEOPLE, len(MEASURES)), 150.0)
    predictions = composition_predictions(measured, {"training_mean": constant}, ids)
    table = table_5(predictions).set_index(["reference", "arm", "measure"])
    assert list(predictions) == [SCAN, TRUTH]
    assert table.loc[(SCAN, "net", "total_fat_g"), "rmse"] == pytest.approx(1.0)
    assert table.loc[(SCAN, "net", "total_fat_g"), "seeds"] == 2
    assert table.loc[(SCAN, "training_mean", "total_fat_g"), "r2"] < 0.1
    assert (SCAN, ORIGINAL, "total_fat_g") not in table.index
    original = measured[measured["arm"] == ORIGINAL]
    ceiling = np.sqrt(((original["total_fat_g"] - original["true_total_fat_g"]) ** 2).mean())
    assert table.loc[(TRUTH, ORIGINAL, "total_fat_g"), "rmse"] == pytest.approx(ceiling)
    differences = table_5_differences(predictions).set_index(["reference", "arm", "minus_arm", "measure"])
    assert differences.loc[(SCAN, "net", "training_mean", "mean_of_measures"), "r2_low"] > 0.5
    assert "total_fat_percent" in format_table_5(table.reset_index(), SCAN)


def test_baselines_belong_to_their_scan_whatever_the_order(measured: pd.DataFrame) -> None:
    """The last person has no whole body in the scan, and the baseline's rows come in another order."""
    measured = measured[measured["subject_id"] != str(PEOPLE - 1)]
    original = measured[measured["arm"] == ORIGINAL].set_index("scan_id")
    ids = [f"{person}-1" for person in reversed(range(PEOPLE))]
    exact = np.stack([original.loc[i, list(MEASURES)] if i in original.index else np.zeros(14) for i in ids])
    table = table_5(composition_predictions(measured, {"exact": exact.astype(float)}, ids))
    exact_rows = table[(table["arm"] == "exact") & (table["reference"] == SCAN) & table["rmse"].notna()]
    assert len(exact_rows) == len(MEASURES)
    np.testing.assert_allclose(exact_rows["rmse"], 0.0, atol=1e-9)


def test_without_truth_there_is_one_reference(measured: pd.DataFrame) -> None:
    measured = measured.drop(columns=[f"true_{name}" for name in MEASURES])
    assert list(composition_predictions(measured, {}, [f"{i}-1" for i in range(PEOPLE)])) == [SCAN]


def test_numbers_for_a_tracker(quality: pd.DataFrame, measured: pd.DataFrame) -> None:
    table = table_5(composition_predictions(measured, {}, [f"{i}-1" for i in range(PEOPLE)]))
    metrics = tables_as_metrics(table_4(quality), table)
    assert metrics["net/total_fat_g_rmse_of_scan"] == pytest.approx(1.0)
    assert np.isfinite(list(metrics.values())).all()
    assert "net/aligned_psnr_db" in metrics
