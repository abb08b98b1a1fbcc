from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.measures import (
    BODY_MEASURES,
    PAPER_MEASURES,
    as_labelled_datalist,
    first_pairs,
    measure_label,
    measure_statistics,
    measures_of,
)


def _rows(people: int = 6, visits: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "subject_id": f"P{person}",
            "scan_id": f"P{person}-{visit}",
            "scan": f"/scans/P{person}-{visit}.npy",
            "waist_circumference_cm": 70.0 + person,
            "total_volume_l": 60.0 + 2 * person + visit,
        }
        for person in range(people)
        for visit in range(visits)
    ]


def test_every_measure_names_its_unit() -> None:
    labels = [measure_label(name) for name in BODY_MEASURES]
    assert len(set(labels)) == len(BODY_MEASURES)
    assert measure_label("bicep_left_circumference_cm") == "bicep left circumference (cm)"
    assert {label.rpartition("(")[2] for label in labels} == {"cm)", "cm²)", "litres)"}
    assert measure_label("bmd_ratio") == "BMD ratio"
    assert measure_label("total_bmd_g_cm2") == "total BMD (g/cm²)"
    assert measure_label("total_fat_percent") == "total fat (%)"
    assert measure_label("appendicular_lean_per_bmi_m2") == "appendicular lean per BMI (m²)"


def test_the_papers_measures_come_first() -> None:
    assert BODY_MEASURES[: len(PAPER_MEASURES)] == PAPER_MEASURES
    assert BODY_MEASURES > PAPER_MEASURES


def test_what_is_asked_for_is_read_in_its_order() -> None:
    rows = [row | {"total_fat_g": 20000.0} for row in _rows()]
    wanted = ["total_fat_g", "waist_circumference_cm"]
    assert measures_of(rows, wanted) == tuple(wanted)
    assert measures_of(rows, tuple(wanted[::-1])) == tuple(wanted[::-1])


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_without_a_wish_all_of_the_list_that_the_scans_have_is_read(nothing: list[str] | None) -> None:
    rows = [row | {"total_fat_g": 20000.0} for row in _rows()]
    assert measures_of(rows, nothing) == ("waist_circumference_cm", "total_volume_l")
    everything = [row | dict.fromkeys(reversed(BODY_MEASURES), 1.0) for row in rows]
    assert measures_of(iter(everything), nothing) == BODY_MEASURES


@pytest.mark.parametrize("wanted", [None, ["total_volume_l"]])
def test_a_column_that_only_some_scans_have_is_refused_with_column_and_scan(wanted: list[str] | None) -> None:
    rows = _rows()
    del rows[3]["total_volume_l"]
    rows[5]["total_volume_l"] = None
    with pytest.raises(InputError, match=r"column total_volume_l .* scan 'P1-1' \(2 of 12 scans\)"):
        measures_of(rows, wanted)
    assert measures_of(rows, ["waist_circumference_cm"]) == ("waist_circumference_cm",)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (["waist_cm"], r"got waist_cm, which is none\.$"),
        (["total_volume"], r"got total_volume, which is none \(similar: total_volume_l\)"),
        (["total_volume_l", "total_volume_l"], "expected every column once, got total_volume_l again"),
        ("total_volume_l", "expected a list of columns of the manifest, got the text 'total_volume_l'"),
        (["scan"], "expected a number in column scan for every scan"),
    ],
)
def test_a_wish_that_cannot_be_met_is_told(wanted: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        measures_of(_rows(), wanted)


def test_scans_without_any_measure_are_told_what_is_expected() -> None:
    rows = [{"subject_id": "A", "scan_id": "A1", "scan": "a.npy", "height_cm": 170.0}]
    with pytest.raises(InputError, match=rf"at least one of the columns {', '.join(BODY_MEASURES)}, got none"):
        measures_of(rows)
    with pytest.raises(InputError, match="expected at least one scan, got none"):
        measures_of([])


def test_labels_come_in_the_order_asked_for() -> None:
    item = as_labelled_datalist(_rows(), ("total_volume_l", "waist_circumference_cm"))[3]
    assert item["label"].dtype == np.float32
    assert item["label"].tolist() == [63.0, 71.0]
    assert item["image"] == "/scans/P1-1.npy"


@pytest.mark.parametrize("value", [None, "thick"])
def test_a_missing_measure_is_told_with_column_and_scan(value: object) -> None:
    rows = _rows()
    rows[2]["total_volume_l"] = value
    with pytest.raises(InputError, match=r"column total_volume_l .* scan 'P1-0' \(1 of 12 scans\)"):
        as_labelled_datalist(rows, ("total_volume_l",))
    with pytest.raises(InputError, match="at least one column"):
        as_labelled_datalist(rows, ())


def test_statistics_are_those_of_the_rows_and_a_constant_is_refused() -> None:
    mean, deviation = measure_statistics(_rows(), ("waist_circumference_cm",))
    values = [row["waist_circumference_cm"] for row in _rows()]
    assert (float(mean[0]), float(deviation[0])) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    with pytest.raises(InputError, match="people of different waist_circumference_cm, got 2 scans"):
        measure_statistics(_rows()[:2], ("waist_circumference_cm",))


def test_fewer_pairs_are_part_of_more_and_people_stay_together() -> None:
    rows = _rows(people=20)
    chosen = [{row["scan_id"] for row in first_pairs(rows, count, seed=3)} for count in (5, 11, 30, 40)]
    assert all(smaller < larger for smaller, larger in pairwise(chosen))
    assert [len(each) for each in chosen] == [5, 11, 30, 40]
    people = [row["subject_id"] for row in first_pairs(rows, 10, seed=3)]
    assert people == [person for person in dict.fromkeys(people) for _ in range(2)]
    assert first_pairs(list(reversed(rows)), 10, seed=3) == first_pairs(rows, 10, seed=3)
    assert first_pairs(rows, 10, seed=4) != first_pairs(rows, 10, seed=3)
    assert len(first_pairs(rows, 0, seed=3)) == 40


@pytest.mark.parametrize("count", [-1, 41])
def test_more_pairs_than_there_are_is_told(count: int) -> None:
    with pytest.raises(InputError, match=rf"^pairs: expected 0 \(all\) to 40 scans, got {count}"):
        first_pairs(_rows(people=20), count, seed=0)
