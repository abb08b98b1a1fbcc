"""Children of 6 to 17 years: growth, fatness and bone by age and sex, and one child drawn from them.

Stature follows the US growth charts. BMI follows them too, shifted to the heavier children of later surveys. Fat and
bone mineral follow DXA references; each carries a residual of its own, as in adults
(:mod:`dxa_monai.phantom.people.population`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dxa_monai.phantom.people.truncated import truncated_normal

YOUNGEST_YEARS, ADULT_YEARS = 6.0, 18.0


class Curve(NamedTuple):
    """A quantity by age for girls and boys, linear between ages, and where it comes from."""

    age_years: tuple[float, ...]
    girls: tuple[float, ...]
    boys: tuple[float, ...]
    source: str

    def at(self, sex: str, age_years: float) -> float:
        """The value at an age; beyond the ends the end's value."""
        return float(np.interp(age_years, self.age_years, self.girls if sex == "F" else self.boys))


_CDC = "Kuczmarski 2002, 2000 CDC growth charts, Vital Health Stat 11(246)"
_CDC_MONTHS = (72.5, 96.5, 120.5, 144.5, 168.5, 192.5, 216.5)
_CDC_YEARS = tuple(months / 12.0 for months in _CDC_MONTHS)
_EVEN_YEARS = (6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0)

HEIGHT_MEDIAN_CM = Curve(
    _CDC_YEARS,
    (115.01, 127.83, 138.21, 151.49, 160.48, 162.57, 163.13),
    (115.66, 128.12, 138.82, 149.31, 164.14, 173.61, 176.19),
    _CDC + ", stature for age, M",
)
HEIGHT_RELATIVE_SD = Curve(
    _CDC_YEARS,
    (0.0450, 0.0460, 0.0487, 0.0486, 0.0410, 0.0398, 0.0397),
    (0.0437, 0.0451, 0.0476, 0.0499, 0.0489, 0.0431, 0.0406),
    _CDC + ", stature for age, S (its L is taken as 1)",
)
BMI_Z = (-2.0, -1.0, 0.0, 1.0, 2.0)
_BMI_YEARS = (6.0, 7.83, 10.0, 12.0, 14.0, 16.0, 18.0)
BMI_KG_M2 = tuple(
    Curve(_BMI_YEARS, girls, boys, _CDC + ", BMI for age at this z score")
    for girls, boys in (
        ((13.14, 13.16, 13.59, 14.31, 15.25, 16.21, 16.98), (13.47, 13.47, 13.83, 14.53, 15.48, 16.57, 17.64)),
        ((14.02, 14.24, 14.94, 15.87, 16.93, 17.95, 18.73), (14.29, 14.41, 14.99, 15.88, 17.00, 18.23, 19.43)),
        ((15.21, 15.74, 16.84, 18.07, 19.33, 20.43, 21.26), (15.38, 15.72, 16.62, 17.79, 19.13, 20.53, 21.87)),
        ((17.00, 18.05, 19.81, 21.54, 23.13, 24.44, 25.45), (16.93, 17.73, 19.23, 20.84, 22.47, 24.02, 25.46)),
        ((20.25, 22.47, 25.51, 28.24, 30.64, 32.74, 34.77), (19.46, 21.66, 24.65, 27.10, 28.96, 30.30, 31.53)),
    )
)
"""By age, one for each of ``BMI_Z``."""
BMI_Z_MEAN, BMI_Z_SD = 0.6, 1.15
"""Children of 1999-2004 against the charts: 17 % of them above their 95th percentile (Ogden 2006, JAMA 295:1549)."""
BMI_Z_LIMITS = (-2.0, 2.3)
"""Assumption: the bodies of the shape model. Within them the mean z score is 0.47, and 12 % are above the 95th."""

FAT_FRACTION_MEAN = Curve(
    _EVEN_YEARS,
    (0.285, 0.312, 0.322, 0.322, 0.325, 0.340, 0.350),
    (0.245, 0.270, 0.282, 0.272, 0.250, 0.232, 0.226),
    "NHANES 1999-2004 DXA (MMWR 2009;57:1383): girls 32.0 % at 8-11 years, boys 22.9 % at 16-19; pattern in between as "
    "in Ogden 2011, Natl Health Stat Rep 43; below 8 years assumption",
)
FAT_BMI_Z = 0.5
"""The z score of BMI at which the mean holds."""
FAT_PER_BMI_Z = 0.053
FAT_RESIDUAL_SD = 0.035
"""Rise of the fat fraction with BMI and its scatter at a given BMI (assumption; together a spread of about 6.5 %)."""
FAT_LIMITS = (0.10, 0.52)
VISCERAL_SHARE_OF_FAT, VISCERAL_LOG_SD = 0.04, 0.35
"""Visceral fat of children as a share of all fat (assumption)."""

BONE_SCALE = Curve(
    _EVEN_YEARS,
    (0.88, 0.89, 0.91, 0.94, 0.99, 0.99, 1.00),
    (0.92, 0.91, 0.90, 0.92, 0.96, 0.99, 1.02),
    "tuned to total-body BMC by age of the Bone Mineral Density in Childhood Study (Zemel 2011, "
    "J Clin Endocrinol Metab 96:3160)",
)
BONE_RESIDUAL_SD = 0.10
FRAME_SCALE = Curve(_EVEN_YEARS, (0.96,) * 6 + (0.98,), (0.96, 0.96, 0.96, 0.95, 0.94, 0.935, 0.935), "assumption")

MARROW_FAT_SCALE = Curve(
    _EVEN_YEARS,
    (0.60, 0.66, 0.72, 0.78, 0.84, 0.90, 0.95),
    (0.60, 0.66, 0.72, 0.78, 0.84, 0.90, 0.95),
    "assumption: marrow turns from red to yellow from the limbs' ends inwards (Cristy 1981, Phys Med Biol 26:389)",
)
LEAN_DENSITY_G_CM3 = Curve(
    _EVEN_YEARS,
    (1.052, 1.0535, 1.055, 1.0565, 1.058, 1.059, 1.0594),
    (1.052, 1.0535, 1.055, 1.0560, 1.057, 1.058, 1.0594),
    "assumption: lean tissue of children holds more water (Wells 2010, Am J Clin Nutr 91:610)",
)
LUNG_REFERENCE_L = {"F": 2.6, "M": 3.2}
LUNG_HEIGHT_POWER, LUNG_LOG_SD = 2.7, 0.15
"""Air in the lungs of an adult of mean stature and how it shrinks with stature (assumption)."""

SHAPE_BMI_RATIO = Curve(
    _EVEN_YEARS,
    (1.33, 1.26, 1.21, 1.135, 1.06, 1.0, 1.0),
    (1.385, 1.29, 1.23, 1.15, 1.065, 1.0, 1.0),
    "anny: BMI of an adult over that of a child of the same weight and muscle parameters",
)


def is_child(index: int, seed: int, share: float) -> bool:
    """Whether person ``index`` of cohort ``seed`` is a child, if a ``share`` of all people are.

    A random stream of its own decides, so that with share 0 nothing else changes, and an adult stays the same adult.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(1,)))
    return bool(generator.random() < share)


def bmi_kg_m2(sex: str, age_years: float, z: float) -> float:
    """BMI at a z score of the growth charts, log-linear between the tabulated ones and beyond them."""
    logs = np.log([curve.at(sex, age_years) for curve in BMI_KG_M2])
    lower = int(np.clip(np.floor(z) + 2, 0, len(BMI_Z) - 2))
    return float(np.exp(logs[lower] + (z - BMI_Z[lower]) * (logs[lower + 1] - logs[lower])))


def lung_air_l(sex: str, height_cm: float, z: float) -> float:
    """Air in the lungs, from stature and a standard normal residual."""
    relative = height_cm / (163.0 if sex == "F" else 176.2)
    return LUNG_REFERENCE_L[sex] * float(relative**LUNG_HEIGHT_POWER * np.exp(LUNG_LOG_SD * np.clip(z, -2.5, 2.5)))


class Child(NamedTuple):
    """What makes a child of a person drawn as an adult; the fields are those of ``population.Person``."""

    age_years: float
    height_cm: float
    mass_kg: float
    fat_fraction: float
    visceral_fat_kg: float
    bmd_scale: float
    cortical_scale: float
    frame_scale: float
    lean_density_g_cm3: float
    lung_air_l: float
    marrow_fat_scale: float
    shape_bmi_kg_m2: float
    """BMI of an adult of the same build: where the shape model's limits for adults hold."""
    fat_residual: float
    """Standard normal: how much fatter than others of this age, sex and BMI."""


def draw_child(sex: str, rng: np.random.Generator) -> Child:
    """Draw a child's age (uniform), size and composition.

    Args:
        sex: "F" or "M".
        rng: the child's own random stream.
    """
    age = float(rng.uniform(YOUNGEST_YEARS, ADULT_YEARS))
    z_height, z_bmi, z_fat, z_visceral, z_bone, z_frame, z_lung = np.clip(rng.standard_normal(7), -3.0, 3.0).tolist()
    height_cm = HEIGHT_MEDIAN_CM.at(sex, age) * (1.0 + HEIGHT_RELATIVE_SD.at(sex, age) * z_height)
    bmi_z = BMI_Z_MEAN + BMI_Z_SD * _truncated(z_bmi, BMI_Z_MEAN, BMI_Z_SD, BMI_Z_LIMITS)
    bmi = bmi_kg_m2(sex, age, bmi_z)
    mass_kg = bmi * (height_cm / 100.0) ** 2
    fat = FAT_FRACTION_MEAN.at(sex, age) + FAT_PER_BMI_Z * (bmi_z - FAT_BMI_Z)
    z_fat = _truncated(z_fat, fat, FAT_RESIDUAL_SD, FAT_LIMITS)
    fat += FAT_RESIDUAL_SD * z_fat
    return Child(
        age_years=age,
        height_cm=height_cm,
        mass_kg=mass_kg,
        fat_fraction=fat,
        visceral_fat_kg=VISCERAL_SHARE_OF_FAT * fat * mass_kg * float(np.exp(VISCERAL_LOG_SD * z_visceral)),
        bmd_scale=BONE_SCALE.at(sex, age) * (1.0 + BONE_RESIDUAL_SD * z_bone),
        cortical_scale=min(height_cm / HEIGHT_MEDIAN_CM.at(sex, ADULT_YEARS), 1.0),
        frame_scale=FRAME_SCALE.at(sex, age) + 0.03 * z_frame,
        lean_density_g_cm3=LEAN_DENSITY_G_CM3.at(sex, age),
        lung_air_l=lung_air_l(sex, height_cm, z_lung),
        marrow_fat_scale=MARROW_FAT_SCALE.at(sex, age),
        shape_bmi_kg_m2=bmi * SHAPE_BMI_RATIO.at(sex, age),
        fat_residual=z_fat,
    )


def _truncated(z: float, mean: float, sd: float, limits: tuple[float, float]) -> float:
    """``z`` so that ``mean + sd z`` keeps inside ``limits``."""
    return truncated_normal(z, (limits[0] - mean) / sd, (limits[1] - mean) / sd)
