"""An analyst's model of a beam that he did not build: Kramers' law, tungsten lines, filters and a scintillator.

The analysis of a scan must not know the tube's spectrum. This model takes the shape of bremsstrahlung from Kramers' law
[1] and leaves the rest to a handful of parameters that :mod:`dxa_monai.physics.scanner_model` fits to what a lab can
measure. Photons per energy of a phase with voltage V, before the wheel:

    n(E) = (V / E - 1) exp(-mu_W(E) s) exp(-mu_Al(E) f_Al - mu_Cu(E) f_Cu) + k [0.63 delta(58.9) + 0.37 delta(67.5)]

with the target's self-absorption s, filters f, and k the number of K-line photons for each bremsstrahlung photon. The
detector deposits E (1 - exp(-mu_det(E) d)). Only material tables are shared with the simulator.

References:
    [1] Kramers: On the theory of X-ray absorption and of the continuous X-ray spectrum. Philos Mag 46, 836 (1923).
        doi:10.1080/14786442308565244
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dxa_monai.physics.attenuation import Layers, mass_attenuation_cm2_g
from dxa_monai.physics.parameter_checks import layers as checked_layers
from dxa_monai.scan.format import CHANNELS, SEGMENTS

FloatArray = npt.NDArray[np.float64]

ENERGY_KEV = np.arange(20.0, 152.0, 4.0)
"""Bin centres. Four keV are fine enough: attenuation of tissues is smooth there, and the model is fitted anyway."""
_BIN_KEV = 4.0
KVP_RANGE = (40.0, float(ENERGY_KEV[-1]) + _BIN_KEV / 2.0)
"""Tube voltages that the bins can hold."""
_LINES_KEV = ((58.9, 0.63), (67.5, 0.37))  # K-alpha and K-beta of tungsten, weighted means and shares
_MAX_LINE_SHARE = 0.5


@dataclass(frozen=True)
class BeamParameters:
    """What is unknown of a dual-energy beam; defaults are the label's values and typical ones.

    Attributes:
        kvp_low: tube voltage of the low-energy phase.
        kvp_high: tube voltage of the high-energy phase.
        target_g_cm2: tungsten that the beam crosses in its own target.
        filter_low_al_g_cm2: aluminium of the low-energy phase.
        filter_high_al_g_cm2: aluminium of the high-energy phase.
        filter_high_cu_g_cm2: copper of the high-energy phase.
        line_share_low: photons in the K lines for each bremsstrahlung photon behind the target, low-energy phase.
        line_share_high: the same for the high-energy phase.
        detector_g_cm2: scintillator.
    """

    kvp_low: float = 100.0
    kvp_high: float = 140.0
    target_g_cm2: float = 0.02
    filter_low_al_g_cm2: float = 1.08
    filter_high_al_g_cm2: float = 1.08
    filter_high_cu_g_cm2: float = 2.24
    line_share_low: float = 0.08
    line_share_high: float = 0.15
    detector_g_cm2: float = 2.4

    def as_vector(self) -> FloatArray:
        """The values in the order of the attributes."""
        return np.array(dataclasses.astuple(self))

    @classmethod
    def from_vector(cls, values: FloatArray) -> BeamParameters:
        """Undo :meth:`as_vector`."""
        return cls(*(float(value) for value in values))


PRIOR_SD = BeamParameters(
    kvp_low=4.0,
    kvp_high=4.0,
    target_g_cm2=0.02,
    filter_low_al_g_cm2=0.4,
    filter_high_al_g_cm2=0.4,
    filter_high_cu_g_cm2=0.8,
    line_share_low=0.08,
    line_share_high=0.15,
    detector_g_cm2=1.0,
)
"""How far the values of another scanner of the same kind may lie from the defaults (one standard deviation)."""
LOWEST = BeamParameters(60.0, 118.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1)
HIGHEST = BeamParameters(117.0, KVP_RANGE[1], 0.3, 8.0, 8.0, 10.0, _MAX_LINE_SHARE, _MAX_LINE_SHARE, 20.0)
"""What a fit may not leave: the voltages that the bins hold and that keep low below high, and nothing negative."""


@dataclass(frozen=True)
class WheelSegments:
    """What the wheel's segments are made of, as its maker states: (material, g/cm2) layers.

    The defaults are those of :class:`dxa_monai.physics.acquisition.Acquisition`: segments of 12.5 mm, as the service
    manual of a QDR-4500 says of the tissue segment. Lists (from JSON) become tuples.

    Raises:
        InputError: an unknown material, or no areal density from 0.
    """

    air: Layers = ()
    bone: Layers = (("bone_mineral", 0.9), ("acrylic", 1.1486))
    tissue: Layers = (("acrylic", 1.4875),)

    def __post_init__(self) -> None:
        for name in SEGMENTS:
            object.__setattr__(self, name, checked_layers(f"wheel {name}", getattr(self, name)))

    @classmethod
    def thick(cls) -> WheelSegments:
        """The wheel of :meth:`dxa_monai.physics.acquisition.Acquisition.ideal` and of cohorts made before 0.6."""
        return cls(bone=(("bone_mineral", 0.9), ("acrylic", 1.0)), tissue=(("acrylic", 8.0),))


def channel_weights(
    beam: BeamParameters, wheel: WheelSegments, detector_material: str = "cadmium_tungstate"
) -> tuple[FloatArray, FloatArray]:
    """What each energy adds to each channel's signal, and to its variance times the photons of a pixel.

    Returns:
        ``(E, 6)`` signal weights, relative to the open beam in the air segment of the same energy phase, and ``(E, 6)``
        variance weights per photon behind the filters.
    """
    energy = ENERGY_KEV
    deposited = -np.expm1(-beam.detector_g_cm2 * mass_attenuation_cm2_g(detector_material, energy)) * energy
    signal = np.empty((len(energy), len(CHANNELS)))
    variance = np.empty_like(signal)
    phases = {
        "low": (beam.kvp_low, beam.filter_low_al_g_cm2, 0.0, beam.line_share_low),
        "high": (beam.kvp_high, beam.filter_high_al_g_cm2, beam.filter_high_cu_g_cm2, beam.line_share_high),
    }
    for phase, (kvp, aluminium, copper, line_share) in phases.items():
        photons = _bremsstrahlung(kvp) * np.exp(-beam.target_g_cm2 * mass_attenuation_cm2_g("tungsten", energy))
        photons = photons + min(max(line_share, 0.0), _MAX_LINE_SHARE) * photons.sum() * _lines()
        photons = photons * np.exp(
            -aluminium * mass_attenuation_cm2_g("aluminium", energy) - copper * mass_attenuation_cm2_g("copper", energy)
        )
        photons /= photons.sum()
        open_beam = (photons * deposited).sum()
        for segment in SEGMENTS:
            column = CHANNELS.index(f"{segment}_{phase}")
            behind = photons.copy()
            for name, areal in getattr(wheel, segment):
                behind *= np.exp(-areal * mass_attenuation_cm2_g(name, energy))
            signal[:, column] = behind * deposited / open_beam
            variance[:, column] = behind * deposited**2 / open_beam**2
    return signal, variance


def _bremsstrahlung(kvp: float) -> FloatArray:
    """Kramers' photons in each bin, integrated over the bin so that they change smoothly with the voltage."""
    low = ENERGY_KEV - _BIN_KEV / 2.0
    high = np.minimum(ENERGY_KEV + _BIN_KEV / 2.0, kvp)
    inside = high > low
    return np.where(inside, kvp * np.log(np.where(inside, high, low) / low) - (high - low), 0.0)


def _lines() -> FloatArray:
    """The K lines on the grid, each shared between its two neighbouring bins; adds up to 1."""
    lines = np.zeros_like(ENERGY_KEV)
    for energy_kev, share in _LINES_KEV:
        position = (energy_kev - ENERGY_KEV[0]) / _BIN_KEV
        below = int(position)
        lines[below] += share * (below + 1 - position)
        lines[below + 1] += share * (position - below)
    return lines
