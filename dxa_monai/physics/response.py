"""What a scanner's detector sees at each energy: tube, filters, wheel segments and scintillator in one table.

With the spectrum s, filters f and detector thickness t, the signal of a channel at energy E is

    w(E) = s(E) f(E) segment(E) eta(E) E,      eta(E) = 1 - exp(-mu_det(E) t)                       (1)

per photon behind the filters, divided by the open beam's, sum_E w_air(E), of the same energy phase. The energy that a
Poisson number of photons deposits has the variance sum_E n(E) E^2 (a compound Poisson variable)       (2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.physics import spectra
from dxa_monai.physics.attenuation import BODY_MATERIALS, Layers, mass_attenuation_cm2_g, material
from dxa_monai.scan.format import CHANNELS, SEGMENTS

FloatArray = npt.NDArray[np.float64]

_NEGLIGIBLE_SHARE = 1e-9
"""The lowest energies that together make less of every channel's open beam than this are left out. The body attenuates
them more than all others, so their share only falls behind it; with 4 mm of aluminium they end at 12 keV."""


class Phase(NamedTuple):
    """The tube in one of its two energy phases.

    Attributes:
        kvp: tube voltage.
        filters: layers in mm.
    """

    kvp: float
    filters: Layers


class Response(NamedTuple):
    """What a scanner's detector sees at each energy, float64 and read-only.

    Attributes:
        energy_kev: ``(E,)`` bin centres.
        mass_attenuation_cm2_g: ``(3, E)`` of fat, lean, bone mineral.
        signal_weights: ``(E, 6)``; columns of the air channels add up to 1 (less 1e-9).
        variance_weights: ``(E, 6)``; what each energy adds to the variance of the signal, times photons per pixel.
    """

    energy_kev: FloatArray
    mass_attenuation_cm2_g: FloatArray
    signal_weights: FloatArray
    variance_weights: FloatArray


@lru_cache(maxsize=16)
def detector_response(
    high: Phase, low: Phase, segments: tuple[Layers, ...], detector_material: str, detector_thickness_mm: float
) -> Response:
    """The response of a scanner; kept for the next call.

    Args:
        high: the high-energy phase.
        low: the low-energy phase.
        segments: layers in g/cm2 of the wheel's segments, in the order of :data:`dxa_monai.scan.format.SEGMENTS`.
        detector_material: scintillator.
        detector_thickness_mm: its thickness.

    Raises:
        InputError: nothing passes the filters and segments.
    """
    energy_kev = spectra.energy_kev()
    detector = material(detector_material).density_g_cm3 * (detector_thickness_mm / 10.0)
    eta = -np.expm1(-detector * mass_attenuation_cm2_g(detector_material, energy_kev))
    phases, wheel = {"high": high, "low": low}, dict(zip(SEGMENTS, segments, strict=True))
    # Photons at the detector per incident photon, by channel (energy phase within segment, as CHANNELS has them).
    detected = np.empty((len(energy_kev), len(CHANNELS)))
    for column, channel in enumerate(CHANNELS):
        segment, phase = channel.split("_")
        beam = spectra.tube_spectrum(phases[phase].kvp)
        for name, thickness_mm in phases[phase].filters:
            areal = material(name).density_g_cm3 * thickness_mm / 10.0
            beam = beam * np.exp(-areal * mass_attenuation_cm2_g(name, energy_kev))
        incident = beam.sum()
        for name, areal in wheel[segment]:
            beam = beam * np.exp(-areal * mass_attenuation_cm2_g(name, energy_kev))
        with np.errstate(invalid="ignore"):
            detected[:, column] = beam * eta / incident
    energy_signal = detected * energy_kev[:, None]  # (1)
    open_beam = energy_signal[:, :2].sum(axis=0)  # the air segment's high and low phase
    if not (np.isfinite(open_beam).all() and (energy_signal.sum(axis=0) > 0).all()):
        raise InputError("acquisition: expected filters and segments that let photons through, got none behind them.")
    reference = np.tile(open_beam, len(SEGMENTS))
    signal = energy_signal / reference
    variance = energy_signal * energy_kev[:, None] / reference**2  # (2)

    share = np.cumsum(signal, axis=0) / signal.sum(axis=0)
    first = int(np.argmax((share >= _NEGLIGIBLE_SHARE).any(axis=1)))
    last = int(np.flatnonzero(signal.any(axis=1))[-1])
    kept = slice(first, last + 1)
    body = np.stack([mass_attenuation_cm2_g(name, energy_kev) for name in BODY_MATERIALS])
    response = Response(energy_kev[kept], body[:, kept], signal[kept], variance[kept])
    for array in response:
        array.setflags(write=False)
    return response
