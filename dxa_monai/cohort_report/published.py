"""Published numbers on height, body composition and bone, against which the virtual cohort is held.

``looked_up`` says whether the number was read in the source named (or in a text that quotes it); the others are from
memory and stand in the tables as such.
"""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """A published mean of one quantity in one group of people.

    Attributes:
        group: name of one of ``population.GROUPS``.
        quantity: a column of ``population.people_table``.
        mean: in the column's unit.
        sd: standard deviation between people, None where none is known.
        source: where it was published.
        looked_up: False: from memory, unchecked.
        of: what the number is of, where that is not quite the group.
    """

    group: str
    quantity: str
    mean: float
    sd: float | None
    source: str
    looked_up: bool
    of: str = ""


_OGDEN = "Ogden 2004, Advance Data from Vital and Health Statistics 347 (US adults of 20-74 years, 1999-2002)"
_LI = "Li 2009, Am J Clin Nutr 90:1457 (NHANES 1999-2004)"
_NHANES = "NHANES 1999-2006, Looker 2013, Vital Health Stat 11(253)"
_QUICK = "QuickStats, NHANES 1999-2004, MMWR 2009;57:1383 (as quoted elsewhere)"
_CDC = "Kuczmarski 2002, 2000 CDC growth charts, Vital Health Stat 11(246)"

REFERENCES = (
    Reference("women", "height_cm", 162.6, 7.0, _OGDEN, True),
    Reference("men", "height_cm", 176.5, 7.5, _OGDEN, True),
    Reference("women", "mass_kg", 74.5, 18.0, _OGDEN, True),
    Reference("men", "mass_kg", 86.6, 17.5, _OGDEN, True),
    Reference("women", "bmi_kg_m2", 28.1, 6.5, _OGDEN, False),
    Reference("men", "bmi_kg_m2", 27.9, 5.0, _OGDEN, False),
    Reference("women", "fat_percent", 40.0, 6.8, _LI, True),
    Reference("men", "fat_percent", 28.1, 6.3, _LI, True),
    Reference("women", "fat_kg", 30.8, None, _LI, True),
    Reference("men", "fat_kg", 25.4, None, _LI, True),
    Reference("women", "lean_kg", 41.9, None, _LI, True, "fat-free mass less bone mineral"),
    Reference("men", "lean_kg", 59.6, None, _LI, True, "fat-free mass less bone mineral"),
    Reference("women", "bmc_kg", 2.1, 0.37, _NHANES, False),
    Reference("men", "bmc_kg", 2.7, 0.45, _NHANES, False),
    Reference("women", "bmd_g_cm2", 1.10, 0.11, _NHANES, False),
    Reference("men", "bmd_g_cm2", 1.20, 0.12, _NHANES, False),
    Reference("girls 6-11", "fat_percent", 32.0, None, _QUICK, True, "8-11 years"),
    Reference("boys 12-17", "fat_percent", 22.9, None, _QUICK, True, "16-19 years"),
    Reference("girls 6-11", "height_cm", 133.5, None, _CDC, True, "9 years"),
    Reference("boys 6-11", "height_cm", 133.7, None, _CDC, True, "9 years"),
    Reference("girls 12-17", "height_cm", 161.7, None, _CDC, True, "15 years"),
    Reference("boys 12-17", "height_cm", 170.1, None, _CDC, True, "15 years"),
)
"""Standard deviations of height, mass, BMI and % fat are from memory."""


class Correlation(NamedTuple):
    """A published correlation of two quantities within one group, or a range of it over age groups."""

    group: str
    first: str
    second: str
    lowest: float
    highest: float
    source: str
    looked_up: bool


CORRELATIONS = (
    Correlation("women", "bmi_kg_m2", "fat_percent", 0.72, 0.84, "Flegal 2009, Am J Clin Nutr 89:500", False),
    Correlation("men", "bmi_kg_m2", "fat_percent", 0.72, 0.79, "Flegal 2009, Am J Clin Nutr 89:500", False),
)

SHAPE_R2 = {
    "fat_kg": {"women": "0.93", "men": "0.88", "both": "0.94"},
    "lean_kg": {"both": "0.92"},
    "fat_percent": {"women": "0.74", "men": "0.81"},
}
"""R2 of composition from body shape by optical scans, people held out or cross-validated. Fat by sex: Ng 2019, Am J
Clin Nutr 110:1316. Both sexes, lean as fat-free mass: medRxiv 2022.11.02.22281819. % fat from one photograph: Shape Up!
Adults, PMC7796893. For bone mineral nothing was found but that it is far lower."""

BMD_OF_WOMEN_42_61 = (1.043, 0.0042, -0.0039)
"""BMD = a + b mass_kg + c age_years, correlation 0.46, scatter 0.074 g/cm2: 111 British women of 42 to 61 years,
Br J Radiol 1993;66:303, doi:10.1259/0007-1285-66-784-303."""
FAT_SCATTER_PERCENT = 3.5
"""Scatter of % fat about 1/BMI, age, sex and ethnicity in NHANES 1999-2004 (R2 0.84; AAHPERD convention 2015)."""
