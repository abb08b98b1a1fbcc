from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation import scanner_effects_measured
from dxa_monai.evaluation.scanner_effects import cells_of
from dxa_monai.evaluation.scanner_effects_measured import measure_effects
from tests.analysis.cohort import cohort_rows

OPTIONS: dict[str, Any] = {"scanners": 1, "workers": 0, "progress": False}


def test_a_resumed_run_equals_an_uninterrupted_one_and_equal_scanners_are_measured_once(tmp_path: Path) -> None:
    rows, cells = cohort_rows(), [*cells_of(["none"]), ("blur", "2 mm"), ("dead_column", "1")]
    options = OPTIONS | {"calibrations": ("phantom",)}
    whole = measure_effects(rows, tmp_path / "whole", cells, **options)
    assert len(whole) == len(cells) * len(rows)
    # The realistic scanner's blur is 2 mm.
    assert len(list((tmp_path / "whole").glob("*.json"))) == 2
    numbers = [name for name in whole if name.startswith("total")]
    none, blur, dead = (whole[whole["effect"] == effect][numbers].to_numpy() for effect, _ in cells)
    assert (none == blur).all()
    assert (none != dead).any()
    assert abs(whole["total_fat_g"] / whole["true_total_fat_g"] - 1.0).max() < 0.1
    assert whole.loc[whole["effect"] == "dead_column", "flags"].str.contains("dead_column").all()

    measure_effects(rows, tmp_path / "parts", cells[:1], **options)
    (first,) = (tmp_path / "parts").glob("*.json")
    before = first.stat().st_mtime_ns
    resumed = measure_effects(rows, tmp_path / "parts", cells, **options)
    pd.testing.assert_frame_equal(resumed, whole)
    assert first.stat().st_mtime_ns == before
    first.write_text(first.read_text()[:100])  # as a crash of the disk might leave it
    pd.testing.assert_frame_equal(measure_effects(rows, tmp_path / "parts", cells, **options), whole)


def test_a_refused_calibration_is_told_and_the_other_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("step phantom: expected another one.")

    monkeypatch.setattr(scanner_effects_measured, "calibrate_with_phantom", refuse)
    table = measure_effects(cohort_rows()[:1], tmp_path, cells_of(["none"]), **OPTIONS).set_index("calibration")
    assert table.loc["phantom", "refused"]
    assert table.loc["phantom", "calibration_refused"] == "step phantom: expected another one."
    assert pd.isna(table.loc["phantom", "total_fat_g"])
    assert table.loc["run", "calibration_refused"] == ""
    assert table.loc["run", "total_fat_g"] > 0


def test_a_fault_of_the_analysis_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise FloatingPointError("a fault")

    monkeypatch.setattr(scanner_effects_measured, "calibrate_with_phantom", fail)
    with pytest.raises(FloatingPointError, match="a fault"):
        measure_effects(cohort_rows()[:1], tmp_path, cells_of(["none"]), calibrations=("phantom",), **OPTIONS)


def test_wrong_arguments_are_told(tmp_path: Path) -> None:
    cells = cells_of(["none"])
    with pytest.raises(InputError, match="calibrations: expected some of phantom, run, got magic"):
        measure_effects(cohort_rows(), tmp_path, cells, calibrations=("magic",))
    with pytest.raises(InputError, match="scans: expected at least one"):
        measure_effects([], tmp_path, cells)
    with pytest.raises(InputError, match="scanners: expected at least 1, got 0"):
        measure_effects(cohort_rows(), tmp_path, cells, scanners=0)
    without = [{"scan_id": "A", "subject_id": "P"}]
    with pytest.raises(InputError, match="expected a truth in the manifest"):
        measure_effects(without, tmp_path, cells, **OPTIONS)
