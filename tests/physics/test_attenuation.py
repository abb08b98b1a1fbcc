"""Mass attenuation coefficients against NIST's tables."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import BODY_MATERIALS, MATERIALS, mass_attenuation_cm2_g

# Hubbell & Seltzer, NISTIR 5632, tables 3 and 4 (doi:10.18434/T4D01F): cm2/g, coherent scattering included.
NIST_ENERGY_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
NIST_CM2_G = {
    "water": (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505),
    "aluminium": (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378),
    "copper": (33.79, 10.92, 4.862, 2.613, 1.593, 0.7630, 0.4584, 0.2217),
    "adipose_icru44": (0.5677, 0.3063, 0.2396, 0.2123, 0.1974, 0.1800, 0.1688, 0.1500),
    "muscle_icru44": (0.8205, 0.3783, 0.2685, 0.2262, 0.2048, 0.1823, 0.1693, 0.1492),
    "cortical_bone_icru44": (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480),
}


@pytest.mark.parametrize("name", NIST_CM2_G)
def test_agrees_with_nist(name: str) -> None:
    np.testing.assert_allclose(mass_attenuation_cm2_g(name, NIST_ENERGY_KEV), NIST_CM2_G[name], rtol=0.01)


def test_lean_is_close_to_icru_muscle_without_its_fat() -> None:
    lean, muscle = (mass_attenuation_cm2_g(name, NIST_ENERGY_KEV) for name in ("lean", "muscle_icru44"))
    np.testing.assert_allclose(lean, muscle, rtol=0.01)


def test_fat_attenuates_less_than_adipose_tissue() -> None:
    """Adipose tissue is fat and some water."""
    low = [20.0, 40.0, 60.0]
    assert (mass_attenuation_cm2_g("fat", low) < mass_attenuation_cm2_g("adipose_icru44", low)).all()


@pytest.mark.parametrize("name", MATERIALS)
def test_is_positive_and_finite(name: str) -> None:
    values = mass_attenuation_cm2_g(name, np.arange(10.5, 150.0))
    assert np.isfinite(values).all()
    assert (values > 0).all()


@pytest.mark.parametrize("name", BODY_MATERIALS)
def test_body_materials_attenuate_low_energies_more(name: str) -> None:
    """What lets the response leave out the lowest energies: no absorption edge of the body lies in the beam."""
    assert (np.diff(mass_attenuation_cm2_g(name, np.arange(10.5, 150.0))) < 0).all()


def test_tungsten_edge_of_the_detector() -> None:
    """The K edge of tungsten lies at 69.5 keV (Bearden & Burr 1967)."""
    below, above = mass_attenuation_cm2_g("cadmium_tungstate", [69.4, 69.7])
    assert above > 2 * below


def test_shape_follows_the_energies() -> None:
    energies = np.array([[20.0, 30.0, 40.0], [50.0, 60.0, 80.0]])
    values = mass_attenuation_cm2_g("water", energies)
    assert values.shape == (2, 3)
    assert values[1, 1] == mass_attenuation_cm2_g("water", 60.0)
    assert mass_attenuation_cm2_g("water", []).shape == (0,)


def test_cached_array_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        mass_attenuation_cm2_g("water", [60.0])[0] = 0.0


def test_refuses_an_unknown_material() -> None:
    with pytest.raises(InputError, match=r"expected one of .*water.*, got 'vibranium'"):
        mass_attenuation_cm2_g("vibranium", [60.0])


@pytest.mark.parametrize("energy_kev", [60e3, 0.5])
def test_refuses_energies_outside_the_tables(energy_kev: float) -> None:
    with pytest.raises(InputError, match=r"energy_kev: expected 1 to 800 keV, got"):
        mass_attenuation_cm2_g("water", [energy_kev])
