"""The detector weights against numbers made another way."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.physics.spectra import energy_kev, tube_spectrum
from dxa_monai.scan.format import CHANNELS


def test_air_channels_are_the_reference() -> None:
    response = Acquisition().response()
    np.testing.assert_allclose(response.signal_weights[:, :2].sum(axis=0), 1.0, rtol=1e-8)
    assert (response.signal_weights[:, 2:].sum(axis=0) < 1.0).all()


def test_leaving_out_the_lowest_energies_changes_nothing() -> None:
    """The same weights over the whole table, written out for one channel, with and without a thick body."""
    acquisition = Acquisition()
    response = acquisition.response()
    energies = energy_kev()
    beam = tube_spectrum(100.0) * np.exp(-2.699 * 0.4 * mass_attenuation_cm2_g("aluminium", energies))
    detected = beam * (1.0 - np.exp(-7.9 * 0.3 * mass_attenuation_cm2_g("cadmium_tungstate", energies))) * energies
    segment = np.exp(-1.4875 * mass_attenuation_cm2_g("acrylic", energies))
    column = CHANNELS.index("tissue_low")
    for lean in (0.0, 30.0):
        body = np.exp(-lean * mass_attenuation_cm2_g("lean", energies))
        expected = (detected * segment * body).sum() / detected.sum()
        kept = np.exp(-lean * response.mass_attenuation_cm2_g[1]) @ response.signal_weights[:, column]
        assert kept == pytest.approx(expected, rel=1e-8)
    assert len(response.energy_kev) < len(energies)


def test_energies_above_both_voltages_are_left_out() -> None:
    assert Acquisition(kvp_low=70, kvp_high=90).response().energy_kev[-1] == 89.5


def test_a_thin_detector_sees_fewer_of_the_fast_photons() -> None:
    def mean_kev(thickness_mm: float) -> float:
        response = Acquisition(detector_thickness_mm=thickness_mm, detector_material="caesium_iodide").response()
        return float(response.signal_weights[:, 0] @ response.energy_kev)

    assert mean_kev(0.1) < mean_kev(1.0) < mean_kev(10.0)


def test_refuses_filters_that_let_nothing_through() -> None:
    with pytest.raises(InputError, match="let photons through"):
        Acquisition(filters_high=(("copper", 1e6),)).response()
    with pytest.raises(InputError, match="let photons through"):
        Acquisition(bone_segment=(("copper", 1e6),)).response()
