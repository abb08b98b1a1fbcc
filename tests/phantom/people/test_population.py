"""The population meets published means, its correlations have the right sign, and shape does not decide composition."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.body.model import LOCAL_CHANGES
from dxa_monai.phantom.people.coefficients import (
    COEFFICIENTS,
    FAT_DEPTH_MEDIAN,
    FAT_REGIONS,
    LOCAL_CHANGE_LIMIT,
    LOCAL_CHANGES_MEAN,
    LOCAL_CHANGES_SD,
    WAIST_AXIS,
)
from dxa_monai.phantom.people.population import Person, sample_person, visit_count

PEOPLE = 2000


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return [sample_person(index, seed=7) for index in range(PEOPLE)]


def values(people: list[Person], sex: str, name: str) -> np.ndarray:
    return np.array([getattr(person, name) for person in people if person.sex == sex])


def test_same_numbers_give_the_same_person() -> None:
    assert sample_person(3, 11, 2) == sample_person(3, 11, 2)


@pytest.mark.parametrize("other", [(4, 11, 2), (3, 12, 2), (3, 11, 3)])
def test_each_number_matters(other: tuple[int, int, int]) -> None:
    assert sample_person(3, 11, 2).height_cm != sample_person(*other).height_cm


def test_random_streams_of_a_person_differ_from_each_other_and_repeat() -> None:
    person = sample_person(0, 0)
    assert person.generator(1).random() == person.generator(1).random()
    assert person.generator(1).random() != person.generator(2).random()


@pytest.mark.parametrize(
    ("sex", "name", "mean", "tolerance"),
    [
        # Li 2009 (NHANES 1999-2004) and NHANES stature. Tolerances: four standard errors of 1000 people.
        ("M", "height_cm", 176.0, 1.0),
        ("F", "height_cm", 162.0, 1.0),
        ("M", "fat_fraction", 0.281, 0.009),
        ("F", "fat_fraction", 0.400, 0.010),
        ("M", "mass_kg", 25.4 + 62.3, 2.2),
        ("F", "mass_kg", 30.8 + 44.0, 2.2),
        ("M", "bmi_kg_m2", 28.2, 0.7),
        ("F", "bmi_kg_m2", 28.4, 0.8),
    ],
)
def test_means_meet_the_published_ones(
    people: list[Person], sex: str, name: str, mean: float, tolerance: float
) -> None:
    assert values(people, sex, name).mean() == pytest.approx(mean, abs=tolerance)


def test_ranges(people: list[Person]) -> None:
    ages = np.array([person.age_years for person in people])
    bmi = np.array([person.bmi_kg_m2 for person in people])
    assert ages.min() >= 18.0
    assert ages.max() < 90.0
    assert bmi.min() >= 17.0
    assert bmi.max() <= 45.0
    assert all(0.0 <= person.muscle <= 1.0 and 0.0 <= person.proportions <= 1.0 for person in people)
    assert all(person.visceral_fat_kg < 0.3 * person.fat_fraction * person.mass_kg for person in people)
    assert all(1.5 <= person.lung_air_l <= 5.5 for person in people)


@pytest.mark.parametrize("sex", ["F", "M"])
def test_nobody_heaps_up_at_a_limit(people: list[Person], sex: str) -> None:
    c = {name: coefficient.of(sex) for name, coefficient in COEFFICIENTS.items()}
    fat, mass, lung = (values(people, sex, name) for name in ("fat_fraction", "mass_kg", "lung_air_l"))
    visceral_share = values(people, sex, "visceral_fat_kg") / (fat * mass)
    for value, lowest, highest in (
        (fat, c["fat_minimum"], c["fat_maximum"]),
        (lung, c["lung_minimum_l"], c["lung_maximum_l"]),
        (visceral_share, 0.0, c["visceral_share_of_fat_maximum"]),
    ):
        assert lowest < value.min()
        assert value.max() < highest
        # No two people within a thousandth of a limit share a value, and few are that near.
        edge = np.minimum(value - lowest, highest - value) < 1e-3 * (highest - lowest)
        assert len(np.unique(value)) == len(value)
        assert edge.mean() < 0.005


def test_bmi_is_skewed_to_the_right(people: list[Person]) -> None:
    for sex in "FM":
        bmi = values(people, sex, "bmi_kg_m2")
        assert bmi.mean() > np.median(bmi)


@pytest.mark.parametrize("sex", ["F", "M"])
@pytest.mark.parametrize(
    ("first", "second", "sign"),
    [
        ("age_years", "height_cm", -1),
        ("age_years", "bmd_scale", -1),
        ("age_years", "visceral_fat_kg", 1),
        ("age_years", "fat_fraction", 1),
        ("bmi_kg_m2", "fat_fraction", 1),
        ("bmi_kg_m2", "visceral_fat_kg", 1),
        ("fat_fraction", "muscle", -1),
        ("height_cm", "lung_air_l", 1),
    ],
)
def test_correlations_have_the_right_sign(people: list[Person], sex: str, first: str, second: str, sign: int) -> None:
    correlation = np.corrcoef(values(people, sex, first), values(people, sex, second))[0, 1]
    assert sign * correlation > 0.05


@pytest.mark.parametrize("sex", ["F", "M"])
def test_women_lose_more_bone_than_men(people: list[Person], sex: str) -> None:
    age, bone = values(people, sex, "age_years"), values(people, sex, "bmd_scale")
    loss = bone[age < 50].mean() - bone[age > 70].mean()
    assert loss > (0.12 if sex == "F" else 0.03)


def residual_sd(people: list[Person], sex: str, name: str) -> float:
    """Spread of a quantity that is left when body size, build, shape and age are known (linear and squared)."""
    chosen = [person for person in people if person.sex == sex]
    known = np.array(
        [
            [person.age_years, person.height_cm, person.bmi_kg_m2, person.muscle, person.proportions]
            + [value for _, value in person.local_changes]
            for person in chosen
        ]
    )
    known = (known - known.mean(axis=0)) / known.std(axis=0)
    design = np.column_stack([np.ones(len(known)), known, known[:, :4] ** 2])
    target = np.array([getattr(person, name) for person in chosen])
    return float((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]).std())


@pytest.mark.parametrize("sex", ["F", "M"])
def test_shape_does_not_decide_composition(people: list[Person], sex: str) -> None:
    assert residual_sd(people, sex, "fat_fraction") > 0.03
    assert residual_sd(people, sex, "bmd_scale") > 0.08
    assert residual_sd(people, sex, "visceral_fat_kg") > 0.3
    assert residual_sd(people, sex, "frame_scale") > 0.02


def test_about_a_fifth_come_twice() -> None:
    visits = np.array([visit_count(index, seed=3) for index in range(PEOPLE)])
    assert set(visits) == {1, 2}
    assert (visits == 2).mean() == pytest.approx(0.2, abs=0.04)


def test_every_coefficient_names_its_source() -> None:
    tables = COEFFICIENTS, FAT_DEPTH_MEDIAN, LOCAL_CHANGES_MEAN
    assert all(len(coefficient.source) > 5 for table in tables for coefficient in table.values())
    assert set(FAT_DEPTH_MEDIAN) == set(FAT_REGIONS)


def test_local_changes_are_known_to_the_body_model() -> None:
    assert set(LOCAL_CHANGES_SD) <= set(LOCAL_CHANGES)
    assert set(LOCAL_CHANGES_MEAN) | set(WAIST_AXIS) <= set(LOCAL_CHANGES_SD)  # others would not be drawn


@pytest.mark.parametrize("sex", ["F", "M"])
def test_a_wide_waist_at_one_size_holds_visceral_fat_and_stays_possible(people: list[Person], sex: str) -> None:
    change = {name: np.array([dict(p.local_changes)[name] for p in people if p.sex == sex]) for name in WAIST_AXIS}
    visceral = np.log(values(people, sex, "visceral_fat_kg"))
    fat = np.log(values(people, sex, "fat_fraction") * values(people, sex, "bmi_kg_m2"))
    design = np.column_stack([np.ones(len(fat)), fat, values(people, sex, "age_years")])
    residual = visceral - design @ np.linalg.lstsq(design, visceral, rcond=None)[0]
    correlation = np.corrcoef(residual, change["measure-waist-circ-incr"])[0, 1]
    assert 0.2 < correlation < 0.6
    assert np.corrcoef(change["measure-waist-circ-incr"], change["measure-hips-circ-incr"])[0, 1] < -0.2
    assert all(np.abs(values_).max() <= LOCAL_CHANGE_LIMIT for values_ in change.values())


def test_people_of_two_seeds_have_names_of_their_own() -> None:
    names = [{sample_person(index, seed).subject_id for index in range(20)} for seed in (1, 11)]
    assert [len(each) for each in names] == [20, 20]
    assert not names[0] & names[1]
