"""What a scanner or its owner may get wrong ends in a flag or a sentence: no crash, no wrong number in silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.analysis.composition import BodyComposition, analyse_scan
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import FULL_SCALE_COUNTS, SCAN_SHAPE, channels_first, pixel_area_cm2
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_rows

SCANNER = Acquisition(scatter_to_primary=0.0, subpixels=(1, 1), blur_sigma_mm=0.0)
ALLOWED_KG = 1.5
"""Of total fat, without a flag. The person's own scan is wrong by less than 1 kg."""
HARMLESS = {"no_phantom", "landmarks_guessed", "limbs_differ", "arms_touch"}


@pytest.fixture(scope="module")
def areal() -> torch.Tensor:
    """``(3, 150, 109)`` g/cm2 of a virtual person."""
    return torch.from_numpy(load_truth(cohort_rows()[0]).areal_density_g_cm2)


@pytest.fixture(scope="module")
def model() -> ScannerModel:
    return calibrate_with_phantom(StepPhantom().scan(SCANNER, torch.Generator().manual_seed(0)))


def scan(areal: torch.Tensor, acquisition: Acquisition = SCANNER) -> torch.Tensor:
    counts = acquisition.scan(areal[None], torch.Generator().manual_seed(1))[0]
    return torch.from_numpy(channels_first(counts))


def fat_error_kg(found: BodyComposition, areal: torch.Tensor) -> float:
    return found.totals["total_fat_g"] / 1e3 - float(areal[0].double().sum()) * pixel_area_cm2() / 1e3


def names(found: BodyComposition) -> set[str]:
    return {flag.name for flag in found.flags}


def check_nothing_is_wrong_in_silence(found: BodyComposition, areal: torch.Tensor) -> None:
    assert np.isfinite(found.areal_density_g_cm2).all()
    if found.refused:
        assert found.totals == {}
        assert all(flag.sentence.endswith(".") for flag in found.flags)
        return
    assert np.isfinite(list(found.totals.values())).all()
    assert names(found) - HARMLESS or abs(fat_error_kg(found, areal)) < ALLOWED_KG


def test_a_good_scan_has_numbers_and_no_flag(areal: torch.Tensor, model: ScannerModel) -> None:
    found = analyse_scan(scan(areal), model)
    assert found.flags == ()
    assert abs(fat_error_kg(found, areal)) < 1.0


def test_a_pedestal_of_each_energy_is_no_fault(areal: torch.Tensor, model: ScannerModel) -> None:
    other = dataclasses.replace(SCANNER, pedestal_counts=(300.0, 2500.0) * 3)
    found = analyse_scan(scan(areal, other), model)
    assert found.flags == ()
    assert abs(fat_error_kg(found, areal)) < 1.0


@pytest.mark.parametrize("channel", range(6))
def test_a_pedestal_that_differs_between_channels_is_flagged(
    channel: int, areal: torch.Tensor, model: ScannerModel
) -> None:
    counts = np.array([1800.0, 1790.0] * 3)
    counts[channel] += 60.0
    found = analyse_scan(scan(areal, dataclasses.replace(SCANNER, pedestal_counts=tuple(counts))), model)
    assert "zero_mismatch" in names(found)
    check_nothing_is_wrong_in_silence(found, areal)


def test_calibration_with_scans_takes_the_wheel_from_the_channels_zeros_or_refuses(areal: torch.Tensor) -> None:
    """No segment attenuates less than none: 1000 counts less in one channel than in the others."""
    counts = (1800.0, 1790.0, 800.0, 1790.0, 1800.0, 1790.0)
    with pytest.raises(InputError, match="scan: expected"):
        calibrate_with_scan(scan(areal, dataclasses.replace(SCANNER, pedestal_counts=counts)))


@pytest.mark.parametrize("width_mm", [640.0, 620.0, 600.0, 560.0])
def test_a_table_edge_in_the_field_is_flagged(width_mm: float, areal: torch.Tensor, model: ScannerModel) -> None:
    found = analyse_scan(scan(areal, dataclasses.replace(SCANNER, table_width_mm=width_mm)), model)
    assert "table_edge" in names(found)
    assert not found.refused
    check_nothing_is_wrong_in_silence(found, areal)


def test_a_table_narrower_than_the_body_is_no_table_for_it(areal: torch.Tensor, model: ScannerModel) -> None:
    found = analyse_scan(scan(areal, dataclasses.replace(SCANNER, table_width_mm=380.0)), model)
    assert names(found) - HARMLESS
    check_nothing_is_wrong_in_silence(found, areal)


@pytest.mark.parametrize("g_cm2", [0.2, 0.5, 3.0])
def test_something_that_covers_the_table_on_one_side(g_cm2: float, areal: torch.Tensor, model: ScannerModel) -> None:
    """A blanket is followed as a thicker mat is; what is thicker leaves air on one side only, and no body alone."""
    covered = areal.clone()
    covered[1, :, 55:] += g_cm2
    found = analyse_scan(scan(covered), model)
    assert found.correction.zero.one_sided == (g_cm2 > 0.2)
    assert ("one_sided_air" in names(found) or found.refused) == (g_cm2 > 0.2)
    check_nothing_is_wrong_in_silence(found, areal)


def test_air_on_one_side_only_is_flagged(areal: torch.Tensor, model: ScannerModel) -> None:
    """The field ends at the person's left side, and what lies beside head and legs there is covered."""
    covered = torch.roll(areal, 3, dims=-1)
    left = torch.arange(SCAN_SHAPE[1]) > 55
    covered[1] += 0.3 * torch.rand(SCAN_SHAPE, generator=torch.Generator().manual_seed(0)) * left
    found = analyse_scan(scan(covered), model)
    assert found.correction.zero.one_sided
    assert "one_sided_air" in names(found) or found.refused
    check_nothing_is_wrong_in_silence(found, covered)


@pytest.mark.parametrize("counts", [20.0, 200.0])
@pytest.mark.parametrize("channels", [range(6), (1, 3, 5), (0,)], ids=["all", "low energy", "one"])
def test_a_declared_zero_above_what_air_reads_is_flagged(
    counts: float, channels: tuple[int, ...], areal: torch.Tensor, model: ScannerModel
) -> None:
    """Open air is negative after that."""
    raw = scan(areal)
    air = np.array(analyse_scan(raw, model).correction.zero.level_counts())
    declared = air.copy()
    declared[list(channels)] += counts
    found = analyse_scan(raw, model, zero_counts=tuple(declared))
    assert found.correction.apply(raw[None]).min() < 0
    assert "zero_mismatch" in names(found) or found.refused
    check_nothing_is_wrong_in_silence(found, areal)


@pytest.mark.parametrize("declared", [0.0, 1700.0, float(FULL_SCALE_COUNTS)])
def test_a_declared_zero_that_is_another_scanner_s_is_flagged(
    declared: float, areal: torch.Tensor, model: ScannerModel
) -> None:
    found = analyse_scan(scan(areal), model, zero_counts=(declared,) * 6)
    assert found.flags
    assert found.refused or "zero_mismatch" in names(found)
    check_nothing_is_wrong_in_silence(found, areal)


def test_a_declared_zero_that_is_right_changes_nothing(areal: torch.Tensor, model: ScannerModel) -> None:
    quiet = dataclasses.replace(SCANNER, drift_low=0.0, drift_high=0.0, table_profile=0.0, mat_unevenness_g_cm2=0.0)
    raw = scan(areal, quiet)
    level = analyse_scan(raw, model).correction.zero.level_counts()
    found = analyse_scan(raw, model, zero_counts=level)
    assert found.flags == ()
    assert abs(fat_error_kg(found, areal)) < 1.0


def one_pixel_up(raw: torch.Tensor) -> torch.Tensor:
    raw = raw.clone()
    for row in range(1, SCAN_SHAPE[0], 2):
        raw[:, row] = torch.roll(raw[:, row], 1, dims=-1)
    return raw


def with_value(raw: torch.Tensor, where: Any, value: float) -> torch.Tensor:
    raw = raw.clone()
    raw[where] = value
    return raw


def hot_pixels(raw: torch.Tensor) -> torch.Tensor:
    rng = np.random.default_rng(0)
    raw = raw.clone()
    raw[:, torch.from_numpy(rng.integers(0, 150, 60)), torch.from_numpy(rng.integers(0, 109, 60))] = 0.0
    return raw


DAMAGE: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "every other row a pixel to the left": one_pixel_up,
    "hot pixels": hot_pixels,
    "six stuck columns": lambda raw: with_value(raw, np.s_[..., [5, 20, 21, 54, 80, 108]], 0.3),
    "twelve stuck columns": lambda raw: with_value(raw, np.s_[..., 3::9], 0.3),
    "six rows missing": lambda raw: with_value(raw, np.s_[:, [10, 40, 70, 71, 100, 130]], 0.0),
    "a metal bar across": lambda raw: with_value(raw, np.s_[:, 70:73], 0.95),
    "upside down": lambda raw: raw.flip(1),
    "energies exchanged": lambda raw: raw[[1, 0, 3, 2, 5, 4]],
    "segments exchanged": lambda raw: raw[[2, 3, 0, 1, 4, 5]],
    "inverted": lambda raw: 1.0 - raw,
    "half of the counts": lambda raw: raw / 2.0,
    "saturated": lambda raw: (4.0 * raw).clamp(0.0, 1.0),
    "100 columns": lambda raw: raw[..., :100],
    "30 x 20": lambda raw: raw[:, 50:80, 40:60],
    "turned": lambda raw: raw.transpose(1, 2),
    "low energy read 0.5 % high": lambda raw: raw * torch.tensor([1.0, 1.005] * 3)[:, None, None],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_scans_are_flagged_or_right(name: str, areal: torch.Tensor, model: ScannerModel) -> None:
    raw = DAMAGE[name](scan(areal)).contiguous()
    check_nothing_is_wrong_in_silence(analyse_scan(raw, model), areal)


def test_a_mirrored_person_has_the_same_fat(areal: torch.Tensor, model: ScannerModel) -> None:
    raw = scan(areal)
    found, mirrored = analyse_scan(raw, model), analyse_scan(raw.flip(2), model)
    assert mirrored.totals["total_fat_g"] == pytest.approx(found.totals["total_fat_g"], abs=300.0)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_image_is_refused(value: float, model: ScannerModel) -> None:
    raw = torch.full((6, *SCAN_SHAPE), value)
    assert analyse_scan(raw, model).refused
    for calibrate in (calibrate_with_scan, calibrate_with_phantom):
        with pytest.raises(InputError, match="expected"):
            calibrate(raw)


def test_a_phantom_is_no_person_and_a_person_no_phantom(areal: torch.Tensor, model: ScannerModel) -> None:
    phantom = StepPhantom().scan(SCANNER, torch.Generator().manual_seed(0))
    assert analyse_scan(phantom, model).refused
    with pytest.raises(InputError, match="step phantom: expected"):
        calibrate_with_phantom(scan(areal))


def test_a_high_zero_leaves_the_phantom_s_thickest_patches_out() -> None:
    """5000 counts are 3.7 nepers, so that readings end at 8.3 above them."""
    high = dataclasses.replace(SCANNER, pedestal_counts=5000.0)
    model = calibrate_with_phantom(StepPhantom().scan(high, torch.Generator().manual_seed(0)))
    assert model.residual_nepers < 1e-3
    assert abs(model.beam.kvp_low - SCANNER.kvp_low) < 5.0


def test_one_pixel_is_no_body(model: ScannerModel) -> None:
    areal = torch.zeros(3, *SCAN_SHAPE)
    areal[1, 70, 50] = 20.0
    assert "empty_scan" in names(analyse_scan(scan(areal), model))
