"""Calibration with a scan of the step phantom."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics import beam_model, phantom_calibration, scanner_model, spectra
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.decomposition import decompose_bone, decompose_soft
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import PHANTOM_MATERIALS, StepPhantom
from dxa_monai.scan.format import channels_first
from tests.sharp_scanner import clean

SCANNERS = (0, 1, 2)


def perturbed(seed: int) -> Acquisition:
    return Acquisition().perturbed(np.random.default_rng(seed))


def phantom_scan(seed: int, **changes: Any) -> torch.Tensor:
    acquisition = dataclasses.replace(perturbed(seed), **changes)
    return StepPhantom().scan(acquisition, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def models() -> dict[int, ScannerModel]:
    """Calibrated with a noisy scan of the phantom on scanners that differ from each other and from the default."""
    return {seed: calibrate_with_phantom(phantom_scan(seed)) for seed in SCANNERS}


def soft_bodies() -> torch.Tensor:
    """``(1, 3, 5, 7)``: 2 to 30 g/cm2 of 0 to 80 % fat."""
    total, share = np.meshgrid([2.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0], [0.0, 0.15, 0.3, 0.5, 0.8])
    return torch.tensor(np.stack([share * total, (1.0 - share) * total, 0.0 * total]))[None]


def without_noise(model: ScannerModel) -> ScannerModel:
    """Tells the decomposition not to expect the shift of the mean logarithm that noise brings."""
    return dataclasses.replace(model, photons_per_pixel=1e12)


@pytest.mark.parametrize("seed", SCANNERS)
def test_phantom_recovers_soft_tissue_of_another_scanner(models: dict[int, ScannerModel], seed: int) -> None:
    bodies = soft_bodies()
    found = decompose_soft(clean(perturbed(seed), bodies, models[seed]), without_noise(models[seed]))
    assert (found - bodies[:, :2]).abs().max() < 0.35


@pytest.mark.parametrize("seed", SCANNERS)
def test_phantom_recovers_bone_mineral_of_another_scanner(models: dict[int, ScannerModel], seed: int) -> None:
    bodies = soft_bodies()
    bodies[:, 2] = torch.tensor([0.3, 0.8, 1.2, 2.0, 4.0])[:, None]
    found = decompose_bone(clean(perturbed(seed), bodies, models[seed]), bodies[:, :1], without_noise(models[seed]))
    assert ((found - bodies)[:, 2] / bodies[:, 2]).abs().max() < 0.05


@pytest.mark.parametrize("seed", SCANNERS)
def test_nominal_model_does_not_fit_another_scanner(seed: int) -> None:
    """What the calibration is for; without it the test above would say little."""
    bodies = soft_bodies()
    found = decompose_soft(clean(perturbed(seed), bodies, ScannerModel()), without_noise(ScannerModel()))
    assert (found - bodies[:, :2]).abs().max() > 1.0


@pytest.mark.parametrize("seed", SCANNERS)
def test_phantom_tells_the_photons(models: dict[int, ScannerModel], seed: int) -> None:
    """Behind table and mat, which 14 % of them do not pass."""
    expected = perturbed(seed).photons_per_pixel * np.exp(-0.15)
    assert models[seed].photons_per_pixel == pytest.approx(expected, rel=0.06)


def test_calibrated_model_says_what_it_was_made_of(models: dict[int, ScannerModel]) -> None:
    assert {model.source for model in models.values()} == {"phantom"}
    assert all(0 < model.residual_nepers < 0.01 for model in models.values())
    assert len({model.beam for model in models.values()}) == len(models)


def test_calibration_and_decomposition_never_ask_the_simulator_s_spectra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis shares material tables with the simulator and nothing that was simulated with."""
    raw, bodies = phantom_scan(0), soft_bodies()
    scan = clean(perturbed(0), bodies, ScannerModel())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the analysis asked for the simulator's beam")

    for name in ("tube_spectrum", "energy_kev", "kvp_range"):
        monkeypatch.setattr(spectra, name, refuse)
    monkeypatch.setattr("dxa_monai.physics.acquisition_parameters.detector_response", refuse)
    monkeypatch.setattr("dxa_monai.physics.response.detector_response", refuse)
    monkeypatch.setattr(Acquisition, "forward", refuse)
    decompose_soft(scan, calibrate_with_phantom(raw))
    for module in (beam_model, phantom_calibration, scanner_model):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert "spectra" not in source
        assert "response" not in source


@pytest.mark.parametrize("kind", ["person", "empty", "upside down", "noise"])
def test_another_object_on_the_table_is_refused(kind: str) -> None:
    raw = phantom_scan(0)
    if kind == "person":
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, 150), torch.linspace(-1, 1, 109), indexing="ij")
        thickness = 22.0 * (1.0 - rows**2 - (2.0 * columns) ** 2).clamp_min(0.0).sqrt()
        raw = perturbed(0).forward(torch.stack([0.3 * thickness, 0.7 * thickness, 0.0 * thickness])[None])[0]
    elif kind == "empty":
        raw = raw[:, :1, :1].expand_as(raw) + 0.0
    elif kind == "upside down":
        raw = raw.flip(1)
    else:
        raw = torch.rand(raw.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(InputError, match=r"step phantom: expected (patches|open air|readings|a tube voltage)"):
        calibrate_with_phantom(raw)


def test_shape_is_checked() -> None:
    with pytest.raises(InputError, match=r"expected shape \(6, 150, 109\)"):
        calibrate_with_phantom(torch.zeros(6, 100, 100))


EFFECTS: dict[str, dict[str, Any]] = {
    "uneven mat": {"mat_unevenness_g_cm2": 0.03},
    "drift": {"drift_low": 0.01, "drift_high": 0.005},
    "columns": {"column_gain_sd": 0.005},
    "scatter": {"scatter_to_primary": 0.08},
    "glare": {"scatter_fraction": 0.005},
    "dark signal": {"dark_signal": 1e-4},
    "blur": {"blur_sigma_mm": 3.0},
    "displaced energies": {"energy_shift_mm": (0.8, -0.6)},
    "zeros of the channels": {"pedestal_counts": (1800.0, 1900.0, 1850.0, 1750.0, 2000.0, 1600.0)},
    "dead column": {"dead_columns": (50,)},
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_what_else_a_scanner_does_does_not_change_its_beam(effect: str) -> None:
    model = calibrate_with_phantom(phantom_scan(1, **EFFECTS[effect]))
    bodies = soft_bodies()
    found = decompose_soft(clean(perturbed(1), bodies, model), without_noise(model))
    assert (found - bodies[:, :2]).abs().max() < 0.5


def test_scatter_glare_dark_signal_and_blur_are_found() -> None:
    assert calibrate_with_phantom(phantom_scan(1, scatter_to_primary=0.08)).stray.scatter_to_primary == pytest.approx(
        0.08, abs=0.015
    )
    glare = calibrate_with_phantom(phantom_scan(1, scatter_fraction=0.01)).stray
    assert glare.glare == pytest.approx(0.01, abs=0.001)
    assert glare.glare_sigma_mm == 50.0
    dark = calibrate_with_phantom(phantom_scan(1, dark_signal=1e-3)).stray
    assert (dark.dark_low, dark.dark_high) == pytest.approx((1e-3, 1e-3), rel=0.3)
    # The nearest neighbours' share of a Gaussian of half a column.
    share = np.exp(-0.5 * (6.06 / 3.0) ** 2)
    blurred = calibrate_with_phantom(phantom_scan(1, blur_sigma_mm=3.0, subpixels=(1, 1))).stray
    assert blurred.blur_columns == pytest.approx(share / (1.0 + 2.0 * share), rel=0.1)
    assert blurred.blur_rows < 0.002


def test_zeros_are_kept_in_the_model() -> None:
    model = calibrate_with_phantom(phantom_scan(1, pedestal_counts=500.0))
    assert model.zero_counts is not None
    assert 500 < model.zero_counts[0] < 900


def test_another_wheel_is_told_by_its_config() -> None:
    acquisition = Acquisition.ideal().perturbed(np.random.default_rng(3))
    raw = StepPhantom().scan(acquisition, torch.Generator().manual_seed(0))
    bodies = soft_bodies()
    model = calibrate_with_phantom(raw, wheel=WheelSegments.thick())
    right = decompose_soft(clean(acquisition, bodies, model), without_noise(model))
    assert (right - bodies[:, :2]).abs().max() < 0.35


def test_a_phantom_without_open_air_is_refused() -> None:
    """Something of another shape lies around it."""
    acquisition, phantom = perturbed(0), StepPhantom()
    areal = phantom.areal_density()
    around = torch.from_numpy(phantom.labels < 0)
    areal[0, 1] += 9.0 * torch.rand(areal.shape[-2:], generator=torch.Generator().manual_seed(0)) * around
    counts = acquisition.scan(areal, torch.Generator().manual_seed(0), PHANTOM_MATERIALS)[0]
    with pytest.raises(InputError, match=r"step phantom: expected (open air|patches|readings)"):
        calibrate_with_phantom(torch.from_numpy(channels_first(counts)))
