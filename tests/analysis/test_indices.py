"""Indices against numbers worked out by hand, and why some are not there."""

from __future__ import annotations

import pytest

from dxa_monai.analysis.indices import INDICES, body_indices

REGIONS = {
    "total": {"fat_g": 20_000.0, "lean_g": 50_000.0, "bmc_g": 2_500.0},
    "arms": {"fat_g": 2_000.0, "lean_g": 6_000.0},
    "legs": {"fat_g": 6_000.0, "lean_g": 14_000.0},
    "left_arm": {"lean_g": 2_900.0},
    "right_arm": {"lean_g": 3_100.0},
    "left_leg": {"lean_g": 7_000.0},
    "right_leg": {"lean_g": 7_000.0},
    "trunk": {"fat_g": 10_000.0},
    "android": {"fat_percent": 36.0},
    "gynoid": {"fat_percent": 30.0},
}
PERSON = {"height_cm": 170.0, "mass_kg": 75.0, "sex": "Male", "age_years": 70.0}


def test_each_is_what_its_definition_says() -> None:
    values, reasons = body_indices(REGIONS, PERSON)
    assert not reasons
    assert list(values) == list(INDICES)
    assert values["fat_mass_index_kg_m2"] == pytest.approx(20.0 / 2.89)
    assert values["lean_mass_index_kg_m2"] == pytest.approx(50.0 / 2.89)
    assert values["fat_free_mass_index_kg_m2"] == pytest.approx(52.5 / 2.89)
    assert values["appendicular_lean_kg"] == pytest.approx(20.0)
    assert values["appendicular_lean_index_kg_m2"] == pytest.approx(6.9204, abs=1e-4)
    assert values["appendicular_lean_per_bmi_m2"] == pytest.approx(20.0 / (75.0 / 2.89))
    assert values["android_gynoid_fat_ratio"] == pytest.approx(1.2)
    assert values["trunk_limb_fat_ratio"] == pytest.approx(1.25)
    assert values["arms_lean_difference_percent"] == pytest.approx(-20.0 / 3.0)
    assert values["legs_lean_difference_percent"] == 0.0


@pytest.mark.parametrize(
    ("sex", "ewgsop2", "fnih"), [("m", True, True), ("F", False, False), (" woman ", False, False), ("MAN", True, True)]
)
def test_cut_offs_are_those_of_the_sex(sex: str, ewgsop2: bool, fnih: bool) -> None:
    values, _ = body_indices(REGIONS, PERSON | {"sex": sex})
    assert (values["low_lean_ewgsop2"], values["low_lean_fnih"]) == (ewgsop2, fnih)


def test_a_value_at_the_cut_off_is_not_below_it() -> None:
    at = REGIONS | {"arms": {"fat_g": 1.0, "lean_g": 7.0e3}, "legs": {"fat_g": 1.0, "lean_g": 0.0}}
    values, _ = body_indices(at, PERSON | {"height_cm": 100.0})
    assert values["low_lean_ewgsop2"] is False


@pytest.mark.parametrize(
    ("change", "missing", "reason"),
    [
        ({"height_cm": None}, 7, "height_cm is not known"),
        ({"mass_kg": ""}, 2, "mass_kg is not known"),
        ({"sex": "x"}, 2, "sex: expected one of f, female, w, woman, m, male, man, got 'x'"),
        ({"age_years": 12.0}, 2, "the cut-off is for adults, got an age of 12 years"),
        ({"age_years": None}, 2, "age_years is not known"),
    ],
)
def test_what_is_not_known_leaves_a_gap_with_its_reason(change: dict[str, object], missing: int, reason: str) -> None:
    values, reasons = body_indices(REGIONS, PERSON | change)
    assert len(reasons) == missing
    assert {values[name] for name in reasons} == {None}
    assert set(reasons.values()) == {reason}


def test_a_scan_without_numbers_has_no_indices() -> None:
    values, reasons = body_indices({}, PERSON)
    assert set(values.values()) == {None}
    assert set(reasons.values()) == {"the scan has no numbers"}


def test_nothing_is_divided_by_0() -> None:
    lean = REGIONS | {"gynoid": {"fat_percent": 0.0}}
    values, reasons = body_indices(lean, PERSON)
    assert values["android_gynoid_fat_ratio"] is None
    assert reasons["android_gynoid_fat_ratio"] == "it would be divided by 0"
