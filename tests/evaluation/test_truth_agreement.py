from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation.truth_agreement import (
    MEASURES,
    MEASURES_13,
    agreement_table,
    bars_table,
    evaluate_composition,
    overlap_table,
    precision_table,
)
from dxa_monai.scan.regions import REGION_GROUPS
from tests.analysis.cohort import cohort_rows

pytestmark = pytest.mark.usefixtures("forked_workers")


def synthetic(people: int = 60, error: float = 0.0, dice: float = 1.0) -> pd.DataFrame:
    """Two visits a person on perfect maps, each measure off by ``error`` of its value; one more scan is refused."""
    rng = np.random.default_rng(0)
    level = np.repeat(rng.uniform(0.5, 1.5, people), 2)
    columns = {f"true_{name}": (0.1 if name.endswith("bmd_g_cm2") else 1000.0) * level for name in MEASURES}
    columns |= {name: (1.0 + error) * columns[f"true_{name}"] for name in MEASURES}
    columns |= {f"dice_{region}": np.full(level.size, dice) for region in REGION_GROUPS}
    table = pd.DataFrame(columns)
    ids = [f"P{person}" for person in range(people)]
    table.insert(0, "subject_id", np.repeat(ids, 2))
    table.insert(0, "scan_id", [f"S{index}" for index in range(len(table))])
    table["sex"] = np.repeat(["F", "M"], people)
    table["bmi_class"], table["calibration"], table["refused"] = "BMI 18.5-25", "phantom", False
    refused = table.iloc[:1].assign(refused=True, subject_id="refused", **dict.fromkeys(MEASURES, np.nan))
    return pd.concat([table, refused], ignore_index=True)


def _bars(table: pd.DataFrame) -> pd.DataFrame:
    agreements = agreement_table(table, resamples=20)
    return bars_table(agreements, overlap_table(table), precision_table(table, resamples=20)).set_index("what")


def test_the_papers_measures_are_thirteen_and_reported() -> None:
    assert len(MEASURES_13) == 13
    assert set(MEASURES_13) <= set(MEASURES)


def test_perfect_numbers_pass_every_bar() -> None:
    assert _bars(synthetic())["passes"].all()


def test_a_bias_of_two_percent_fails_where_it_must() -> None:
    bars = _bars(synthetic(error=-0.02))
    assert not bars.loc["total_fat_g bias_percent", "passes"]
    assert bars.loc["total_fat_g bias_percent", "reached"] == pytest.approx(-2.0)
    assert bars.loc["total_fat_g rmse", "passes"]
    assert bars.loc["arms_fat_g r2", "passes"]


def test_poor_overlap_fails() -> None:
    bars = _bars(synthetic(dice=0.94))
    assert not bars.loc[[f"dice {region}" for region in ("head", "arms", "legs", "trunk")], "passes"].any()


def test_refused_scans_do_not_count_and_groups_are_kept_apart() -> None:
    table = agreement_table(synthetic(), ["total_fat_g"], resamples=20).set_index("group")
    assert list(table.index) == ["all", "F", "M", "BMI 18.5-25"]
    assert table.loc["all", "people"] == 60
    assert table.loc["F", "people"] == 30


def test_evaluation_writes_tables_figure_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"scanners": 1, "calibrations": ("phantom", "nominal"), "workers": 0, "resamples": 30}
    files = evaluate_composition(cohort_rows(), tmp_path, **arguments)
    assert set(files) == {"composition_per_scan", "agreement", "dice", "precision", "bars", "flags", "bland_altman"}
    assert all(path.stat().st_size for path in files.values())
    agreements = pd.read_csv(files["agreement"])
    assert set(agreements["calibration"]) == {"phantom", "nominal"}
    assert set(agreements["measure"]) == set(MEASURES)
    said = capsys.readouterr().out
    assert "the nominal scanner: 3 people, 4 scans, 0 refused" in said
    assert "Bars: " in said
    before = files["agreement"].read_bytes()
    evaluate_composition(cohort_rows(), tmp_path, **arguments)
    assert files["agreement"].read_bytes() == before


def test_rows_without_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a truth"):
        evaluate_composition([{"scan_id": "A", "subject_id": "P"}], tmp_path, scanners=1, workers=0)
