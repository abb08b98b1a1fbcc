"""Z-scores and percentiles: against statements of the article, against scipy, and what a file may not say."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import boxcox, norm

from dxa_monai.analysis.reference_curves import COLUMNS, NAMED, Curve, read_reference
from dxa_monai.errors import InputError

ROW = {
    "measure": "total_fat_percent",
    "sex": "F",
    "age_years": "20",
    "lambda": "0.5",
    "mu": "30",
    "sigma": "0.2",
    "population": "us",
}


def _written(path: Path, *changes: dict[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([ROW | change for change in changes])
    return path


def test_the_median_young_man_is_where_the_article_says_he_is_among_older_men() -> None:
    curve = read_reference("nhanes_white").curves["total_fat_percent", False]
    median = curve.at(25.0)[1]
    assert curve.standing(median, 25.0).percentile == pytest.approx(50.0)
    assert curve.standing(median, 45.0).percentile == pytest.approx(25.0, abs=0.5)  # "only 25 % of 45-year-old men"
    assert 9.0 < curve.standing(median, 69.0).percentile < 10.0  # "less than 10 % by 69"


def test_the_file_is_what_its_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts import build_reference_curves

    committed = NAMED["nhanes_white"].read_bytes()
    monkeypatch.setitem(NAMED, "nhanes_white", tmp_path / "built.csv")
    build_reference_curves.main()
    assert (tmp_path / "built.csv").read_bytes() == committed


@pytest.mark.parametrize("power", [-1.1, -0.144, 0.0, 0.5, 1.0, 2.4])
def test_the_power_makes_a_sample_normal_and_values_come_back_from_percentiles(power: float) -> None:
    curve = Curve(*(np.array([value, value]) for value in (20.0, power, 9.0, 0.15)))
    curve = Curve(np.array([20.0, 40.0]), curve.lambda_, curve.mu, curve.sigma)
    values = np.array([6.0, 8.0, 9.0, 11.0, 14.0])
    expected = boxcox(values / 9.0, power) / 0.15
    standings = [curve.standing(float(value), 33.0) for value in values]
    assert [standing.z for standing in standings] == pytest.approx(expected.tolist(), abs=1e-9)
    assert [standing.percentile for standing in standings] == pytest.approx((100.0 * norm.cdf(expected)).tolist())
    for value, standing in zip(values, standings, strict=True):
        if 0.0 < standing.percentile < 100.0:
            assert curve.value(standing.percentile, np.array([33.0]))[0] == pytest.approx(value)


def test_between_two_ages_the_three_numbers_are_interpolated(tmp_path: Path) -> None:
    path = _written(tmp_path / "r.csv", {"age_years": "40", "mu": "34", "sigma": "0.1", "lambda": "1.5"}, {})
    assert read_reference(path).curves["total_fat_percent", True].at(25.0) == pytest.approx((0.75, 31.0, 0.175))


@pytest.mark.parametrize(
    ("person", "values", "reason"),
    [
        ({"sex": "F"}, {"total_fat_percent": 30.0}, "age_years is not known"),
        ({"age_years": 30.0}, {"total_fat_percent": 30.0}, "sex is not known"),
        ({"age_years": 30.0, "sex": "x"}, {"total_fat_percent": 30.0}, "sex: expected one of f, female"),
        ({"age_years": 30.0, "sex": "M"}, {"total_fat_percent": 30.0}, "no curve of men"),
        ({"age_years": 41.0, "sex": "woman"}, {"total_fat_percent": 30.0}, "ages from 20 to 40, got 41 years"),
        ({"age_years": 30.0, "sex": "F"}, {"total_fat_percent": 0.0}, "expected a value above 0, got 0"),
        ({"age_years": 30.0, "sex": "F"}, {}, "it has no value"),
        ({"age_years": 30.0, "sex": "F"}, {"total_fat_percent": None}, "it has no value"),
    ],
)
def test_who_cannot_be_placed_is_told_why(
    person: dict[str, object], values: dict[str, object], reason: str, tmp_path: Path
) -> None:
    reference = read_reference(_written(tmp_path / "r.csv", {}, {"age_years": "40"}))
    found, reasons = reference.standings(values, person)
    assert not found
    assert reason in reasons["total_fat_percent"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([{"measure": "total_fat_percnt"}], r"got 'total_fat_percnt' \(similar: total_fat_percent\)"),
        ([{"measure": "low_lean_fnih"}], "expected a column of body_composition.csv"),
        ([{"sex": "x"}], "in column sex, got 'x'"),
        ([{"mu": "0"}], "mu and sigma above 0"),
        ([{"sigma": "-1"}], "mu and sigma above 0"),
        ([{"lambda": "nan"}], "expected a number in column lambda, got 'nan'"),
        ([{}, {}], "got 20 years again"),
        ([{}, {"sex": "M", "population": "them"}], "expected people of one population, got 'us' and 'them'"),
        ([{"population": ""}], "expected a value in column population"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(changes: list[dict[str, str]], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=sentence):
        read_reference(_written(tmp_path / "r.csv", *changes))


def test_what_is_neither_a_name_nor_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected nhanes_white or a CSV file of curves, got 'nhanes'"):
        read_reference("nhanes")
    with pytest.raises(InputError, match=r"none\.csv"):
        read_reference(tmp_path / "none.csv")
