"""Tables of a cohort: first visits, groups, correlations, rules of plausibility, prediction from shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dxa_monai.cohort_report.plausibility import (
    GROUPS,
    QUANTITIES,
    RULES,
    correlations,
    implausible,
    people_table,
    shape_prediction,
    summary,
)
from dxa_monai.cohort_report.published import CORRELATIONS, REFERENCES
from dxa_monai.errors import InputError
from dxa_monai.scan.manifest import write_manifest
from tests.evaluation.cohort_rows import write_cohort


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return people_table(write_cohort(tmp_path_factory.mktemp("cohort") / "c") / "manifest.csv")


def test_one_row_a_person_from_the_first_visit(people: pd.DataFrame) -> None:
    assert len(people) == 200
    first = people.iloc[0]
    assert first["bmc_kg"] == pytest.approx(0.03 * first["mass_kg"])  # the second visit's is doubled
    assert first["bmi_kg_m2"] == pytest.approx(first["mass_kg"] / (first["height_cm"] / 100) ** 2)
    np.testing.assert_allclose(people["fat_kg"] / people["mass_kg"], people["fat_percent"] / 100.0)


def test_groups_part_the_people(people: pd.DataFrame) -> None:
    members = np.stack([chosen(people) for chosen in GROUPS.values()])
    assert (members[:, people["age_years"] >= 6].sum(axis=0) == 1).all()


def test_summary_is_the_mean_of_the_members(people: pd.DataFrame) -> None:
    found = summary(people).set_index(["group", "quantity"])
    women = people[(people["sex"] == "F") & (people["age_years"] >= 18)]
    assert found.loc[("women", "fat_percent"), "mean"] == pytest.approx(women["fat_percent"].mean())
    assert found.loc[("women", "fat_percent"), "sd"] == pytest.approx(women["fat_percent"].std())
    assert found.loc[("women", "fat_percent"), "count"] == len(women)
    assert set(found.index.get_level_values("quantity")) == set(QUANTITIES)


def test_correlations_are_of_one_group(people: pd.DataFrame) -> None:
    table = correlations(people, "men")
    men = people[GROUPS["men"](people)]
    assert table.loc["mass_kg", "fat_kg"] == pytest.approx(np.corrcoef(men["mass_kg"], men["fat_kg"])[0, 1])
    np.testing.assert_allclose(np.diag(table), 1.0)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        (0, {"fat_percent": 60.0}),
        (1, {"bmc_kg": 5.0}),
        (2, {"bmd_g_cm2": 0.5}),
        (3, {"bone_area_cm2": 900.0}),
        (4, {"lean_kg": 15.0}),
        (5, {"waist_cm": 200.0}),
        (6, {"bmd_g_cm2": 0.7, "age_years": 25.0}),
    ],
)
def test_each_rule_finds_who_breaks_it(people: pd.DataFrame, rule: int, change: dict[str, float]) -> None:
    before = implausible(people)[RULES[rule].name]
    changed = people.copy()
    row = next(row for row in range(50, len(people)) if people["subject_id"][row] not in before)
    changed.loc[row, list(change)] = list(change.values())
    assert people["subject_id"][row] in implausible(changed)[RULES[rule].name]
    assert set(before) <= {*implausible(changed)[RULES[rule].name]}


def test_rules_of_adults_leave_small_children_alone(people: pd.DataFrame) -> None:
    child = people.copy()
    child.loc[0, ["age_years", "bone_area_cm2", "lean_kg", "bmc_kg"]] = [7.0, 800.0, 12.0, 0.5]
    assert not any("S000" in subjects for subjects in implausible(child).values())


def test_shape_predicts_what_the_mesh_shows(people: pd.DataFrame) -> None:
    """These meshes grow with mass, to which lean is tied; BMD was drawn by itself."""
    table = shape_prediction(people)
    assert table is not None
    r2 = table.set_index("group")
    assert r2.loc["women", "lean_kg"] > 0.5
    assert (r2["bmd_g_cm2"] < 0.15).all()
    assert r2.loc["both", "count"] == r2.loc["women", "count"] + r2.loc["men", "count"] == 180


def test_without_meshes_shape_predicts_nothing(tmp_path: Path) -> None:
    folder = write_cohort(tmp_path / "c", meshes=False)
    assert shape_prediction(people_table(folder / "manifest.csv")) is None


def test_another_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.npy").touch()
    write_manifest([{"subject_id": "a", "scan": "a.npy"}], tmp_path / "manifest.csv")
    with pytest.raises(InputError, match="columns of a virtual cohort, got none named height_cm"):
        people_table(tmp_path / "manifest.csv")


def test_published_numbers_belong_to_groups_and_quantities_that_exist() -> None:
    assert {entry.group for entry in (*REFERENCES, *CORRELATIONS)} <= set(GROUPS)
    assert {entry.quantity for entry in REFERENCES} <= set(QUANTITIES)
    assert len({(entry.group, entry.quantity) for entry in REFERENCES}) == len(REFERENCES)
