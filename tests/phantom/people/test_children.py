"""Children: growth as in the charts, adults untouched by the option, and a body, measures and visits for each."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.body.model import BodyModel
from dxa_monai.phantom.people import children
from dxa_monai.phantom.people.children import HEIGHT_MEDIAN_CM, bmi_kg_m2, draw_child, is_child, lung_air_l
from dxa_monai.phantom.people.population import Person, sample_person
from dxa_monai.phantom.simulate import PersonRecord, Simulator
from dxa_monai.scan.regions import Region

PEOPLE = 600


@pytest.fixture(scope="module")
def young() -> list[Person]:
    return [sample_person(index, seed=4, children_share=1.0) for index in range(PEOPLE)]


def test_without_children_everybody_is_the_adult_of_before() -> None:
    assert all(sample_person(index, 4) == sample_person(index, 4, 0, 0.0) for index in range(20))
    assert not any(is_child(index, 4, 0.0) for index in range(200))


def test_the_share_decides_who_is_a_child_and_leaves_the_adults_alone() -> None:
    mixed = [sample_person(index, 4, 0, 0.3) for index in range(PEOPLE)]
    adults = [person for person in mixed if person.age_years >= 18.0]
    assert 1.0 - len(adults) / PEOPLE == pytest.approx(0.3, abs=0.06)
    assert all(person == sample_person(person.index, 4) for person in adults)
    more = [sample_person(index, 4, 0, 0.5) for index in range(PEOPLE)]
    assert all(b.age_years < 18.0 for a, b in zip(mixed, more, strict=True) if a.age_years < 18.0)


def test_a_refused_child_is_followed_by_another_child() -> None:
    index = next(index for index in range(50) if is_child(index, 4, 0.3))
    first, second = (sample_person(index, 4, attempt, 0.3) for attempt in (0, 1))
    assert max(first.age_years, second.age_years) < 18.0
    assert first.height_cm != second.height_cm


def test_ages_fill_the_range(young: list[Person]) -> None:
    ages = np.array([person.age_years for person in young])
    assert ages.min() >= 6.0
    assert ages.max() < 18.0
    assert ages.mean() == pytest.approx(12.0, abs=0.5)


@pytest.mark.parametrize(
    ("sex", "age", "low", "median", "high"),
    [
        # 3rd, 50th and 97th percentile of stature in the CDC 2000 charts at these months.
        ("M", 96.5 / 12, 117.5, 128.12, 139.25),
        ("F", 144.5 / 12, 137.44, 151.49, 165.15),
        ("M", 216.5 / 12, 162.50, 176.19, 189.46),
    ],
)
def test_stature_meets_the_charts(sex: str, age: float, low: float, median: float, high: float) -> None:
    assert HEIGHT_MEDIAN_CM.at(sex, age) == pytest.approx(median, abs=0.01)
    sd = median * children.HEIGHT_RELATIVE_SD.at(sex, age)
    assert median - 1.881 * sd == pytest.approx(low, abs=1.0)
    assert median + 1.881 * sd == pytest.approx(high, abs=1.0)


def test_bmi_meets_the_charts_and_rises_with_z() -> None:
    assert bmi_kg_m2("F", 12.0, 0.0) == pytest.approx(18.07)
    assert bmi_kg_m2("M", 10.0, 1.0) == pytest.approx(19.23)
    assert bmi_kg_m2("M", 10.0, 1.5) == pytest.approx(21.32, abs=0.5)  # the charts' own value
    values = [bmi_kg_m2("F", 9.0, z) for z in np.linspace(-2.5, 2.5, 21)]
    assert (np.diff(values) > 0).all()


def test_fatness_by_sex_and_age(young: list[Person]) -> None:
    def mean(sex: str, youngest: float, oldest: float) -> float:
        chosen = [p.fat_fraction for p in young if p.sex == sex and youngest <= p.age_years < oldest]
        return float(np.mean(chosen))

    assert mean("F", 8.0, 12.0) == pytest.approx(0.320, abs=0.025)
    assert mean("M", 16.0, 18.0) == pytest.approx(0.229, abs=0.03)
    assert mean("M", 9.0, 12.0) > mean("M", 15.0, 18.0)  # boys grow leaner in puberty
    assert mean("F", 15.0, 18.0) > mean("M", 15.0, 18.0) + 0.07


def test_no_child_heaps_up_at_a_limit(young: list[Person]) -> None:
    fat, bmi = np.array([p.fat_fraction for p in young]), np.array([p.bmi_kg_m2 for p in young])
    assert len(np.unique(fat)) == len(np.unique(bmi)) == PEOPLE
    assert children.FAT_LIMITS[0] < fat.min() < fat.max() < children.FAT_LIMITS[1]
    for sex in "FM":
        # BMI at the greatest z score of the age: nobody but one or two close to it.
        top = [bmi_kg_m2(sex, p.age_years, children.BMI_Z_LIMITS[1]) for p in young if p.sex == sex]
        own = [p.bmi_kg_m2 for p in young if p.sex == sex]
        assert np.mean(np.array(own) > 0.999 * np.array(top)) < 0.01


def test_composition_is_not_decided_by_size(young: list[Person]) -> None:
    known = np.array([[1.0, p.age_years, p.sex == "M", p.height_cm, p.bmi_kg_m2] for p in young])
    for name, least in (("fat_fraction", 0.025), ("bmd_scale", 0.07), ("lung_air_l", 0.1)):
        target = np.array([getattr(p, name) for p in young])
        residual = target - known @ np.linalg.lstsq(known, target, rcond=None)[0]
        assert residual.std() > least, name


def test_lungs_and_compact_bone_grow_with_the_child() -> None:
    assert lung_air_l("F", 116.0, 0.0) < 0.5 * lung_air_l("F", 163.0, 0.0)
    draws = [draw_child("M", np.random.default_rng(seed)) for seed in range(200)]
    small = [child.cortical_scale for child in draws if child.height_cm < 130.0]
    tall = [child.cortical_scale for child in draws if child.height_cm > 165.0]
    assert max(small) < min(tall) <= 1.0


@pytest.fixture(scope="module")
def records(body_model: BodyModel) -> list[PersonRecord]:
    simulator = Simulator(model=body_model)
    wanted = {}
    for index in range(60):
        age = sample_person(index, 4, 0, 1.0).age_years
        if age < 7.5 or (age > 15.0 and len(wanted) < 2):
            wanted[index] = age
        if len(wanted) == 3:
            break
    return [simulator.simulate_person(index, 4, 1.0) for index in wanted]


def test_a_child_has_a_body_of_its_size_and_whole_scans(records: list[PersonRecord]) -> None:
    for record in records:
        person = record.person
        assert person.age_years < 18.0
        assert np.ptp(record.vertices_m[:, 2]) == pytest.approx(person.height_cm / 100.0, rel=0.03)
        for visit in record.visits:
            assert visit.totals["total_mass_g"] == pytest.approx(1000.0 * person.mass_kg, rel=0.02)
            assert visit.totals["total_fat_percent"] == pytest.approx(100.0 * person.fat_fraction, abs=0.1)
            assert set(np.unique(visit.tissue.region_map)) == {int(region) for region in Region}
            assert not visit.tissue.thickness_cm[[0, -1]].any()
            assert not visit.tissue.thickness_cm[:, [0, -1]].any()


def test_bone_mineral_of_children_is_that_of_their_age(records: list[PersonRecord]) -> None:
    for record in records:
        bmc = record.visits[0].totals["total_bmc_g"]
        lowest, highest = (450.0, 1250.0) if record.person.age_years < 7.5 else (1400.0, 3600.0)
        assert lowest < bmc < highest


def test_measures_shrink_with_the_child(records: list[PersonRecord]) -> None:
    ordered = sorted(records, key=lambda record: record.person.height_cm)
    for name in ("calf_left_circumference_cm", "total_volume_l", "whole_body_surface_area_cm2"):
        assert ordered[0].anthropometry[name] < 0.8 * ordered[-1].anthropometry[name]
