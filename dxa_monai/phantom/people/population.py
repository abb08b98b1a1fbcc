"""The population that the virtual cohort is drawn from: adults, and children if asked for.

Composition must not be a function of body shape, or every model that sees the shape would look unrealistically good.
So fat fraction, visceral fat, bone, muscle, fat distribution and skeletal size each follow body size and age only as
far as published studies say, and each carries an independent residual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from dxa_monai.phantom.body.asymmetry import Asymmetry
from dxa_monai.phantom.people.children import draw_child, is_child
from dxa_monai.phantom.people.coefficients import (
    AGE_EDGES_YEARS,
    AGE_SHARES,
    COEFFICIENTS,
    FAT_DEPTH_LOG_SD,
    FAT_DEPTH_MEDIAN,
    FAT_DISTRIBUTION_AXIS,
    FAT_DISTRIBUTION_LOG_SD,
    FAT_REGIONS,
    LOCAL_CHANGE_LIMIT,
    LOCAL_CHANGES_MEAN,
    LOCAL_CHANGES_SD,
    WAIST_AXIS,
    Sex,
)
from dxa_monai.phantom.people.truncated import truncated_normal

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
    bowel_gas_l: float
    texture_amplitude: float
    """Standard deviation of the local fat and lean exchange, relative to the fat there."""
    marrow_fat_scale: float
    """Fat in the marrow relative to an adult of 40 years with the same bones."""
    asymmetry: Asymmetry
    """How left and right differ."""
    cortical_scale: float = 1.0
    """Thickness of compact bone relative to an adult's."""

    @property
    def air_l(self) -> float:
        """Air in lungs and bowel."""
        return self.lung_air_l + self.bowel_gas_l

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
    *draws, waist = rng.standard_normal(64).tolist()
    z = iter(draws)

    age = _age(rng)
    loss = c["height_loss_cm_per_year"] * max(age - c["height_loss_from_age_years"], 0.0)
    height_cm = c["height_mean_cm"] - loss + c["height_sd_cm"] * truncated_normal(next(z), -3.0, 3.0)
    bmi = _bmi(c, age, next(z))
    mass_kg = bmi * (height_cm / 100.0) ** 2

    fat_expected = c["fat_intercept"] + c["fat_per_inverse_bmi"] / bmi + c["fat_per_year"] * age
    leanest, fattest = ((c[limit] - fat_expected) / c["fat_residual_sd"] for limit in ("fat_minimum", "fat_maximum"))
    fat_residual = truncated_normal(next(z), leanest, fattest)
    fat_fraction = fat_expected + c["fat_residual_sd"] * fat_residual

    visceral_kg = _visceral_fat_kg(c, age, fat_fraction * bmi, fat_fraction * mass_kg, waist, next(z))

    bone = c["bone_mean"] - c["bone_loss_per_year"] * max(age - c["bone_loss_from_age_years"], 0.0)
    bone += c["bone_per_log_bmi"] * np.log(bmi / c["bmi_median_kg_m2"])
    bone *= 1.0 + c["bone_residual_sd"] * truncated_normal(next(z), -3.0, 3.0)

    # A residual below the expected fat is a residual above the expected lean mass.
    muscle_place = c["muscle_centre"] - c["muscle_per_sd_lean"] * fat_residual + c["muscle_residual_sd"] * next(z)
    muscle = _muscle_limit(c, bmi) * float(np.clip(muscle_place, 0.0, 1.0))

    lung = c["lung_per_m_l"] * height_cm / 100.0 + c["lung_per_year_l"] * age + c["lung_intercept_l"]
    fewest, most = ((c[limit] - lung) / c["lung_residual_sd_l"] for limit in ("lung_minimum_l", "lung_maximum_l"))
    lung += c["lung_residual_sd_l"] * truncated_normal(next(z), fewest, most)

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
        visceral_fat_kg=visceral_kg,
        intramuscular_share=c["intramuscular_share"] * float(np.exp(c["intramuscular_log_sd"] * next(z))),
        bmd_scale=float(bone),
        frame_scale=c["frame_mean"] + c["frame_sd"] * truncated_normal(next(z), -3.0, 3.0),
        muscle=muscle,
        proportions=float(np.clip(0.5 + c["proportions_sd"] * next(z), 0.0, 1.0)),
        local_changes=tuple(
            (name, _local_change(name, sex, waist, sd * next(z))) for name, sd in LOCAL_CHANGES_SD.items()
        ),
        fat_depth={
            region: FAT_DEPTH_MEDIAN[region].of(sex)
            * float(np.exp(axis * FAT_DISTRIBUTION_AXIS[region] + FAT_DEPTH_LOG_SD * next(z)))
            for region in FAT_REGIONS
        },
        lean_density_g_cm3=c["lean_density_g_cm3"] + c["lean_density_sd_g_cm3"] * truncated_normal(next(z), -3.0, 3.0),
        lung_air_l=lung,
        texture_amplitude=c["texture_amplitude"] * float(np.exp(c["texture_log_sd"] * next(z))),
        marrow_fat_scale=float(
            np.exp(
                c["marrow_fat_log_per_year"] * (age - 40.0)
                + c["marrow_fat_log_sd"] * truncated_normal(next(z), -2.5, 2.5)
            )
        ),
        asymmetry=_asymmetry(c, z),
        bowel_gas_l=c["bowel_gas_median_l"]
        * float(np.exp(c["bowel_gas_log_sd"] * truncated_normal(next(z), -2.5, 2.5))),
    )


def _local_change(name: str, sex: Sex, waist: float, residual: float) -> float:
    mean = LOCAL_CHANGES_MEAN[name].of(sex) if name in LOCAL_CHANGES_MEAN else 0.0
    change = mean + WAIST_AXIS.get(name, 0.0) * waist + residual
    return float(np.clip(change, -LOCAL_CHANGE_LIMIT, LOCAL_CHANGE_LIMIT))


def _asymmetry(c: dict[str, float], z: Iterator[float]) -> Asymmetry:
    """The arm of the preferred hand is the stronger one; everything else has no preferred side."""
    left_handed = next(z) < float(ndtri(c["left_handed_share"]))
    side = 1.0 if left_handed else -1.0

    def about(mean: float, sd: float) -> float:
        return mean + sd * truncated_normal(next(z), -2.5, 2.5)

    return Asymmetry(
        arm_flesh=side * about(c["arm_flesh_dominance"], c["arm_flesh_sd"]),
        leg_flesh=about(0.0, c["leg_flesh_sd"]),
        arm_bone=side * about(c["arm_bone_dominance"], c["arm_bone_sd"]),
        leg_bone=about(0.0, c["leg_bone_sd"]),
        arm_fat=about(0.0, c["limb_fat_asymmetry_sd"]),
        leg_fat=about(0.0, c["limb_fat_asymmetry_sd"]),
        lumbar_bend_deg=about(0.0, c["spine_bend_sd_deg"]),
        thoracic_bend_deg=about(0.0, c["spine_bend_sd_deg"]),
        left_shoulder_raise_deg=about(0.0, c["shoulder_raise_sd_deg"]),
    )


def _age(rng: np.random.Generator) -> float:
    band = int(rng.choice(len(AGE_SHARES), p=AGE_SHARES))
    return float(rng.uniform(AGE_EDGES_YEARS[band], AGE_EDGES_YEARS[band + 1]))


def _bmi(c: dict[str, float], age: float, z: float) -> float:
    centre = np.log(c["bmi_median_kg_m2"]) + c["bmi_log_per_year2"] * (age - c["bmi_peak_age_years"]) ** 2
    lowest = (np.log(c["bmi_minimum_kg_m2"]) - centre) / c["bmi_log_sd"]
    highest = (np.log(c["bmi_maximum_kg_m2"]) - centre) / c["bmi_log_sd"]
    return float(np.exp(centre + c["bmi_log_sd"] * truncated_normal(z, lowest, highest)))


def _visceral_fat_kg(
    c: dict[str, float], age: float, fat_index_kg_m2: float, fat_kg: float, waist: float, z: float
) -> float:
    """Log-normal about what fat mass index, age and waist predict, and never more than a share of all fat."""
    centre = (
        np.log(c["visceral_median_kg"])
        + c["visceral_log_per_log_fat_index"] * np.log(fat_index_kg_m2 / c["fat_index_reference_kg_m2"])
        + c["visceral_log_per_year"] * (age - 45.0)
        + c["visceral_log_per_waist"] * waist
    )
    sd = c["visceral_log_residual_sd"]
    highest = (np.log(c["visceral_share_of_fat_maximum"] * fat_kg) - centre) / sd
    return float(np.exp(centre + sd * truncated_normal(z, -np.inf, highest)))


def _muscle_limit(c: dict[str, float], bmi: float) -> float:
    """Greatest muscle parameter at which the shape model still reaches this BMI by its weight parameter."""
    lean_side = (bmi - c["muscle_lean_side_bmi"]) / c["muscle_lean_side_slope"]
    heavy_side = (c["muscle_heavy_side_bmi"] - bmi) / c["muscle_heavy_side_slope"]
    return float(np.clip(min(lean_side, heavy_side), 0.0, c["muscle_maximum"]))
