"""The model of a scanner and its file."""

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
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, BeamParameters, WheelSegments
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model, write_scanner_model
from dxa_monai.physics.stray import StraySignal


def test_tensors_are_what_the_weights_say() -> None:
    model = ScannerModel(photons_per_pixel=4e5)
    mu, signal, variance = model.tensors(torch.float64, torch.device("cpu"))
    for row, name in zip(mu, BODY_MATERIALS, strict=True):
        np.testing.assert_array_equal(row.numpy(), mass_attenuation_cm2_g(name, ENERGY_KEV))
    np.testing.assert_array_equal(signal.numpy(), model.signal_weights)
    np.testing.assert_allclose(variance.numpy() * 4e5, model.variance_weights)


CALIBRATED = ScannerModel(
    BeamParameters(kvp_low=97.3, detector_g_cm2=2.13),
    8.5e5,
    WheelSegments(tissue=(("water", 7.5), ("acrylic", 1.0))),
    "phantom",
    2.5e-4,
    stray=StraySignal(1e-5, 2e-5, 0.01, 100.0, 0.03, 15.0, 0.001, 0.02),
    rounding_nepers=0.0117,
    energy_shift_mm=(-0.4, 0.1),
    zero_counts=(1973.2, 2005.1, 2600.0, 2700.5, 2300.0, 2400.0),
)


def test_json_round_trip(tmp_path: Path) -> None:
    for model in (ScannerModel(), CALIBRATED):
        write_scanner_model(model, tmp_path / "model.json")
        assert read_scanner_model(tmp_path / "model.json") == model


def test_a_model_of_an_earlier_version_is_read() -> None:
    stored = CALIBRATED.as_dict()
    for name in ("stray", "rounding_nepers", "energy_shift_mm", "zero_counts"):
        del stored[name]
    model = ScannerModel.from_dict(stored)
    assert model.stray.none
    assert model.beam == CALIBRATED.beam
    assert model.zero_counts is None


def test_wheel_attenuates_all_channels_but_those_of_the_air_segment() -> None:
    wheel = ScannerModel().wheel_nepers
    assert (wheel[:2] == 0).all()
    assert (wheel[2:] > 0.1).all()
    assert wheel[3] > wheel[2]  # low energy more than high
    assert (ScannerModel(wheel=WheelSegments.thick()).wheel_nepers[4:] > 3.0 * wheel[4:]).all()


def test_unknown_material_of_a_wheel_is_refused() -> None:
    with pytest.raises(InputError, match="unobtainium"):
        WheelSegments(tissue=(("unobtainium", 1.0),))
    assert WheelSegments(tissue=[["acrylic", 2]]).tissue == (("acrylic", 2.0),)  # type: ignore[arg-type]


def changed(**changes: Any) -> dict[str, Any]:
    return {**ScannerModel().as_dict(), **changes}


def with_beam(**changes: Any) -> dict[str, Any]:
    return changed(beam={**dataclasses.asdict(BeamParameters()), **changes})


def with_wheel(**changes: Any) -> dict[str, Any]:
    return changed(wheel={**ScannerModel().as_dict()["wheel"], **changes})


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        changed(beam=None),
        changed(beam={"kvp": 100}),
        changed(wheel=[]),
        with_wheel(air=[["unobtainium", 1.0]]),
        with_wheel(air=[["water"]]),
        with_wheel(air=[["water", -1.0]]),
        changed(wheel={}),
        with_wheel(sky=[]),
        changed(photons_per_pixel=0.0),
        changed(photons_per_pixel=float("nan")),
        changed(photons_per_pixel="many"),
        changed(photons_per_pixel="1e6"),
        changed(photons_per_pixel=10**400),
        changed(photons_per_pixel=True),
        changed(zero_count=[0.0] * 6),
        changed(source={"a": 1}),
        changed(full_scale_nepers=0),
        changed(full_scale_nepers=float("inf")),
        changed(residual_nepers=float("nan")),
        changed(stray=None),
        changed(stray={"fog": 1.0}),
        changed(stray={}),
        changed(stray=[1.0]),
        3,
        "beam",
        [{"beam": 1}],
        changed(stray={"glare": 1.0}),
        changed(stray={"glare": -0.1}),
        changed(zero_counts=[1.0, 2.0]),
        changed(zero_counts=[-1.0] * 6),
        changed(zero_counts="none"),
        changed(zero_counts="123456"),
        changed(energy_shift_mm=[1.0]),
        changed(energy_shift_mm=[float("nan"), 0.0]),
        changed(rounding_nepers=-1.0),
        with_beam(kvp_low=150.0),
        with_beam(kvp_low=5.0),
        with_beam(kvp_high=1e9),
        with_beam(detector_g_cm2=-1.0),
        with_beam(filter_low_al_g_cm2=float("nan")),
        with_beam(filter_low_al_g_cm2=[1.0]),
        with_beam(filter_low_al_g_cm2=1e300),
        with_wheel(bone=[["acrylic", 1e4]]),
        changed(beam={"kvp_low": 100.0, "kvp_high": 140.0}),
    ],
)
def test_hostile_json_is_told_in_one_sentence(tmp_path: Path, stored: object) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(InputError, match="expected") as caught:
        read_scanner_model(path)
    assert "\n" not in str(caught.value)
    assert "Error(" not in str(caught.value)
    assert "model.json" in str(caught.value)


def test_what_is_missing_is_named_and_no_default_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(changed(wheel={"air": [], "bone": []})), encoding="utf-8")
    with pytest.raises(InputError, match=r"model\.json: wheel: expected air, bone, tissue, got air, bone\."):
        read_scanner_model(path)


def test_a_file_of_something_else_is_told_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "cohort.json"
    path.write_text(json.dumps({"people": 3, "seed": 0}), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"cohort\.json: scanner model: expected beam, .*, zero_counts, got people, seed\."
    ):
        read_scanner_model(path)


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
