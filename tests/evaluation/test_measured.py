from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation.measured import bmi_class, measure_cohort
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import regional_totals
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_rows

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.mark.parametrize(
    ("mass_kg", "name"), [(50.0, "BMI < 18.5"), (70.0, "BMI 18.5-25"), (81.0, "BMI 25-30"), (114.0, "BMI >= 35")]
)
def test_bmi_class(mass_kg: float, name: str) -> None:
    assert bmi_class(180.0, mass_kg) == name


def test_measured_stands_beside_the_truth_and_is_kept(tmp_path: Path) -> None:
    rows = cohort_rows()
    arguments = {"scanners": 2, "calibrations": ("phantom", "nominal"), "workers": 0, "progress": False}
    table = measure_cohort(rows, tmp_path, **arguments)
    assert list(table["scan_id"]) == [row["scan_id"] for row in rows for _ in range(2)]
    assert set(table["calibration"]) == {"phantom", "nominal"}
    truth = load_truth(rows[0])
    true = regional_totals(truth.areal_density_g_cm2, truth.region_map, pixel_area_cm2(truth.pixel_spacing_mm))
    assert table.loc[0, "true_left_leg_lean_g"] == pytest.approx(true["left_leg_lean_g"])
    phantom = table[table["calibration"] == "phantom"]
    assert (phantom["total_mass_g"] / phantom["true_total_mass_g"] - 1.0).abs().max() < 0.01
    assert phantom[["dice_head", "dice_trunk", "dice_legs"]].min().min() > 0.85

    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "scans").iterdir()}
    first = next(iter(files))
    first.write_text(first.read_text()[:100])  # as a crash of the disk might leave it
    pd.testing.assert_frame_equal(measure_cohort(rows, tmp_path, **arguments), table)
    assert {path for path, time in files.items() if path.stat().st_mtime_ns != time} == {first}


def test_another_seed_is_measured_anew(tmp_path: Path) -> None:
    rows = cohort_rows()[:1]
    arguments = {"scanners": 1, "calibrations": ("phantom",), "workers": 0, "progress": False}
    first = measure_cohort(rows, tmp_path, seed=0, **arguments)
    second = measure_cohort(rows, tmp_path, seed=1, **arguments)
    assert first.loc[0, "total_fat_g"] != second.loc[0, "total_fat_g"]
    assert first.loc[0, "true_total_fat_g"] == second.loc[0, "true_total_fat_g"]


def test_a_second_reader_stands_beside_the_first(tmp_path: Path) -> None:
    rows = cohort_rows()[:1]
    arguments = {"scanners": 1, "calibrations": ("phantom",), "workers": 0, "progress": False}
    first = measure_cohort(rows, tmp_path, **arguments)
    second = measure_cohort(rows, tmp_path, method="q_scan", **arguments)
    assert second.loc[0, "other_total_fat_g"] == first.loc[0, "total_fat_g"]
    assert second.loc[0, "total_fat_g"] == pytest.approx(first.loc[0, "total_fat_g"], rel=0.04)
    assert second.loc[0, "total_fat_g"] != first.loc[0, "total_fat_g"]
    assert "other_total_fat_g" not in first


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="calibrations: expected some of"):
        measure_cohort(cohort_rows(), tmp_path, calibrations=("magic",))
    with pytest.raises(InputError, match="method: expected one of"):
        measure_cohort(cohort_rows(), tmp_path, method="magic")
    with pytest.raises(InputError, match="scans: expected at least one"):
        measure_cohort([], tmp_path)
    without = [{name: value for name, value in row.items() if name != "truth"} for row in cohort_rows()]
    with pytest.raises(InputError, match="expected a truth in the manifest"):
        measure_cohort(without, tmp_path, workers=0)
