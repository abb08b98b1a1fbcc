"""Every flag about a scanner: raised where it is due, with its figures in the sentence, and not where it is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.analysis.flags import Flag
from dxa_monai.analysis.scanner_quality import FEW_PHOTONS, scanner_flags, zero_flags
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.correction import ScanCorrection, find_correction
from dxa_monai.physics.phantom_blur import MOST_BLUR
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.stray import StraySignal
from dxa_monai.scan.format import FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, SCAN_SHAPE, channels_first

ROWS, COLUMNS = SCAN_SHAPE
BLOCK = (slice(20, 130), slice(25, 85))
MILLINEPERS_A_COUNT = 1e3 * FULL_SCALE_NEPERS / FULL_SCALE_COUNTS  # 0.73


def block(rows: slice = BLOCK[0], columns: slice = BLOCK[1]) -> torch.Tensor:
    areal = torch.zeros(1, 3, ROWS, COLUMNS)
    areal[0, :2, rows, columns] = torch.tensor([5.0, 10.0])[:, None, None]
    return areal


def scan(areal: torch.Tensor | None = None, **changes: Any) -> torch.Tensor:
    acquisition = Acquisition(**{"scatter_to_primary": 0.0, "subpixels": (1, 1), **changes})
    counts = acquisition.scan(block() if areal is None else areal, torch.Generator().manual_seed(1))[0]
    return torch.from_numpy(channels_first(counts))


@pytest.fixture(scope="module")
def raw() -> torch.Tensor:
    return scan()


@pytest.fixture(scope="module")
def model(raw: torch.Tensor) -> ScannerModel:
    """Its wheel attenuates exactly what the scan's air says; do not ask it for fat."""
    nominal = ScannerModel(source="phantom", photons_per_pixel=2.6e6)
    wheel = find_correction(raw, nominal).zero.wheel_nepers
    model = dataclasses.replace(nominal)
    model.__dict__["wheel_nepers"] = wheel  # a cached property
    return model


def of_zero(correction: ScanCorrection) -> dict[str, Flag]:
    return {flag.name: flag for flag in zero_flags(correction)}


def of_scanner(raw: torch.Tensor, **changes: Any) -> dict[str, Flag]:
    usual = ScannerModel(source="phantom", photons_per_pixel=2.6e6)
    return {flag.name: flag for flag in scanner_flags(find_correction(raw, dataclasses.replace(usual, **changes)))}


def air_counts(raw: torch.Tensor, model: ScannerModel) -> tuple[float, ...]:
    return find_correction(raw, model).zero.level_counts()


def test_a_good_scan_of_a_known_scanner_is_not_flagged(raw: torch.Tensor, model: ScannerModel) -> None:
    assert of_zero(find_correction(raw, model)) == {}
    assert of_scanner(raw) == {}


def test_no_open_air_is_fatal_and_says_how_many_pixels(model: ScannerModel) -> None:
    rough = 5.0 + 10.0 * torch.rand(1, 3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    correction = find_correction(scan(rough), model)
    flags = of_zero(correction)
    assert list(flags) == ["no_open_air"]
    assert flags["no_open_air"].fatal
    assert f"({int(correction.zero.air.sum())})" in flags["no_open_air"].sentence
    assert "zero_counts" in flags["no_open_air"].sentence


def test_no_open_air_is_no_fault_of_a_scan_whose_zero_is_declared(model: ScannerModel) -> None:
    full = scan(block(slice(0, ROWS), slice(0, COLUMNS)))
    assert "no_open_air" not in of_zero(find_correction(full, model, zero_counts=(2000.0,) * 6))


@pytest.mark.parametrize(("counts", "channel"), [(5.0, "bone_high"), (-8.0, "tissue_low")])
def test_a_declared_zero_that_is_wrong_names_channel_counts_and_kilograms(
    counts: float, channel: str, raw: torch.Tensor, model: ScannerModel
) -> None:
    """5 counts are 3.7 millinepers, of which 400 kg a neper make 1.5 kg."""
    measured = air_counts(raw, model)
    declared = list(measured)
    number = ("air_high", "air_low", "bone_high", "bone_low", "tissue_high", "tissue_low").index(channel)
    declared[number] += counts
    flag = of_zero(find_correction(raw, model, zero_counts=declared))["zero_mismatch"]
    assert not flag.fatal
    assert f"channel {channel}" in flag.sentence
    assert f"{measured[number]:.0f} counts" in flag.sentence
    assert f"declared zero is {declared[number]:.0f}" in flag.sentence
    assert f"wrong by {abs(counts) * MILLINEPERS_A_COUNT * 0.4:.1f} kg" in flag.sentence


def test_a_declared_zero_that_is_right_is_not_flagged(raw: torch.Tensor, model: ScannerModel) -> None:
    assert of_zero(find_correction(raw, model, zero_counts=air_counts(raw, model))) == {}


@pytest.mark.parametrize("counts", [-30.0, 30.0])
def test_zeros_of_channels_that_the_wheel_cannot_explain(counts: float, model: ScannerModel) -> None:
    """22 millinepers more in one channel."""
    pedestal = [1800.0, 1790.0] * 3
    pedestal[4] += counts
    correction = find_correction(scan(pedestal_counts=tuple(pedestal)), model)
    flag = of_zero(correction)["zero_mismatch"]
    assert not flag.fatal
    assert "channel tissue_high" in flag.sentence
    assert f"{correction.zero.wheel_nepers[4]:.4f} nepers" in flag.sentence
    assert f"model says {model.wheel_nepers[4]:.4f}" in flag.sentence
    assert correction.zero.wheel_nepers[4] - model.wheel_nepers[4] == pytest.approx(
        counts * MILLINEPERS_A_COUNT / 1e3, abs=2e-4
    )


def test_zeros_of_energies_may_differ_and_so_may_channels_by_what_the_wheel_varies(model: ScannerModel) -> None:
    assert "zero_mismatch" not in of_zero(find_correction(scan(pedestal_counts=(1000.0, 1500.0) * 3), model))
    few = (1800.0, 1790.0, 1802.0, 1790.0, 1800.0, 1789.0)
    assert "zero_mismatch" not in of_zero(find_correction(scan(pedestal_counts=few), model))


def test_the_nominal_model_says_nothing_of_the_wheel() -> None:
    """It knows no more of it than a label."""
    pedestal = (1800.0, 1790.0, 1800.0, 1790.0, 1900.0, 1790.0)
    assert of_zero(find_correction(scan(pedestal_counts=pedestal), ScannerModel())) == {}


def test_a_table_edge_names_its_columns(model: ScannerModel) -> None:
    correction = find_correction(scan(table_width_mm=560.0), model)
    flag = of_zero(correction)["table_edge"]
    first, stop = correction.zero.table_columns
    assert (first, stop) == (9, 100)
    assert not flag.fatal
    assert "left of column 9 or right of column 99" in flag.sentence


def test_air_on_one_side_only_says_what_a_change_costs(model: ScannerModel) -> None:
    one_sided = scan(block(slice(0, ROWS), slice(0, 80)))
    flag = of_zero(find_correction(one_sided, model))["one_sided_air"]
    assert not flag.fatal
    assert "every 3 counts of it" in flag.sentence  # 2 millinepers
    assert "0.8 kg" in flag.sentence
    declared = find_correction(one_sided, model, zero_counts=air_counts(one_sided, model))
    assert "one_sided_air" not in of_zero(declared)


@pytest.mark.parametrize(("bits", "flagged"), [(14, False), (12, False), (11, True), (10, True)])
def test_a_coarse_export_names_its_step(bits: int, flagged: bool, raw: torch.Tensor, model: ScannerModel) -> None:
    step = 2 ** (14 - bits)
    coarse = (raw * FULL_SCALE_COUNTS / step).round() * step / FULL_SCALE_COUNTS
    flags = of_zero(find_correction(coarse, model))
    assert ("coarse_export" in flags) == flagged
    if flagged:
        assert f"every {step}th count" in flags["coarse_export"].sentence
        assert f"{step / 2 * MILLINEPERS_A_COUNT * 0.4:.1f} kg" in flags["coarse_export"].sentence


def test_failed_columns_are_listed(model: ScannerModel) -> None:
    flag = of_zero(find_correction(scan(dead_columns=(30, 31), hot_columns=(60,)), model))["dead_column"]
    assert not flag.fatal
    assert "columns 30, 31, 60 failed" in flag.sentence


@pytest.mark.parametrize(("shift_mm", "flagged"), [((0.0, 0.25), False), ((0.0, 0.4), True), ((-1.2, 0.0), True)])
def test_displaced_energies_name_both_directions(
    shift_mm: tuple[float, float], flagged: bool, raw: torch.Tensor, model: ScannerModel
) -> None:
    correction = dataclasses.replace(find_correction(raw, model), energy_shift_mm=shift_mm)
    flags = of_zero(correction)
    assert ("energies_displaced" in flags) == flagged
    if flagged:
        sentence = f"{shift_mm[0]:+.1f} mm along and {shift_mm[1]:+.1f} mm across"
        assert sentence in flags["energies_displaced"].sentence
        assert not flags["energies_displaced"].fatal


def test_several_things_are_all_told(model: ScannerModel) -> None:
    odd = scan(
        table_width_mm=560.0, dead_columns=(50,), pedestal_counts=(1800.0, 1790.0, 1900.0, 1790.0, 1800.0, 1790.0)
    )
    assert set(of_zero(find_correction(odd, model))) == {"zero_mismatch", "table_edge", "dead_column"}


def test_a_scanner_without_a_phantom_is_told(raw: torch.Tensor) -> None:
    flags = of_scanner(raw, source="scan")
    assert list(flags) == ["no_phantom"]
    assert "2 % of scatter" in flags["no_phantom"].sentence
    assert "1 kg" in flags["no_phantom"].sentence


def test_an_uncalibrated_scanner_is_told_as_a_mismatch_and_not_twice(raw: torch.Tensor) -> None:
    flags = of_scanner(raw, source="nominal")
    assert list(flags) == ["scanner_mismatch"]
    assert not flags["scanner_mismatch"].fatal
    assert "10 kg" in flags["scanner_mismatch"].sentence


@pytest.mark.parametrize(("photons", "kilograms"), [(3e4, "3.0 kg"), (1.2e5, "1.5 kg"), (FEW_PHOTONS, None)])
def test_few_photons_say_how_many_and_what_they_cost(photons: float, kilograms: str | None, raw: torch.Tensor) -> None:
    flags = of_scanner(raw, photons_per_pixel=photons)
    assert ("few_photons" in flags) == (kilograms is not None)
    if kilograms is not None:
        assert f"{photons:.0e} photons" in flags["few_photons"].sentence
        assert kilograms in flags["few_photons"].sentence


@pytest.mark.parametrize("axis", ["blur_rows", "blur_columns"])
def test_a_blur_beyond_what_is_undone_is_told(axis: str, raw: torch.Tensor) -> None:
    assert list(of_scanner(raw, stray=StraySignal(**{axis: MOST_BLUR}))) == ["blurred"]
    assert of_scanner(raw, stray=StraySignal(**{axis: 0.9 * MOST_BLUR})) == {}


def test_no_flag_of_the_scanner_is_fatal(raw: torch.Tensor) -> None:
    worst = of_scanner(raw, source="scan", photons_per_pixel=1e3, stray=StraySignal(blur_rows=MOST_BLUR))
    assert set(worst) == {"no_phantom", "few_photons", "blurred"}
    assert not any(flag.fatal for flag in worst.values())
    assert all(np.char.endswith(flag.sentence, ".") for flag in worst.values())
