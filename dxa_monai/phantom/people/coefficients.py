"""Every number of the adult population model, for women and for men, and where it comes from."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
_TRUNK = (
    "the body model's trunk is short: from hip to shoulder joints 0.29 of the stature in people "
    "(de Leva 1996, J Biomech 29:1223), 0.27 in the model"
)
_ANSUR = "tuned to girths of ANSUR II (Gordon 2014, Natick/TR-15/007) at equal height and mass"

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
    "visceral_log_per_waist": Coefficient(
        0.18, 0.18, "assumption: at one height and mass a wide waist holds the more of it"
    ),
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
    "bone_mean": Coefficient(1.035, 1.02, "tuned, with the materials of bone_mineral, to 2.1 / 2.7 kg BMC of adults"),
    "bone_residual_sd": Coefficient(0.10, 0.10, "NHANES total-body BMD: sd about 0.10 to 0.12 of the mean at one age"),
    "marrow_fat_log_per_year": Coefficient(
        0.002,
        0.002,
        "assumption: red marrow turns yellow, vertebrae 7 % a decade (Kugel 2001, JMRI 13:263 (?)), limbs not",
    ),
    "marrow_fat_log_sd": Coefficient(0.08, 0.08, "assumption: vertebral fat fraction of one age varies by a fifth"),
    "frame_mean": Coefficient(
        0.98,
        0.95,
        "tuned to bone areas of about 1.95 / 2.35 times 1000 cm2 and the volume of ICRP 89's skeleton together",
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
    "bowel_gas_median_l": Coefficient(0.12, 0.13, "Tomlin 1991, Gut 32:665 (?): about 0.1 l; Levitt 1971: below 0.2 l"),
    "bowel_gas_log_sd": Coefficient(0.45, 0.45, _ASSUMED),
    "second_visit_share": Coefficient(0.2, 0.2, "assumption: enough to measure precision with repositioning"),
    "woman_share": Coefficient(0.52, 0.52, "NHANES adults"),
    "left_handed_share": Coefficient(0.10, 0.12, "Papadatou-Pastou 2020, Psychol Bull 146:481: 10.6 %, men more often"),
    "arm_flesh_dominance": Coefficient(
        0.05, 0.06, "assumption: the preferred arm has 5 to 10 % more lean mass, the larger part of it girth"
    ),
    "arm_flesh_sd": Coefficient(0.04, 0.04, _ASSUMED),
    "leg_flesh_sd": Coefficient(0.025, 0.025, "assumption: legs differ by 2 to 3 %, neither side is preferred"),
    "arm_bone_dominance": Coefficient(
        0.03, 0.035, "assumption: width; with it the preferred arm has about 5 % more mineral, athletes 10 and more"
    ),
    "arm_bone_sd": Coefficient(0.02, 0.02, _ASSUMED),
    "leg_bone_sd": Coefficient(0.012, 0.012, "assumption: mineral of the legs differs by about 2 %"),
    "limb_fat_asymmetry_sd": Coefficient(0.05, 0.05, _ASSUMED),
    "spine_bend_sd_deg": Coefficient(
        2.0, 2.0, "assumption: bends below the 10 degrees from which they are called scoliosis; each at two levels"
    ),
    "shoulder_raise_sd_deg": Coefficient(3.0, 3.0, "assumption: one shoulder lies about a centimetre higher"),
    "texture_amplitude": Coefficient(
        0.07, 0.07, "assumption: sd of the local fat and lean exchange, share of fat depth"
    ),
    "texture_log_sd": Coefficient(0.25, 0.25, _ASSUMED),
}
"""Every number of the population model. Women first, men second."""

FAT_DEPTH_MEDIAN: dict[str, Coefficient] = {
    "head": Coefficient(
        0.80, 0.85, "assumption: scalp, cheeks, neck and orbits; reports show 17 to 27 % fat in the head"
    ),
    "upper_trunk": Coefficient(0.85, 1.05, "assumption: men store more on the trunk"),
    "android": Coefficient(0.62, 0.58, "assumption: men store more on the waist"),
    "gynoid": Coefficient(1.20, 1.10, "assumption: women store more on hip and thigh"),
    "arms": Coefficient(1.15, 0.95, _ASSUMED),
    "legs": Coefficient(1.20, 1.10, "assumption: women store more on hip and thigh"),
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
    "measure-thigh-circ-incr": 0.17,
    "measure-upperarm-circ-incr": 0.20,
    "measure-upperarm-length-incr": 0.12,
    "measure-upperleg-height-incr": 0.12,
    "measure-waist-circ-incr": 0.20,
    "stomach-pregnant-incr": 0.10,
    "torso-scale-depth-incr": 0.20,
    "torso-scale-horiz-incr": 0.20,
    "torso-vshape-incr": 0.20,
}
"""anny's local changes of shape and their independent standard deviations (assumption). """
LOCAL_CHANGES_MEAN: dict[str, Coefficient] = {
    "buttocks-volume-incr": Coefficient(-0.55, -0.45, _ANSUR),
    "measure-calf-circ-incr": Coefficient(-0.40, -0.30, _ANSUR),
    "measure-hips-circ-incr": Coefficient(-0.85, -0.75, _ANSUR),
    "measure-lowerleg-height-incr": Coefficient(-0.35, -0.35, _TRUNK),
    "measure-upperleg-height-incr": Coefficient(-0.25, -0.25, _TRUNK),
    "measure-waist-circ-incr": Coefficient(-0.35, -0.55, _ANSUR),
    "measure-thigh-circ-incr": Coefficient(0.20, 0.15, _ANSUR),
}
"""Where the middle of a local change is not 0: the body model's hips and calves are too wide for its mass."""
WAIST_AXIS: dict[str, float] = {
    "measure-bust-circ-incr": 0.08,
    "measure-hips-circ-incr": -0.12,
    "measure-thigh-circ-incr": -0.08,
    "measure-waist-circ-incr": 0.35,
    "stomach-pregnant-incr": 0.32,
    "torso-scale-depth-incr": 0.10,
    "torso-scale-horiz-incr": 0.14,
    "torso-vshape-incr": -0.14,
}
"""What a person whose waist is one standard deviation wide for height and mass has of each local change: shapes from
pear to apple. Sizes are tuned to ANSUR II's spread of the waist at given height and mass, 4.4 cm in men and 4.8 in
women (Gordon 2014, Natick/TR-15/007); without the axis it was half of that."""
LOCAL_CHANGE_LIMIT = 1.25
