"""How a cohort's adults are built: girths at given height and mass, where bone and fat lie, how the sides differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

YOUNGEST_YEARS, OLDEST_YEARS = 18.0, 56.0
BMI_KG_M2 = 19.0, 38.0
"""Soldiers' ages and builds, among whom girths at given size are compared."""


class Girth(NamedTuple):
    """A girth of ANSUR II [1]_ at the mean soldier's height and mass.

    Attributes:
        column: of the manifest; of a pair of limbs the left one.
        label: in the table.
        men_cm, women_cm: from a regression on height, mass and its square among 4,082 men and 1,986 women.
        spread_cm: of men and of women about that regression, None where it was not worked out.
        differs: how the survey's way of measuring differs.

    References:
        [1] Gordon et al., "2012 Anthropometric Survey of U.S. Army Personnel", Natick/TR-15/007, 2014.
    """

    column: str
    label: str
    men_cm: float
    women_cm: float
    spread_cm: tuple[float, float] | None
    differs: str


SOLDIER_CM_KG = {"M": (175.6, 85.5), "F": (162.9, 67.8)}
"""Height and mass of the mean soldier."""
GIRTHS = (
    Girth("waist_circumference_cm", "waist", 94.5, 85.9, (4.4, 4.8), "at the navel; here the smallest girth"),
    Girth("hip_circumference_cm", "hip", 102.2, 102.4, None, "at the buttocks, feet together; here the largest girth"),
    Girth("thigh_left_circumference_cm", "thigh", 63.6, 62.1, None, "at the gluteal fold; here a hand's breadth lower"),
    Girth("calf_left_circumference_cm", "calf", 39.6, 37.7, None, ""),
    Girth("bicep_left_circumference_cm", "upper arm", 36.5, 31.1, None, "flexed; here relaxed, about 3 and 2 cm less"),
)


class Share(NamedTuple):
    """A region's share of a quantity of the body in reports of a clinical scanner.

    Attributes:
        region, quantity: of the manifest's columns.
        label: in the table.
        published: in percent, of two whole-body reports of women (Hologic Apex), by that software's lines and edges.
    """

    region: str
    quantity: str
    label: str
    published: str


SHARES = (
    Share("head", "bone_area_cm2", "bone area, head", ""),
    Share("arms", "bone_area_cm2", "bone area, arms", "21.6"),
    Share("legs", "bone_area_cm2", "bone area, legs", ""),
    Share("ribs", "bone_area_cm2", "bone area, ribs", ""),
    Share("spine", "bone_area_cm2", "bone area, spine", ""),
    Share("pelvis", "bone_area_cm2", "bone area, pelvis", "10.5"),
    Share("spine", "bmc_g", "BMC, spine", "8 to 9"),
    Share("trunk", "fat_g", "fat, trunk", "37"),
)
SIDED = ("arm_lean_g", "arm_fat_g", "arm_bmc_g", "leg_lean_g", "leg_fat_g", "leg_bmc_g")
"""What is compared between the sides."""

COLUMNS = (
    *(girth.column for girth in GIRTHS),
    *(f"{share.region}_{share.quantity}" for share in SHARES),
    *(f"{side}_{name}" for name in SIDED for side in ("left", "right")),
)
"""Columns of the manifest that the tables need beside those of the body as a whole."""
_WHOLE = {"bone_area_cm2": "bone_area_cm2", "bmc_g": "bmc_kg", "fat_g": "fat_kg"}


def girths_at_given_size(people: pd.DataFrame) -> pd.DataFrame:
    """Each girth at the mean soldier's height and mass, and its spread about the regression there.

    Args:
        people: :func:`dxa_monai.cohort_report.plausibility.people_table`.

    Returns:
        ``sex, girth, count, mean_cm, spread_cm``; no rows for a sex with fewer than twenty people of the ages and
        builds compared.
    """
    rows = []
    compared = people["age_years"].between(YOUNGEST_YEARS, OLDEST_YEARS) & people["bmi_kg_m2"].between(*BMI_KG_M2)
    for sex, (height, mass) in SOLDIER_CM_KG.items():
        members = people[compared & (people["sex"] == sex)]
        if len(members) < 20:
            continue
        kilograms = members["mass_kg"].to_numpy()
        design = np.column_stack([np.ones(len(members)), members["height_cm"], kilograms, kilograms**2])
        for girth in GIRTHS:
            values = members[girth.column].to_numpy()
            coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
            spread = np.sqrt(np.square(values - design @ coefficients).sum() / (len(members) - 4))
            at_size = float(coefficients @ [1.0, height, mass, mass**2])
            rows.append((sex, girth.label, len(members), at_size, float(spread)))
    return pd.DataFrame(rows, columns=["sex", "girth", "count", "mean_cm", "spread_cm"])


def shares_percent(people: pd.DataFrame) -> pd.DataFrame:
    """Mean share of every region of ``SHARES`` among women and men, in percent; index of labels, columns F and M."""
    adults = people[people["age_years"] >= YOUNGEST_YEARS]
    table = {}
    for share in SHARES:
        whole = adults[_WHOLE[share.quantity]] * (1.0 if share.quantity.endswith("cm2") else 1000.0)
        part = 100.0 * adults[f"{share.region}_{share.quantity}"] / whole
        table[share.label] = part.groupby(adults["sex"]).mean()
    return pd.DataFrame(table).T


def side_difference_percent(people: pd.DataFrame) -> pd.DataFrame:
    """By name of ``SIDED``: mean and spread of the adults' left over right less one, in percent; ``mean, spread``."""
    adults = people[people["age_years"] >= YOUNGEST_YEARS]
    table = {}
    for name in SIDED:
        ratio = 100.0 * (adults[f"left_{name}"] / adults[f"right_{name}"] - 1.0)
        table[name] = {"mean": float(ratio.mean()), "spread": float(ratio.std())}
    return pd.DataFrame(table).T
