"""The table of tube spectra and the interpolation between its rows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.physics.spectra import TABLE_PATH, energy_kev, kvp_range, provenance, tube_spectrum

BUILDER = Path(__file__).parents[2] / "scripts" / "build_spectra.py"


def mean_energy_kev(kvp: float) -> float:
    return float((tube_spectrum(kvp) * energy_kev()).sum() / tube_spectrum(kvp).sum())


def test_mean_energy_and_fluence_grow_with_the_voltage() -> None:
    voltages = np.arange(60.0, 150.01, 0.25)
    assert (np.diff([mean_energy_kev(kvp) for kvp in voltages]) > 0).all()
    assert (np.diff([tube_spectrum(kvp).sum() for kvp in voltages]) > 0).all()


@pytest.mark.parametrize("kvp", [60.0, 60.5, 99.999, 100.0, 100.3, 149.5, 150.0])
def test_no_photon_has_more_energy_than_the_electrons(kvp: float) -> None:
    lower_edge = energy_kev() - 0.5
    spectrum = tube_spectrum(kvp)
    assert (spectrum[lower_edge >= kvp] == 0).all()
    assert (spectrum[energy_kev() < kvp] > 0).all()


def test_neighbouring_rows_predict_the_one_between() -> None:
    """The interpolation over 1 kV, judged over 2 kV (four times its error), above the K edge where the lines set in."""
    for kvp in (80, 101, 139):
        mixed = (tube_spectrum(kvp - 1) + tube_spectrum(kvp + 1)) / 2
        below = energy_kev() < kvp - 3
        np.testing.assert_allclose(mixed[below], tube_spectrum(kvp)[below], rtol=0.02)


def test_interpolation_is_continuous_at_whole_voltages() -> None:
    np.testing.assert_allclose(tube_spectrum(99.9999999), tube_spectrum(100.0), rtol=1e-6, atol=1.0)
    np.testing.assert_allclose(tube_spectrum(100.25), 0.75 * tube_spectrum(100) + 0.25 * tube_spectrum(101))


def test_tungsten_lines_stand_out() -> None:
    """K-alpha at 58.0 and 59.3 keV, K-beta at 67.2 keV (NIST SRD 128)."""
    spectrum = dict(zip(energy_kev(), tube_spectrum(120.3), strict=True))
    assert spectrum[59.5] > 2 * spectrum[61.5]
    assert spectrum[57.5] > 1.5 * spectrum[56.5]
    assert spectrum[67.5] > 1.5 * spectrum[65.5]


@pytest.mark.parametrize("kvp", [59.9, 150.1, float("nan")])
def test_refuses_a_voltage_outside_the_table(kvp: float) -> None:
    with pytest.raises(InputError, match="kvp: expected 60 to 150, got"):
        tube_spectrum(kvp)


def test_table_says_where_it_comes_from() -> None:
    assert kvp_range() == (60.0, 150.0)
    stated = provenance()
    assert stated["software"] == "spekpy"
    assert stated["anode_angle_deg"] == 12.0
    text = (TABLE_PATH.parent / "spectra_source.txt").read_text(encoding="utf-8")
    assert f"SpekPy {stated['version']}" in text
    assert "MIT" in text


def test_committed_rows_are_what_the_builder_computes() -> None:
    pytest.importorskip("spekpy")
    spec = importlib.util.spec_from_file_location("build_spectra", BUILDER)
    assert spec is not None
    assert spec.loader is not None
    builder = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(builder)
    assert builder.provenance() == provenance()
    for kvp in (60, 140):
        np.testing.assert_allclose(builder.unfiltered_fluence(kvp, energy_kev()), tube_spectrum(kvp), rtol=2e-6)
