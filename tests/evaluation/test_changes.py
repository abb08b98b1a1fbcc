from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import run

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.evaluation.changes import measure_changes
from dxa_monai.evaluation.precision import (
    LEAST_SIGNIFICANT,
    VIRTUAL,
    measure_precision,
    precision_error,
    read_precision,
)
from dxa_monai.inference.report import write_composition_table
from dxa_monai.scan.csv_table import write_table

CONFIGS = REPOSITORY / "bundles" / "dxa_body_composition" / "configs"


def scan(person: str, visit: int, fat_g: float, **more: Any) -> dict[str, Any]:
    date = f"202{visit}-03-01"
    about = {"subject_id": person, "scan_id": f"{person}-{visit}", "study_date": date, "scanner": "phantom"}
    return about | {"flags": "", "total_fat_g": fat_g, "total_mass_g": 70000.0} | more


def table(folder: Path, *rows: dict[str, Any]) -> Path:
    write_composition_table(rows, folder / "body_composition.csv")
    return folder / "body_composition.csv"


def precision(folder: Path, **least: float) -> Path:
    rows = [{"measure": name, "least_significant_change": value} for name, value in least.items()]
    write_table(folder / "mine.csv", ["measure", "least_significant_change"], rows)
    return folder / "mine.csv"


def of_measure(rows: list[dict[str, Any]], name: str = "total_fat_g") -> list[dict[str, Any]]:
    return [row for row in rows if row["measure"] == name]


def test_precision_by_hand() -> None:
    """Two scans: SD is their difference over the root of two. Three scans weigh twice; one scan says nothing."""
    found = precision_error([10.0, 12.0, 20.0, 23.0, 26.0, 99.0], ["a", "a", "b", "b", "b", "c"])
    assert found is not None
    assert (found.people, found.scans, found.degrees_of_freedom) == (2, 5, 3)
    assert found.rms_sd == pytest.approx(np.sqrt((2.0 + 9.0 + 9.0) / 3.0))
    assert found.mean == pytest.approx(91.0 / 5.0)
    of_a, of_b = np.sqrt(2.0) / 11.0, 3.0 / 23.0
    assert found.cv_percent == pytest.approx(100.0 * np.sqrt((of_a**2 + of_b**2) / 2.0))
    assert found.least_significant_change == pytest.approx(2.77 * found.rms_sd)
    assert precision_error([1.0, 2.0], ["a", "b"]) is None
    around_zero = precision_error([-1.0, 1.0], ["a", "a"])
    assert around_zero is not None
    assert np.isnan(around_zero.cv_percent)


def test_a_change_beyond_the_least_significant_one_is_rare_where_nothing_changed() -> None:
    rng = np.random.default_rng(0)
    scans = rng.normal(0.0, 3.0, (2000, 2))
    found = precision_error(scans.ravel(), [str(person) for person in range(2000) for _ in range(2)])
    assert found is not None
    share = (np.abs(scans[:, 1] - scans[:, 0]) >= found.least_significant_change).mean()
    assert share == pytest.approx(0.05, abs=0.015)


def test_repeated_scans_in_their_precision_out_and_changes_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(1)
    repeated = [scan(f"p{person}", visit, 20000.0 + rng.normal(0, 200)) for person in range(31) for visit in (1, 2)]
    run(
        config_file=str(CONFIGS / "precision.json"),
        table=str(table(tmp_path, *repeated)),
        output_dir=str(tmp_path / "p"),
    )
    told = capsys.readouterr().out
    assert "31 people, 31 degrees of freedom" in told
    assert "uncertain" not in told
    least = read_precision(tmp_path / "p" / "precision.csv")
    assert least["total_fat_g"] == pytest.approx(LEAST_SIGNIFICANT * 200.0, rel=0.3)
    assert least["total_mass_g"] == 0.0

    grown = 20000.0 + 1.5 * least["total_fat_g"]
    visits = table(
        tmp_path, scan("a", 1, 20000.0), scan("a", 2, 20000.0 + 0.5 * least["total_fat_g"]), scan("a", 3, grown)
    )
    run(
        config_file=str(CONFIGS / "changes.json"),
        table=str(visits),
        precision=str(tmp_path / "p" / "precision.csv"),
        output_dir=str(tmp_path / "c"),
    )
    assert "total_fat_g: 1 of 2 by at least" in capsys.readouterr().out
    rows = of_measure(list(csv.DictReader((tmp_path / "c" / "changes.csv").open())))
    assert [(row["since"], row["from_scan"], row["to_scan"], row["significant"]) for row in rows] == [
        ("first", "a-1", "a-2", "no"),
        ("first", "a-1", "a-3", "yes"),
        ("previous", "a-2", "a-3", "yes"),
    ]
    assert float(rows[1]["change"]) == pytest.approx(grown - 20000.0)


def test_what_cannot_be_judged_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = scan("a", 1, 20000.0, flags="metal")
    rows = measure_changes(
        table(tmp_path, scan("a", 2, 30000.0, scanner="scan", flags="metal arms_touch"), first, scan("b", 1, 9.0)),
        tmp_path / "c",
    )
    (row,) = of_measure(rows)
    assert (row["from_scan"], row["change"], row["flags"]) == ("a-1", 10000.0, "metal arms_touch")
    assert "significant" not in row
    assert row["reason"] == "read with different scanners: phantom, scan"
    told = capsys.readouterr().out
    assert "not judged: read with different scanners" in told
    assert "those of virtual people" in told
    rows = measure_changes(
        table(tmp_path, first, scan("a", 2, 1.0)), tmp_path / "d", precision=precision(tmp_path, total_mass_g=5.0)
    )
    assert of_measure(rows)[0]["reason"] == "its precision is not known"
    assert of_measure(rows, "total_mass_g")[0]["significant"] == "no"


def test_numbers_order_visits_as_well_as_dates(tmp_path: Path) -> None:
    path = table(tmp_path, scan("a", 1, 1.0, age_years=50.5), scan("a", 2, 2.0, age_years=9.25))
    rows = measure_changes(path, tmp_path / "c", visit="age_years")
    assert of_measure(rows)[0]["from_scan"] == "a-2"
    assert not of_measure(rows, "age_years")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda folder: table(folder, scan("a", 1, 1.0)),
            "expected people with several scans, got one scan of each of 1",
        ),
        (
            lambda folder: table(folder, scan("a", 1, 1.0), scan("a", 2, 1.0) | {"study_date": "2021-03-01"}),
            "expected one scan of a person for each study_date, got 'a-1' and 'a-2' of 'a' for 2021-03-01",
        ),
        (
            lambda folder: table(folder, scan("a", 1, 1.0) | {"study_date": "spring"}, scan("a", 2, 1.0)),
            "expected a date (2026-11-30) or a number in column study_date, got 'spring' for scan 'a-1'",
        ),
        (
            lambda folder: table(folder, scan("a", 1, 1.0) | {"study_date": "7"}, scan("a", 2, 1.0)),
            "expected dates or numbers in column study_date, got both for 'a'",
        ),
        (
            lambda folder: table(folder, {"scan_id": "x", "subject_id": "a", "flags": "failed"}),
            "expected a column study_date",
        ),
        (lambda folder: precision(folder, fat=1.0), "expected columns subject_id and scan_id and study_date"),
        (
            lambda folder: table(folder, scan("a", 1, 1.0), scan("a", 2, 1.0) | {"total_fat_g": "1_000"}),
            "line 3: expected a number or nothing in column total_fat_g, got '1_000'",
        ),
        (
            lambda folder: table(folder, scan("a", 1, 1.0) | {"study_date": "2026-13-01"}, scan("a", 2, 1.0)),
            "expected a date (2026-11-30) or a number in column study_date, got '2026-13-01'",
        ),
    ],
)
def test_tables_of_another_kind_end_in_a_sentence(tmp_path: Path, make: Callable[[Path], Path], sentence: str) -> None:
    with pytest.raises(InputError) as error:
        measure_changes(make(tmp_path), tmp_path / "c")
    assert sentence in str(error.value)
    assert not (tmp_path / "c").exists()


def test_precision_of_few_people_is_told_and_of_two_scanners_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure_precision(table(tmp_path, scan("a", 1, 1.0), scan("a", 2, 2.0, flags="metal")), tmp_path / "p")
    told = capsys.readouterr().out
    assert "less than the 30 degrees of freedom" in told
    assert "1 of 2 scans have flags" in told
    with pytest.raises(InputError, match="read with one scanner, got"):
        measure_precision(table(tmp_path, scan("a", 1, 1.0), scan("a", 2, 2.0, scanner="scan")), tmp_path / "p")
    with pytest.raises(InputError, match=r"expected a number from 0 in column least_significant_change, got '-1.0'"):
        read_precision(precision(tmp_path, total_fat_g=-1.0))


def test_somebody_elses_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "changes.csv").write_text("mine")
    with pytest.raises(InputError, match=r"changes\.csv"):
        measure_changes(table(tmp_path, scan("a", 1, 1.0), scan("a", 2, 2.0)), tmp_path / "c")
    assert (tmp_path / "c" / "changes.csv").read_text() == "mine"


def test_virtual_people_repeat_as_well_as_the_page_says() -> None:
    least = read_precision(VIRTUAL)
    assert 300.0 < least["total_fat_g"] < 2000.0
    assert 10.0 < least["total_bmc_g"] < 200.0
    assert {"left_arm_lean_g", "android_fat_percent", "pelvis_bmd_g_cm2"} <= set(least)
