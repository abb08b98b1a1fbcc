from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from dxa_monai.analysis.flags import FlagName
from dxa_monai.errors import InputError
from dxa_monai.evaluation.scanner_effects_measured import MEASURES
from dxa_monai.evaluation.scanner_effects_table import (
    BODY_FLAGS,
    SCANNER_FLAGS,
    STANDING_FLAGS,
    effects_table,
    evaluate_scanner_effects,
    is_accurate,
    verdict,
)
from tests.analysis.cohort import cohort_rows

PEOPLE = 20


def synthetic(error: float = 0.0, flagged: float = 0.0, flag: str = "scanner_mismatch") -> pd.DataFrame:
    """One cell: every number off by ``error`` of its value, a share of the scans flagged."""
    true = np.linspace(10.0, 40.0, PEOPLE)
    columns = {f"true_{name}": true for name in MEASURES} | {name: (1.0 + error) * true for name in MEASURES}
    about = {"effect": "glare", "strength": "1 %", "calibration": "run", "refused": False, "calibration_refused": ""}
    table = pd.DataFrame(columns | {"subject_id": [f"P{index}" for index in range(PEOPLE)]}).assign(**about)
    table["scanner"] = np.arange(PEOPLE) % 2
    table["flags"] = np.where(np.arange(PEOPLE) < flagged * PEOPLE, flag, "")
    return table


def refused(table: pd.DataFrame, which: np.ndarray) -> pd.DataFrame:
    return table.assign(refused=which, **{name: table[name].mask(which) for name in MEASURES})


def passes(table: pd.DataFrame) -> str:
    (found,) = effects_table(table)["passes"]
    return str(found)


def test_every_flag_speaks_of_the_scanner_or_of_the_body() -> None:
    assert set(get_args(FlagName)) == SCANNER_FLAGS | BODY_FLAGS
    assert not SCANNER_FLAGS & BODY_FLAGS
    assert STANDING_FLAGS <= SCANNER_FLAGS


@pytest.mark.parametrize(
    ("measure", "r2", "bias_percent", "accurate"),
    [
        ("total_fat_g", 0.99, -2.0, True),
        ("total_fat_g", 0.989, 0.0, False),
        ("total_lean_g", 1.0, 2.1, False),
        ("total_bmc_g", 0.97, 3.0, True),
        ("total_bmc_g", float("nan"), float("nan"), False),
    ],
)
def test_bars(measure: str, r2: float, bias_percent: float, accurate: bool) -> None:
    assert is_accurate(measure, r2, bias_percent) is accurate


def test_right_numbers_are_accurate_flagged_or_not() -> None:
    assert verdict(True, 0.0) == verdict(True, 1.0) == "accurate"
    assert passes(synthetic()) == passes(synthetic(error=0.01, flagged=1.0)) == "accurate"


def test_wrong_numbers_are_told_if_nine_of_ten_scans_say_so() -> None:
    assert passes(synthetic(error=0.04)) == "silent"
    assert passes(synthetic(error=0.04, flagged=0.85)) == "silent"
    assert passes(synthetic(error=0.04, flagged=0.9)) == "told"
    assert passes(synthetic(error=0.04, flagged=1.0, flag="landmarks_guessed")) == "silent"
    assert passes(synthetic(error=0.04, flagged=1.0, flag="landmarks_guessed zero_mismatch")) == "told"


@pytest.mark.parametrize(
    ("flag", "warning"),
    [("no_phantom", "standing"), ("metal no_phantom", "standing"), ("no_phantom blurred", "effect"), ("metal", "none")],
)
def test_a_warning_that_every_scan_has_is_told_apart(flag: str, warning: str) -> None:
    (row,) = effects_table(synthetic(error=0.04, flagged=1.0, flag=flag)).to_dict("records")
    assert row["warning"] == warning
    assert row["passes"] == ("silent" if warning == "none" else "told")


def test_a_measure_has_a_verdict_of_its_own() -> None:
    table = synthetic()
    (row,) = effects_table(table.assign(total_bmc_g=1.04 * table["total_bmc_g"])).to_dict("records")
    verdicts = [row[name] for name in ("passes", "fat_passes", "lean_passes", "bmc_passes")]
    assert verdicts == ["silent", "accurate", "accurate", "silent"]
    assert row["bmc_bias_percent"] == pytest.approx(4.0)
    assert row["fat_r2"] == 1.0


def test_refusals_count_by_their_reason() -> None:
    everybody = np.ones(PEOPLE, dtype=bool)
    assert passes(refused(synthetic(flagged=1.0, flag="no_open_air"), everybody)) == "told"
    assert passes(refused(synthetic(flagged=1.0, flag="not_a_whole_body"), everybody)) == "silent"
    uncalibrated = refused(synthetic(), everybody).assign(calibration_refused="scanner: expected a tube voltage.")
    (row,) = effects_table(uncalibrated).to_dict("records")
    assert row["passes"] == "told"
    assert (row["scanners"], row["calibrations_refused"]) == (2, 2)
    assert row["calibration_sentence"] == "scanner: expected a tube voltage."


def test_refused_scans_do_not_count_among_the_numbers() -> None:
    which = np.arange(PEOPLE) % 2 == 0
    table = synthetic(error=0.01)
    table["calibration_refused"] = np.where(which, "refused.", "")
    (row,) = effects_table(refused(table, which)).to_dict("records")
    assert row["passes"] == "accurate"
    assert (row["refused_share"], row["told_share"], row["calibrations_refused"]) == (0.5, 0.5, 1)
    assert row["lean_bias_percent"] == pytest.approx(1.0)


def test_table_figure_and_next_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"people": 2, "scanners": 1, "calibrations": ["phantom"], "effects": ["dead_column"], "workers": 0}
    files = evaluate_scanner_effects(cohort_rows(), tmp_path, **options)
    table = pd.read_csv(files["scanner_effects"])
    assert list(table["effect"]) == ["dead_column"]
    assert table.loc[0, "scans"] == 2  # the first of each person
    assert table.loc[0, "flags"].startswith("dead_column 100 %")
    said = capsys.readouterr().out
    assert "Calibration phantom: 1 " in said
    assert "\nNext: " in said
    before = [path.read_bytes() for path in files.values()]
    evaluate_scanner_effects(cohort_rows(), tmp_path, **options)
    assert [path.read_bytes() for path in files.values()] == before


def test_wrong_arguments_are_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"effects: expected some of none, .*, got gravity"):
        evaluate_scanner_effects(cohort_rows(), tmp_path / "out", effects=["gravity"])
    with pytest.raises(InputError, match="people: expected at least 1, got 0"):
        evaluate_scanner_effects(cohort_rows(), tmp_path / "out", people=0)
    assert not (tmp_path / "out").exists()
