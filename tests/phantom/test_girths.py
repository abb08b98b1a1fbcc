"""Girths at given height and mass are those of ANSUR II, and so is how much they scatter."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dxa_monai.phantom.anthropometry import measure
from dxa_monai.phantom.body.model import BodyModel, UnreachableBody
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import Simulator

MEASURES = ("hip_circumference_cm", "waist_circumference_cm", "calf_left_circumference_cm")


@pytest.fixture(scope="module")
def people(body_model: BodyModel) -> pd.DataFrame:
    simulator, rows = Simulator(model=body_model), []
    for index in range(160):
        person = sample_person(index, 5)
        if 19.0 < person.bmi_kg_m2 < 38.0:
            try:
                girths = measure(body_model.t_pose(simulator.phenotype(person)), body_model, MEASURES)
            except UnreachableBody:
                continue
            rows.append({"sex": person.sex, "height": person.height_cm, "mass": person.mass_kg, **girths})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("sex", "size", "hip", "waist", "calf"),
    # Mean soldier's height and mass, and the girths there; a waist at the navel is wider in women than the smallest.
    [
        ("M", (175.6, 85.5), (100.0, 107.0), (92.0, 100.0), 39.6),
        ("F", (162.9, 67.8), (100.0, 107.0), (80.0, 87.0), 37.7),
    ],
)
def test_girths_at_given_size(
    people: pd.DataFrame,
    sex: str,
    size: tuple[float, float],
    hip: tuple[float, float],
    waist: tuple[float, float],
    calf: float,
) -> None:
    chosen = people[people["sex"] == sex]
    design = np.column_stack([np.ones(len(chosen)), chosen["height"], chosen["mass"]])
    at_size, spread = {}, {}
    for name in MEASURES:
        coefficients = np.linalg.lstsq(design, chosen[name], rcond=None)[0]
        at_size[name] = float(coefficients @ [1.0, *size])
        spread[name] = float((chosen[name] - design @ coefficients).std())
    assert hip[0] < at_size["hip_circumference_cm"] < hip[1]
    assert waist[0] < at_size["waist_circumference_cm"] < waist[1]
    assert at_size["calf_left_circumference_cm"] == pytest.approx(calf, abs=1.2)
    assert 3.2 < spread["waist_circumference_cm"] < 5.6  # 4.4 and 4.8 in soldiers
    assert 2.0 < spread["hip_circumference_cm"] < 4.2
