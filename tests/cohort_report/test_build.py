"""Girths at given size, shares and differences of the sides of people whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dxa_monai.cohort_report.build import (
    GIRTHS,
    SHARES,
    SOLDIER_CM_KG,
    girths_at_given_size,
    shares_percent,
    side_difference_percent,
)
from dxa_monai.cohort_report.plausibility import people_table
from tests.evaluation.cohort_rows import write_cohort


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return people_table(write_cohort(tmp_path_factory.mktemp("cohort") / "c", meshes=False) / "manifest.csv")


def test_a_girth_of_height_and_mass_alone_has_no_spread(people: pd.DataFrame) -> None:
    known = people.assign(**{girth.column: 0.2 * people["height_cm"] + 0.5 * people["mass_kg"] for girth in GIRTHS})
    for _, line in girths_at_given_size(known).iterrows():
        height, mass = SOLDIER_CM_KG[line["sex"]]
        assert line["mean_cm"] == pytest.approx(0.2 * height + 0.5 * mass)
        assert line["spread_cm"] == pytest.approx(0.0, abs=1e-6)


def test_what_is_added_at_random_is_the_spread(people: pd.DataFrame) -> None:
    noise = np.random.default_rng(0).normal(0.0, 4.0, len(people))
    wide = people.assign(waist_circumference_cm=0.9 * people["mass_kg"] + noise)
    found = girths_at_given_size(wide)
    assert found[found["girth"] == "waist"]["spread_cm"].to_numpy() == pytest.approx(4.0, rel=0.35)


def test_children_and_old_people_do_not_count(people: pd.DataFrame) -> None:
    counts = girths_at_given_size(people).groupby("sex")["count"].first()
    inside = people["age_years"].between(18.0, 56.0) & people["bmi_kg_m2"].between(19.0, 38.0)
    assert counts.sum() == inside.sum()
    assert girths_at_given_size(people[~inside]).empty


def test_shares_are_of_the_whole(people: pd.DataFrame) -> None:
    table = shares_percent(people)
    assert list(table.index) == [share.label for share in SHARES]
    assert table.to_numpy() == pytest.approx(10.0)


def test_the_left_side_is_compared_with_the_right(people: pd.DataFrame) -> None:
    table = side_difference_percent(people)
    assert table["mean"].to_numpy() == pytest.approx(10.0)
    assert table["spread"].to_numpy() == pytest.approx(0.0, abs=1e-9)
