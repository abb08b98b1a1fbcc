"""Is a cohort like real people? Means, spreads and correlations by sex and age, and who is implausible and why.

Numbers are those of the maps that were scanned, one row a person (the first visit).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dxa_monai.cohort_report import build
from dxa_monai.cohort_report.shape_regression import FOLDS, held_out_r2
from dxa_monai.errors import InputError
from dxa_monai.phantom.body.mesh import read_ply_vertices
from dxa_monai.scan.manifest import read_manifest

ADULT_YEARS = 18.0
QUANTITIES = {
    "height_cm": "height, cm",
    "mass_kg": "mass, kg",
    "bmi_kg_m2": "BMI, kg/m2",
    "fat_percent": "% fat",
    "fat_kg": "fat, kg",
    "lean_kg": "lean, kg",
    "bmc_kg": "BMC, kg",
    "bmd_g_cm2": "BMD, g/cm2",
}
"""Columns that are compared with published values, and their names in tables and figures."""
PREDICTED = ("fat_kg", "lean_kg", "bmc_kg", "bmd_g_cm2", "fat_percent")
"""What shape is asked to predict."""
MOST_SHAPES = 600
"""So many people of each sex at most enter the regression on shape: more change the second decimal no longer."""

_Chosen = npt.NDArray[np.bool_]


def _group(sex: str, youngest: float, oldest: float) -> Callable[[pd.DataFrame], _Chosen]:
    return lambda people: (
        (people["sex"] == sex) & (people["age_years"] >= youngest) & (people["age_years"] < oldest)
    ).to_numpy()


GROUPS: dict[str, Callable[[pd.DataFrame], _Chosen]] = {
    "women": _group("F", ADULT_YEARS, 120.0),
    "men": _group("M", ADULT_YEARS, 120.0),
    "girls 6-11": _group("F", 6.0, 12.0),
    "boys 6-11": _group("M", 6.0, 12.0),
    "girls 12-17": _group("F", 12.0, ADULT_YEARS),
    "boys 12-17": _group("M", 12.0, ADULT_YEARS),
}


def people_table(manifest: str | Path) -> pd.DataFrame:
    """One row a person, from the first scan of each.

    Args:
        manifest: manifest of a virtual cohort.

    Returns:
        ``subject_id, sex, age_years, mesh`` (file or None), ``bone_area_cm2``, ``waist_cm``, ``hip_cm``, the columns
        of ``QUANTITIES`` and those of :data:`dxa_monai.cohort_report.build.COLUMNS`.

    Raises:
        InputError: the manifest cannot be read or lacks a column that the cohort generator writes.
    """
    rows: dict[str, dict[str, object]] = {}
    for row in read_manifest(manifest):
        if row["subject_id"] in rows:
            continue
        try:
            height_m = row["height_cm"] / 100.0
            rows[row["subject_id"]] = {
                "subject_id": row["subject_id"],
                "sex": row["sex"],
                "age_years": row["age_years"],
                "mesh": row.get("mesh"),
                "height_cm": row["height_cm"],
                "mass_kg": row["total_mass_g"] / 1000.0,
                "bmi_kg_m2": row["total_mass_g"] / 1000.0 / height_m**2,
                "fat_percent": row["total_fat_percent"],
                "fat_kg": row["total_fat_g"] / 1000.0,
                "lean_kg": row["total_lean_g"] / 1000.0,
                "bmc_kg": row["total_bmc_g"] / 1000.0,
                "bmd_g_cm2": row["total_bmd_g_cm2"],
                "bone_area_cm2": row["total_bone_area_cm2"],
                "waist_cm": row["waist_circumference_cm"],
                "hip_cm": row["hip_circumference_cm"],
                **{name: row[name] for name in build.COLUMNS},
            }
        except KeyError as error:
            raise InputError(
                f"{manifest}: expected the columns of a virtual cohort, got none named {error.args[0]}."
            ) from error
    return pd.DataFrame(list(rows.values()))


def summary(people: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation of every quantity in every group that has at least two people.

    Returns:
        ``group, quantity, count, mean, sd``.
    """
    rows = []
    for group, chosen in GROUPS.items():
        members = people[chosen(people)]
        if len(members) > 1:
            for quantity in QUANTITIES:
                values = members[quantity]
                rows.append((group, quantity, len(members), float(values.mean()), float(values.std())))
    return pd.DataFrame(rows, columns=["group", "quantity", "count", "mean", "sd"])


def correlations(people: pd.DataFrame, group: str) -> pd.DataFrame:
    """Pearson correlations between age and all quantities within a group, symmetric, names as index and columns."""
    return people[GROUPS[group](people)][["age_years", *QUANTITIES]].corr()


class Rule(NamedTuple):
    """What nobody should be; ``broken_by`` tells it of each person of the table."""

    name: str
    why: str
    broken_by: Callable[[pd.DataFrame], _Chosen]


def _outside(quantity: str, lowest: float, highest: float, youngest: float = 8.0) -> Callable[[pd.DataFrame], _Chosen]:
    return lambda people: (
        (people["age_years"] >= youngest) & ((people[quantity] < lowest) | (people[quantity] > highest))
    ).to_numpy()


def _lean_index_outside(people: pd.DataFrame) -> _Chosen:
    index = (people["lean_kg"] + people["bmc_kg"]) / (people["height_cm"] / 100.0) ** 2
    lowest, highest = np.where(people["sex"] == "F", 12.0, 14.0), np.where(people["sex"] == "F", 25.0, 28.0)
    return ((people["age_years"] >= ADULT_YEARS) & ((index < lowest) | (index > highest))).to_numpy()


def _weak_bone_when_young(people: pd.DataFrame) -> _Chosen:
    young = people["age_years"].between(ADULT_YEARS, 40.0)
    mean = people["sex"].map(people[young].groupby("sex")["bmd_g_cm2"].mean())
    return (young & (people["bmd_g_cm2"] < 0.75 * mean)).to_numpy()


_DXX = "NHANES 2017-2018 (DXX_J) found nobody outside, 8 to 59 years"
RULES = (
    Rule("% fat outside 12.1 to 56.1", _DXX, _outside("fat_percent", 12.1, 56.1)),
    Rule("BMC outside 0.650 to 4.586 kg", _DXX, _outside("bmc_kg", 0.650, 4.586)),
    Rule("BMD outside 0.592 to 1.728 g/cm2", _DXX, _outside("bmd_g_cm2", 0.592, 1.728)),
    Rule("bone area outside 1071 to 2843 cm2", _DXX, _outside("bone_area_cm2", 1071.0, 2843.0)),
    Rule(
        "fat-free mass index outside 12 to 25 (women), 14 to 28 kg/m2 (men)",
        "below lies starvation, above it bodybuilding (adults)",
        _lean_index_outside,
    ),
    Rule(
        "waist more than 1.25 of the hip, or less than 0.6",
        "not seen in people, whatever their weight",
        lambda people: (~(people["waist_cm"] / people["hip_cm"]).between(0.6, 1.25)).to_numpy(),
    ),
    Rule(
        "BMD below 75 % of the mean of the sex at 18 to 39 years",
        "a T-score of about -2.5 or less before the age of 40",
        _weak_bone_when_young,
    ),
)
"""Rules of plausibility. Breaking one is no error: real people do so too, but rarely."""


def implausible(people: pd.DataFrame) -> dict[str, list[str]]:
    """The subjects that break each rule, by the rule's name."""
    return {rule.name: people["subject_id"][rule.broken_by(people)].tolist() for rule in RULES}


def shape_prediction(people: pd.DataFrame) -> pd.DataFrame | None:
    """R2 of composition from the shape of the T-pose mesh, adults, held out; women, men and both.

    Returns:
        ``group, count`` and one column for each of ``PREDICTED``; None if the cohort has fewer meshes than ten times
        the folds of either sex.

    Raises:
        InputError: a mesh cannot be read.
    """
    adults = people[(people["age_years"] >= ADULT_YEARS) & people["mesh"].notna()]
    parts = {"women": adults[adults["sex"] == "F"][:MOST_SHAPES], "men": adults[adults["sex"] == "M"][:MOST_SHAPES]}
    if min(len(part) for part in parts.values()) < 10 * FOLDS:
        return None
    shapes = {name: np.stack([read_ply_vertices(path) for path in part["mesh"]]) for name, part in parts.items()}
    rows = []
    for name, members in (("women", ["women"]), ("men", ["men"]), ("both", ["women", "men"])):
        table = pd.concat([parts[member] for member in members])
        vertices = np.concatenate([shapes[member] for member in members])
        r2 = held_out_r2(vertices, {quantity: table[quantity].to_numpy() for quantity in PREDICTED})
        rows.append({"group": name, "count": len(table), **r2})
    return pd.DataFrame(rows)
