"""Tables of body composition: against the same analysis of the scan and, of virtual people, against the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dxa_monai.evaluation.composition_tables import (
    SCAN,
    TRUTH,
    composition_differences,
    composition_metrics,
    composition_predictions,
    composition_table,
    format_composition,
)
from dxa_monai.evaluation.scans import MEASURES, ORIGINAL

PEOPLE = 12


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


def test_arms_are_compared_with_the_scan_and_with_the_truth(measured: pd.DataFrame) -> None:
    ids = [f"{person}-1" for person in range(PEOPLE)]
    constant = np.full((PEOPLE, len(MEASURES)), 150.0)
    predictions = composition_predictions(measured, {"training_mean": constant}, ids)
    table = composition_table(predictions).set_index(["reference", "arm", "measure"])
    assert list(predictions) == [SCAN, TRUTH]
    assert table.loc[(SCAN, "net", "total_fat_g"), "rmse"] == pytest.approx(1.0)
    assert table.loc[(SCAN, "net", "total_fat_g"), "seeds"] == 2
    assert table.loc[(SCAN, "training_mean", "total_fat_g"), "r2"] < 0.1
    assert (SCAN, ORIGINAL, "total_fat_g") not in table.index
    original = measured[measured["arm"] == ORIGINAL]
    ceiling = np.sqrt(((original["total_fat_g"] - original["true_total_fat_g"]) ** 2).mean())
    assert table.loc[(TRUTH, ORIGINAL, "total_fat_g"), "rmse"] == pytest.approx(ceiling)
    differences = composition_differences(predictions).set_index(["reference", "arm", "minus_arm", "measure"])
    assert differences.loc[(SCAN, "net", "training_mean", "mean_of_measures"), "r2_low"] > 0.5
    assert "total_fat_percent" in format_composition(table.reset_index(), SCAN)


def test_baselines_belong_to_their_scan_whatever_the_order(measured: pd.DataFrame) -> None:
    """The last person has no whole body in the scan, and the baseline's rows come in another order."""
    measured = measured[measured["subject_id"] != str(PEOPLE - 1)]
    original = measured[measured["arm"] == ORIGINAL].set_index("scan_id")
    ids = [f"{person}-1" for person in reversed(range(PEOPLE))]
    exact = np.stack([original.loc[i, list(MEASURES)] if i in original.index else np.zeros(14) for i in ids])
    table = composition_table(composition_predictions(measured, {"exact": exact.astype(float)}, ids))
    exact_rows = table[(table["arm"] == "exact") & (table["reference"] == SCAN) & table["rmse"].notna()]
    assert len(exact_rows) == len(MEASURES)
    np.testing.assert_allclose(exact_rows["rmse"], 0.0, atol=1e-9)


def test_without_truth_there_is_one_reference(measured: pd.DataFrame) -> None:
    measured = measured.drop(columns=[f"true_{name}" for name in MEASURES])
    assert list(composition_predictions(measured, {}, [f"{i}-1" for i in range(PEOPLE)])) == [SCAN]


def test_numbers_for_a_tracker(measured: pd.DataFrame) -> None:
    table = composition_table(composition_predictions(measured, {}, [f"{i}-1" for i in range(PEOPLE)]))
    metrics = composition_metrics(table)
    assert metrics["net/total_fat_g_rmse_of_scan"] == pytest.approx(1.0)
    assert np.isfinite(list(metrics.values())).all()
