"""A made-up analysis, without a simulation, for the tests of DICOM objects."""

from __future__ import annotations

from typing import Any

import numpy as np

from dxa_monai.analysis.composition import REPORTED_REGIONS, BodyComposition
from dxa_monai.analysis.indices import body_indices
from dxa_monai.analysis.landmarks import landmarks_from_points
from dxa_monai.analysis.polygons import polygon_coverage
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.inference.report import UNITS
from dxa_monai.scan.format import PIXEL_SPACING_MM, pixel_area_cm2
from dxa_monai.scan.regions import regional_totals, weighted_totals
from dxa_monai.scan.trunk_parts import trunk_part_totals
from tests.analysis.points import IMAGE_SHAPE, plain_points

THIGH = {"right_thigh": [(90.0, 40.0), (90.0, 54.5), (104.0, 53.0), (104.0, 41.0)]}
FLAG = {"name": "few_photons", "sentence": "Noise hides thin bone, it is < 3 % of \u00e4ll.", "fatal": False}
QUANTITIES = ("fat_g", "lean_g", "bmc_g", "bone_area_cm2", "bmd_g_cm2", "mass_g", "fat_percent")


def analysis() -> tuple[BodyComposition, dict[str, Any]]:
    """A composition with a polygon, and its report."""
    body = np.zeros(IMAGE_SHAPE, dtype=bool)
    body[5:145, 12:97] = True
    density = (np.random.default_rng(0).uniform(-0.2, 9.0, (3, *IMAGE_SHAPE)) * body).astype(np.float32)
    landmarks = landmarks_from_points(plain_points(), IMAGE_SHAPE)
    codes = region_map_from_landmarks(landmarks, body)
    area_cm2 = pixel_area_cm2(PIXEL_SPACING_MM)
    totals = regional_totals(density, codes, area_cm2) | trunk_part_totals(density, codes, area_cm2)
    regions = {
        name: {quantity: float(f"{totals[f'{name}_{quantity}']:.6g}") for quantity in QUANTITIES}
        for name in REPORTED_REGIONS
    }
    for name, points in THIGH.items():
        inside = weighted_totals(density, polygon_coverage(points, IMAGE_SHAPE), area_cm2)
        regions[name] = {quantity: float(f"{inside[quantity]:.6g}") for quantity in QUANTITIES}
    person = {"height_cm": 163.0, "mass_kg": 71.5, "sex": "F", "age_years": 54.2}
    indices = body_indices(regions, person)[0]
    report = {"regions": regions, "units": UNITS, "flags": [FLAG], "indices": indices, "method": "newton"}
    composition = BodyComposition(density, body, landmarks, False, codes, dict(totals), (), None)  # type: ignore[arg-type]
    return composition, report
