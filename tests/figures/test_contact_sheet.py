import pytest

from dxa_monai.figures.contact_sheet import _label


@pytest.mark.parametrize(
    ("sex", "age_years", "expected"),
    [("F", 7.0, "girl, 7 y"), ("M", 17.0, "boy, 17 y"), ("F", 18.0, "woman, 18 y"), ("M", 60.0, "man, 60 y")],
)
def test_children_are_called_girl_and_boy(sex: str, age_years: float, expected: str) -> None:
    person = {"subject_id": "a", "height_cm": 120.0, "mass_kg": 25.0, "total_fat_percent": 20.0}
    assert _label(person | {"sex": sex, "age_years": age_years}).split("\n")[1] == expected
