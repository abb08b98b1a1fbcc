"""Calibration with the phantom, and the model's file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics import beam_model, scanner_model, spectra
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, BeamParameters, WheelSegments
from dxa_monai.physics.decomposition import decompose_bone, decompose_soft
from dxa_monai.physics.scanner_model import (
    ScannerModel,
    calibrate_with_phantom,
    open_air,
    photons_from_open_air,
    read_scanner_model,
    write_scanner_model,
)
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import SCAN_SHAPE

SCANNERS = (0, 1, 2)


def perturbed(seed: int) -> Acquisition:
    return Acquisition().perturbed(np.random.default_rng(seed))


def phantom_scan(seed: int) -> torch.Tensor:
    return StepPhantom().scan(perturbed(seed), torch.Generator().manual_seed(seed))


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
    found = decompose_soft(perturbed(seed).forward(bodies), without_noise(models[seed]))
    assert (found - bodies[:, :2]).abs().max() < 0.1


@pytest.mark.parametrize("seed", SCANNERS)
def test_phantom_recovers_bone_mineral_of_another_scanner(models: dict[int, ScannerModel], seed: int) -> None:
    bodies = soft_bodies()
    bodies[:, 2] = torch.tensor([0.3, 0.8, 1.2, 2.0, 4.0])[:, None]
    found = decompose_bone(perturbed(seed).forward(bodies), bodies[:, :1], without_noise(models[seed]))
    assert ((found - bodies)[:, 2] / bodies[:, 2]).abs().max() < 0.015


@pytest.mark.parametrize("seed", SCANNERS)
def test_nominal_model_does_not_fit_another_scanner(seed: int) -> None:
    """What the calibration is for; without it the test above would say little."""
    bodies = soft_bodies()
    found = decompose_soft(perturbed(seed).forward(bodies), without_noise(ScannerModel()))
    assert (found - bodies[:, :2]).abs().max() > 1.0


@pytest.mark.parametrize("seed", SCANNERS)
def test_phantom_tells_the_photons(models: dict[int, ScannerModel], seed: int) -> None:
    assert models[seed].photons_per_pixel == pytest.approx(perturbed(seed).photons_per_pixel, rel=0.05)


def test_calibrated_model_says_what_it_was_made_of(models: dict[int, ScannerModel]) -> None:
    assert {model.source for model in models.values()} == {"phantom"}
    assert all(0 < model.residual_nepers < 0.01 for model in models.values())
    assert len({model.beam for model in models.values()}) == len(models)


def test_calibration_and_decomposition_never_ask_the_simulator_s_spectra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The analysis shares material tables with the simulator and nothing that was simulated with."""
    raw, bodies = phantom_scan(0), soft_bodies()
    scan = perturbed(0).forward(bodies)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the analysis asked for the simulator's beam")

    for name in ("tube_spectrum", "energy_kev", "kvp_range"):
        monkeypatch.setattr(spectra, name, refuse)
    monkeypatch.setattr("dxa_monai.physics.acquisition.detector_response", refuse)
    monkeypatch.setattr("dxa_monai.physics.response.detector_response", refuse)
    monkeypatch.setattr(Acquisition, "forward", refuse)
    decompose_soft(scan, calibrate_with_phantom(raw))
    for module in (beam_model, scanner_model):
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
    with pytest.raises(InputError, match="step phantom: expected patches"):
        calibrate_with_phantom(raw)


def test_shape_is_checked() -> None:
    with pytest.raises(InputError, match=r"expected shape \(6, 150, 109\)"):
        calibrate_with_phantom(torch.zeros(6, 100, 100))


def test_photons_from_any_scan() -> None:
    areal = torch.zeros(1, 3, *SCAN_SHAPE)
    areal[:, 1, 20:130, 40:70] = 15.0
    acquisition = Acquisition(photons_per_pixel=7e5)
    counts = acquisition.scan(areal, torch.Generator().manual_seed(0))[0].astype(np.float32)
    raw = torch.from_numpy(counts).movedim(-1, 0) / 16383.0
    assert photons_from_open_air(raw, ScannerModel()) == pytest.approx(7e5, rel=0.05)
    air = open_air(raw)
    assert not air[18:132, 38:72].any()
    assert air[:18].all()
    assert air[:, :38].all()


def test_photons_need_open_air() -> None:
    raw = Acquisition().forward(torch.full((1, 3, 30, 30), 5.0))[0]
    with pytest.raises(InputError, match="at least 100 pixels of open air"):
        photons_from_open_air(raw, ScannerModel())


def test_tensors_are_what_the_weights_say() -> None:
    model = ScannerModel(photons_per_pixel=4e5)
    mu, signal, variance = model.tensors(torch.float64, torch.device("cpu"))
    for row, name in zip(mu, BODY_MATERIALS, strict=True):
        np.testing.assert_array_equal(row.numpy(), mass_attenuation_cm2_g(name, ENERGY_KEV))
    np.testing.assert_array_equal(signal.numpy(), model.signal_weights)
    np.testing.assert_allclose(variance.numpy() * 4e5, model.variance_weights)


def test_json_round_trip(tmp_path: Path, models: dict[int, ScannerModel]) -> None:
    for model in (*models.values(), ScannerModel(wheel=WheelSegments(tissue=(("water", 7.5), ("acrylic", 1.0))))):
        write_scanner_model(model, tmp_path / "model.json")
        assert read_scanner_model(tmp_path / "model.json") == model


def changed(**changes: Any) -> dict[str, Any]:
    return {**ScannerModel().as_dict(), **changes}


def with_beam(**changes: Any) -> dict[str, Any]:
    return changed(beam={**dataclasses.asdict(BeamParameters()), **changes})


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        changed(beam=None),
        changed(beam={"kvp": 100}),
        changed(wheel=[]),
        changed(wheel={"air": [["unobtainium", 1.0]]}),
        changed(wheel={"air": [["water"]]}),
        changed(wheel={"air": [["water", -1.0]]}),
        changed(wheel={"sky": []}),
        changed(photons_per_pixel=0.0),
        changed(photons_per_pixel=float("nan")),
        changed(photons_per_pixel="many"),
        changed(full_scale_nepers=0),
        changed(full_scale_nepers=float("inf")),
        changed(residual_nepers=float("nan")),
        with_beam(kvp_low=150.0),
        with_beam(kvp_low=5.0),
        with_beam(kvp_high=1e9),
        with_beam(detector_g_cm2=-1.0),
        with_beam(filter_low_al_g_cm2=float("nan")),
        with_beam(filter_low_al_g_cm2=[1.0]),
    ],
)
def test_hostile_json_is_told_in_one_sentence(tmp_path: Path, stored: object) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(InputError, match="expected") as caught:
        read_scanner_model(path)
    assert "\n" not in str(caught.value)
    assert "model.json" in str(caught.value)


def _folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: None,
        _folder,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text('{"beam": '),
        lambda path: path.write_text("[" * 100_000),
    ],
    ids=["missing", "folder", "empty", "binary", "truncated", "nested"],
)
def test_a_file_that_is_no_json_is_told_in_one_sentence(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "model.json")
    with pytest.raises(InputError, match=r"model\.json: expected"):
        read_scanner_model(tmp_path / "model.json")
