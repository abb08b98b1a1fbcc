"""The analyst's beam: Kramers' law, lines, filters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.physics.beam_model import ENERGY_KEV, PRIOR_SD, BeamParameters, WheelSegments, channel_weights
from dxa_monai.scan.format import CHANNELS

NOMINAL = BeamParameters()


def weights(**changes: float) -> np.ndarray:
    return channel_weights(dataclasses.replace(NOMINAL, **changes), WheelSegments())[0]


def mean_energy(signal: np.ndarray, channel: str) -> float:
    column = signal[:, CHANNELS.index(channel)]
    return float((column * ENERGY_KEV).sum() / column.sum())


@pytest.mark.parametrize("kvp", [(60.0, 80.0), (97.3, 137.9), (100.0, 140.0), (103.0, 150.0)])
def test_open_beam_of_the_air_segment_is_one(kvp: tuple[float, float]) -> None:
    signal = weights(kvp_low=kvp[0], kvp_high=kvp[1])
    air = [CHANNELS.index("air_high"), CHANNELS.index("air_low")]
    np.testing.assert_allclose(signal[:, air].sum(axis=0), 1.0, rtol=1e-12)
    assert (signal >= 0).all()


def test_no_photon_is_harder_than_the_voltage() -> None:
    signal = weights(kvp_low=90.0)
    low = signal[:, CHANNELS.index("air_low")]
    assert low[ENERGY_KEV > 91.0].sum() == 0
    assert low[ENERGY_KEV < 89.0].min() > 0


def test_equals_the_formula_integrated_finely() -> None:
    """Kramers' law with filters and detector on a grid of 20 eV, without the lines that only a coarse grid smears."""
    fine = np.arange(20.0, 140.0, 0.02) + 0.01
    beam = dataclasses.replace(NOMINAL, line_share_high=0.0, line_share_low=0.0)
    photons = (beam.kvp_high / fine - 1.0) * np.exp(
        -beam.target_g_cm2 * mass_attenuation_cm2_g("tungsten", fine)
        - beam.filter_high_al_g_cm2 * mass_attenuation_cm2_g("aluminium", fine)
        - beam.filter_high_cu_g_cm2 * mass_attenuation_cm2_g("copper", fine)
    )
    deposited = fine * (1.0 - np.exp(-beam.detector_g_cm2 * mass_attenuation_cm2_g("cadmium_tungstate", fine)))
    signal, variance = channel_weights(beam, WheelSegments())
    channel = CHANNELS.index("tissue_high")
    behind = photons * np.exp(-1.4875 * mass_attenuation_cm2_g("acrylic", fine))
    expected = (behind * deposited).sum() / (photons * deposited).sum()
    assert signal[:, channel].sum() == pytest.approx(expected, rel=2e-3)
    expected_variance = (behind * deposited**2).sum() * photons.sum() / (photons * deposited).sum() ** 2
    assert variance[:, channel].sum() == pytest.approx(expected_variance, rel=5e-3)


@pytest.mark.parametrize("channel", CHANNELS)
def test_matter_hardens_the_beam(channel: str) -> None:
    thickness = np.linspace(0.5, 30.0, 60)
    transmission = np.exp(-thickness[:, None] * mass_attenuation_cm2_g("lean", ENERGY_KEV))
    column = weights()[:, CHANNELS.index(channel)]
    nepers = -np.log(transmission @ column / column.sum())
    assert (np.diff(nepers / thickness) < 0).all()


@pytest.mark.parametrize(
    ("change", "channel"),
    [
        ("kvp_low", "air_low"),
        ("kvp_high", "air_high"),
        ("filter_low_al_g_cm2", "air_low"),
        ("filter_high_al_g_cm2", "air_high"),
        ("filter_high_cu_g_cm2", "air_high"),
    ],
)
def test_voltage_and_filters_raise_the_mean_energy_of_their_phase_alone(change: str, channel: str) -> None:
    more = weights(**{change: getattr(NOMINAL, change) + getattr(PRIOR_SD, change)})
    other = "air_low" if channel == "air_high" else "air_high"
    assert mean_energy(more, channel) > mean_energy(weights(), channel) + 0.1
    assert mean_energy(more, other) == mean_energy(weights(), other)


def test_high_phase_is_harder_than_low() -> None:
    assert mean_energy(weights(), "air_high") > mean_energy(weights(), "air_low") + 15.0


def test_weights_change_smoothly_with_the_voltage() -> None:
    """A fit takes derivatives: no jump where the voltage crosses a bin's edge."""
    voltages = np.arange(98.0, 103.0, 0.05)
    means = np.array([mean_energy(weights(kvp_low=kvp), "air_low") for kvp in voltages])
    slopes = np.diff(means) / 0.05
    assert slopes.min() > 0.2
    assert np.abs(np.diff(slopes)).max() < 0.02


def test_lines_hold_their_share_of_photons_at_their_energies() -> None:
    """Behind no filter and with a detector that sees every photon alike but for its energy."""
    bare = {"filter_high_al_g_cm2": 0.0, "filter_high_cu_g_cm2": 0.0, "target_g_cm2": 0.0, "detector_g_cm2": 1e3}
    channel = CHANNELS.index("air_high")
    without, with_lines = (weights(**bare, line_share_high=share)[:, channel] / ENERGY_KEV for share in (0.0, 0.2))
    # Both are scaled to one unit of signal; far from the lines only the scale differs.
    scale = with_lines[-10] / without[-10]
    lines = with_lines - scale * without
    assert lines.sum() / (scale * without.sum()) == pytest.approx(0.2, rel=1e-9)
    assert (lines * ENERGY_KEV).sum() / lines.sum() == pytest.approx(0.63 * 58.9 + 0.37 * 67.5, rel=1e-9)


def test_variance_is_at_least_poisson() -> None:
    """A photon counter has relative variance 1 / photons; one that weights by energy never has less."""
    signal, variance = channel_weights(NOMINAL, WheelSegments())
    assert (variance.sum(axis=0) / signal.sum(axis=0) ** 2 >= 1.0).all()


def test_vector_round_trip() -> None:
    assert BeamParameters.from_vector(PRIOR_SD.as_vector()) == PRIOR_SD
