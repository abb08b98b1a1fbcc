"""The coded words of the objects: SNOMED CT (as in pydicom's copy of PS3.16) where it has one, own ones otherwise.

Own codes have the designator ``DESIGNATOR``, which begins with 99 as private ones do (PS3.16 section 8). SNOMED CT and
LOINC may hold further words for these quantities; none is used that could not be checked against a published list.
Units are those of UCUM.
"""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dxa_monai.scan.measures import measure_label

DESIGNATOR = "99DXAMONAI"
_CODE_CHARACTERS = 16


def own(value: str, meaning: str) -> Code:
    """A code of ours; value of at most 16 characters."""
    if len(value) > _CODE_CHARACTERS:
        raise ValueError(f"value: expected at most {_CODE_CHARACTERS} characters, got '{value}'.")
    return Code(value, DESIGNATOR, meaning)


QUANTITY_CODES = {
    "fat_g": own("FAT_MASS", "Fat mass"),
    "lean_g": own("LEAN_MASS", "Lean mass without bone mineral"),
    "bmc_g": own("BMC", "Bone mineral content"),
    "bone_area_cm2": own("BONE_AREA", "Projected bone area"),
    "bmd_g_cm2": own("BMD", "Areal bone mineral density"),
    "mass_g": codes.SCT.MassQuantity,
    "fat_percent": own("FAT_PERCENT", "Fat in percent of mass"),
}
"""What of a region is measured, by its name in reports."""
UNIT_CODES = {
    "g": Code("g", "UCUM", "gram"),
    "kg": Code("kg", "UCUM", "kilogram"),
    "cm2": Code("cm2", "UCUM", "square centimeter"),
    "m2": Code("m2", "UCUM", "square meter"),
    "g/cm2": Code("g/cm2", "UCUM", "gram per square centimeter"),
    "kg/m2": Code("kg/m2", "UCUM", "kilogram per square meter"),
    "%": Code("%", "UCUM", "percent"),
    "% of mass": Code("%", "UCUM", "percent"),
    "": Code("1", "UCUM", "no units"),
}
"""By the unit in reports."""
INDEX_CODES = {
    name: own(value, measure_label(name).partition(" (")[0])
    for name, value in {
        "fat_mass_index_kg_m2": "FMI",
        "lean_mass_index_kg_m2": "LMI",
        "fat_free_mass_index_kg_m2": "FFMI",
        "appendicular_lean_kg": "ALM",
        "appendicular_lean_index_kg_m2": "ALMI",
        "appendicular_lean_per_bmi_m2": "ALM_BMI",
        "android_gynoid_fat_ratio": "ANDROID_GYNOID",
        "trunk_limb_fat_ratio": "TRUNK_LIMB",
        "arms_lean_difference_percent": "ARMS_DIFFERENCE",
        "legs_lean_difference_percent": "LEGS_DIFFERENCE",
    }.items()
}
"""Indices of a person that are numbers; cut-offs (yes or no) are judgements and left out."""

_LEFT, _RIGHT, _BOTH = codes.SCT.Left, codes.SCT.Right, codes.SCT.Bilateral
SITES: dict[str, tuple[Code, Code | None]] = {
    "head": (codes.SCT.Head, None),
    "left_arm": (codes.SCT.UpperLimb, _LEFT),
    "right_arm": (codes.SCT.UpperLimb, _RIGHT),
    "left_leg": (codes.SCT.LowerLimb, _LEFT),
    "right_leg": (codes.SCT.LowerLimb, _RIGHT),
    "ribs": (codes.SCT.Rib, None),
    "spine": (codes.SCT.Spine, None),
    "pelvis": (codes.SCT.Pelvis, None),
    "trunk": (codes.SCT.Trunk, None),
    "arms": (codes.SCT.UpperLimb, _BOTH),
    "legs": (codes.SCT.LowerLimb, _BOTH),
    "subtotal": (own("SUBTOTAL", "Body without the head"), None),
    "total": (codes.SCT.EntireBody, None),
    "android": (own("ANDROID", "Android region"), None),
    "gynoid": (own("GYNOID", "Gynoid region"), None),
    "left_ribs": (codes.SCT.Rib, _LEFT),
    "right_ribs": (codes.SCT.Rib, _RIGHT),
    "thoracic_spine": (codes.SCT.ThoracicSpine, None),
    "lumbar_spine": (codes.SCT.LumbarSpine, None),
}
"""Site and side of each region."""
POLYGON_SITE = own("POLYGON", "Region drawn by a person")

ANATOMICAL_STRUCTURE = codes.SCT.AnatomicalStructure
ALGORITHM_FAMILY = own("PHYSICS", "Physical model of dual-energy X-ray absorption and landmarks")
PROCEDURE = codes.SCT.DualEnergyXRayAbsorptiometry
REPORTED_PROCEDURE = codes.SCT.ImagingProcedure
"""Of CID 100, which TID 1500 takes it from and which has no absorptiometry; the performed procedure says it."""
MODALITY = "BMD"
"""Bone mineral densitometry with X-rays, of CID 29."""
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""TID 1500, row 10."""
INTENDED_USE, ANALYSIS = own("INTENDED_USE", "Intended use"), own("ANALYSIS", "Program and method of the analysis")
FLAG = own("FLAG", "Flag of the analysis")
AREAL_DENSITY = own("AREAL_DENSITY", "Areal density of the body")
