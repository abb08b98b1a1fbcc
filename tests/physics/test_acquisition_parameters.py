"""A scanner's numbers: what they may be, and that JSON keeps them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from tests.physics.test_acquisition import body


def test_survives_json() -> None:
    acquisition = Acquisition.ideal(photons_per_pixel=1e6, filters_low=(("aluminium", 3.0), ("copper", 0.1)))
    text = json.dumps(acquisition.as_dict())
    restored = Acquisition.from_dict(json.loads(text))
    assert restored == acquisition
    assert hash(restored) == hash(acquisition)
    assert Acquisition(**json.loads(text)) == acquisition  # as a config's _target_ calls it
    assert torch.equal(restored.forward(body()), acquisition.forward(body()))
    with pytest.raises(InputError, match="got 'kvp_middle'"):
        Acquisition.from_dict({"kvp_middle": 120})


def test_what_an_old_record_lacks_was_not_there() -> None:
    assert Acquisition.from_dict({}) == Acquisition.ideal()
    assert Acquisition.from_dict({"kvp_low": 90.0}) == Acquisition.ideal(kvp_low=90.0)
    record = Acquisition().as_dict()
    for name in ("table", "mat", "mat_unevenness_g_cm2", "pedestal_counts", "drift_low"):
        del record[name]
    restored = Acquisition.from_dict(record)
    assert restored.table == restored.mat == ()
    assert restored.pedestal_counts == (0.0,) * 6
    assert restored.drift_low == 0.0
    assert restored.drift_high == Acquisition().drift_high


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kvp_low": 40}, "kvp_low: expected a tube voltage from 60 to 150, got 40"),
        ({"kvp_high": 160}, "kvp_high: expected a tube voltage"),
        ({"kvp_low": 140.0}, "kvp_low: expected less than kvp_high"),
        ({"kvp_low": "100"}, "kvp_low: expected a tube voltage from 60 to 150, got '100'"),
        ({"filters_low": (("lead", 1.0),)}, "material: expected one of .*got 'lead'"),
        ({"filters_low": (("aluminium", -1.0),)}, "filters_low 'aluminium': expected a thickness from 0, got -1"),
        ({"filters_high": ("aluminium", 4.0)}, "filters_high: expected pairs of material and thickness"),
        ({"bone_segment": None}, "bone_segment: expected pairs"),
        ({"detector_material": "film"}, "material: expected one of"),
        ({"detector_thickness_mm": 0}, "detector_thickness_mm: expected a positive number, got 0"),
        ({"photons_per_pixel": -1}, "photons_per_pixel: expected a positive number"),
        ({"photons_per_pixel": 10**400}, "photons_per_pixel: expected a positive number, got 1000"),
        ({"photons_per_pixel": math.nan}, "photons_per_pixel: expected a positive number"),
        ({"full_scale_nepers": 0}, "full_scale_nepers: expected a positive number"),
        ({"scatter_fraction": 1.0}, "scatter_fraction: expected a fraction from 0 to below 1"),
        ({"scatter_sigma_mm": 0.0}, "scatter_sigma_mm: expected a positive number"),
        ({"blur_sigma_mm": -2.0}, "blur_sigma_mm: expected a number from 0"),
        ({"pixel_spacing_mm": (13.0,)}, "pixel_spacing_mm: expected two numbers"),
        ({"pixel_spacing_mm": (13.0, 0.0)}, "pixel_spacing_mm: expected a positive number"),
        ({"pixel_spacing_mm": 13.0}, "pixel_spacing_mm: expected two numbers, got 13"),
        ({"table": (("wood", 1.0),)}, "material: expected one of .*got 'wood'"),
        ({"mat": (("polyethylene", -0.1),)}, "mat 'polyethylene': expected a thickness from 0, got -0.1"),
        ({"table_profile": -0.1}, "table_profile: expected a number from 0, got -0.1"),
        ({"table_width_mm": 0.0}, "table_width_mm: expected a positive number, got 0"),
        ({"mat": (), "mat_unevenness_g_cm2": 0.01}, "mat_unevenness_g_cm2: expected 0 without a mat, got 0.01"),
        ({"mat_unevenness_g_cm2": 1, "mat": (("polyethylene", 0),)}, "mat_unevenness_g_cm2: expected 0 without a mat"),
        ({"mat_correlation_mm": 0}, "mat_correlation_mm: expected a positive number"),
        ({"pedestal_counts": -1}, "pedestal_counts: expected counts from 0 to 16382, got -1"),
        ({"pedestal_counts": 16383}, "pedestal_counts: expected counts from 0 to 16382, got 16383"),
        ({"pedestal_counts": (1, 2, 3)}, r"pedestal_counts: expected six numbers, got \(1, 2, 3\)"),
        ({"pedestal_counts": "123456"}, "pedestal_counts: expected six numbers, got '123456'"),
        ({"pedestal_counts": True}, "pedestal_counts: expected counts"),
        ({"scatter_to_primary": -0.1}, "scatter_to_primary: expected a number from 0"),
        ({"scatter_spread_mm": 0}, "scatter_spread_mm: expected a positive number"),
        ({"dark_signal": 1.0}, "dark_signal: expected a fraction from 0 to below 1"),
        ({"energy_shift_mm": (1.0,)}, "energy_shift_mm: expected two numbers"),
        ({"energy_shift_mm": (1.0, math.inf)}, "energy_shift_mm: expected a finite number, got inf"),
        ({"drift_low": -1}, "drift_low: expected a number from 0"),
        ({"drift_high": "1 %"}, "drift_high: expected a number from 0, got '1 %'"),
        ({"drift_correlation_mm": 0}, "drift_correlation_mm: expected a positive number"),
        ({"column_gain_sd": -0.1}, "column_gain_sd: expected a number from 0"),
        ({"dead_columns": 3}, "dead_columns: expected whole numbers, got 3"),
        ({"dead_columns": (-1,)}, "dead_columns: expected a whole number from 0, got -1"),
        ({"hot_columns": (1.5,)}, "hot_columns: expected a whole number from 0, got 1.5"),
        ({"dead_columns": (3, 4), "hot_columns": (4,)}, "hot_columns: expected columns that are not dead, got 4"),
        ({"passes": 0}, "passes: expected a whole number from 1, got 0"),
        ({"passes": 2.0}, "passes: expected a whole number from 1, got 2.0"),
        ({"motion_mm": -1}, "motion_mm: expected a number from 0"),
        ({"fan_magnification": 0}, "fan_magnification: expected a positive number"),
        ({"subpixels": (2,)}, "subpixels: expected two whole numbers"),
        ({"subpixels": (2, 0)}, "subpixels: expected a whole number from 1, got 0"),
    ],
)
def test_refuses_values_that_cannot_be(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Acquisition(**parameters)
