"""The scanner: from areal densities of fat, lean and bone mineral to the six channels of a raw scan.

A tube alternates between two voltages; each phase has its filters. A wheel turns an empty, a bone-like and a
tissue-like segment through the beam. The detector integrates energy. With the weights w_c(E) of
:mod:`dxa_monai.physics.response`, relative to the open beam of the air segment in the same energy phase,

    I_c = sum_E w_c(E) exp(-sum_m a_m mu_m(E)),      raw_c = -ln(I_c) / full scale

so the bone and tissue channels carry their segment's own attenuation. Filtration, wheel and detector of the commercial
scanners are not public; the defaults are assumptions that give plausible contrasts, and every one is a named parameter.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics import spectra
from dxa_monai.physics.attenuation import BODY_MATERIALS, mass_attenuation_cm2_g, material
from dxa_monai.physics.forward import add_quantum_noise, gaussian_blur, transmitted_signal
from dxa_monai.physics.response import Layers, Phase, Response, detector_response
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_NEPERS, PIXEL_SPACING_MM, SEGMENTS, unit_to_counts

_PERTURBED_KVP = 3.0
_PERTURBED_FILTERS = 0.2
_PERTURBED_DETECTOR = 0.3
_PERTURBED_PHOTONS = (3e5, 3e6)


@dataclass(frozen=True)
class Acquisition:
    """A dual-energy scanner. Values are checked at construction; lists (from JSON) become tuples.

    Attributes:
        kvp_low: tube voltage of the low-energy phase, 60 to 150.
        kvp_high: tube voltage of the high-energy phase.
        filters_low: (material, thickness in mm) layers in the low-energy beam.
        filters_high: the same for the high-energy beam. Copper takes its soft part away; without it fat and lean are
            only 0.03 apart in R.
        air_segment: (material, g/cm2) layers of the wheel's empty segment, the reference of all channels.
        bone_segment: layers of the bone-like segment.
        tissue_segment: layers of the tissue-like segment.
        detector_material: scintillator. Every photon that interacts in it deposits its whole energy.
        detector_thickness_mm: its thickness.
        photons_per_pixel: photons per pixel and channel behind the filters, before wheel segment, body and detector.
        full_scale_nepers: log attenuation at which a raw value is 1. The signal is floored there.
        scatter_fraction: part of the detected signal, 0 to below 1, that arrives spread by ``scatter_sigma_mm`` (as
            veiling glare does) instead of in its own pixel. The open beam stays 1.
        scatter_sigma_mm: standard deviation of that spread.
        blur_sigma_mm: standard deviation of the blur by focal spot and detector aperture.
        pixel_spacing_mm: distance between rows and between columns; matters for scatter and blur only.

    Raises:
        InputError: an unknown material, or a value that cannot be.
    """

    kvp_low: float = 100.0
    kvp_high: float = 140.0
    filters_low: Layers = (("aluminium", 4.0),)
    filters_high: Layers = (("aluminium", 4.0), ("copper", 2.5))
    air_segment: Layers = ()
    bone_segment: Layers = (("bone_mineral", 0.9), ("acrylic", 1.0))
    tissue_segment: Layers = (("acrylic", 8.0),)
    detector_material: str = "cadmium_tungstate"
    detector_thickness_mm: float = 3.0
    photons_per_pixel: float = 3e6
    full_scale_nepers: float = FULL_SCALE_NEPERS
    scatter_fraction: float = 0.0
    scatter_sigma_mm: float = 50.0
    blur_sigma_mm: float = 0.0
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM

    def __post_init__(self) -> None:
        for name in ("filters_low", "filters_high", *(f"{segment}_segment" for segment in SEGMENTS)):
            object.__setattr__(self, name, _layers(name, getattr(self, name)))
        material(self.detector_material)
        lowest, highest = spectra.kvp_range()
        voltage = (f"a tube voltage from {lowest:g} to {highest:g}", lowest, highest)
        positive = ("a positive number", math.ulp(0.0), math.inf)
        for name, limits in {
            "kvp_low": voltage,
            "kvp_high": voltage,
            "detector_thickness_mm": positive,
            "photons_per_pixel": positive,
            "full_scale_nepers": positive,
            "scatter_fraction": ("a fraction from 0 to below 1", 0.0, math.nextafter(1.0, 0.0)),
            "scatter_sigma_mm": positive,
            "blur_sigma_mm": ("a number from 0", 0.0, math.inf),
        }.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), *limits))
        if not self.kvp_low < self.kvp_high:
            raise InputError(f"kvp_low: expected less than kvp_high ({self.kvp_high:g}), got {self.kvp_low:g}.")
        spacing = tuple(_number("pixel_spacing_mm", value, *positive) for value in self.pixel_spacing_mm)
        if len(spacing) != 2:
            raise InputError(f"pixel_spacing_mm: expected two numbers, got {self.pixel_spacing_mm}.")
        object.__setattr__(self, "pixel_spacing_mm", spacing)

    def as_dict(self) -> dict[str, Any]:
        """The parameters as JSON can hold them (tuples as lists); :meth:`from_dict` undoes it."""
        return {field.name: _as_json(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, parameters: Mapping[str, Any]) -> Acquisition:
        """An acquisition from named parameters; those not named have their defaults.

        Raises:
            InputError: an unknown name, or a value that cannot be.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(parameters) - set(known))
        if unknown:
            raise InputError(f"acquisition: expected parameters among {', '.join(known)}, got '{unknown[0]}'.")
        return cls(**parameters)

    def perturbed(self, rng: np.random.Generator) -> Acquisition:
        """Another scanner of the same kind, for testing an analysis that does not know the scanner exactly.

        Both voltages move by up to 3 kV (within the spectra's table), every filter by up to 20 %, the detector's
        thickness by up to 30 %, each uniformly; photons per pixel are drawn log-uniformly from 3e5 to 3e6.
        """
        lowest, highest = spectra.kvp_range()

        def voltage(kvp: float) -> float:
            return float(np.clip(kvp + rng.uniform(-_PERTURBED_KVP, _PERTURBED_KVP), lowest, highest))

        def filters(layers: Layers) -> Layers:
            spread = (1.0 - _PERTURBED_FILTERS, 1.0 + _PERTURBED_FILTERS)
            return tuple((name, thickness_mm * float(rng.uniform(*spread))) for name, thickness_mm in layers)

        return dataclasses.replace(
            self,
            kvp_low=voltage(self.kvp_low),
            kvp_high=voltage(self.kvp_high),
            filters_low=filters(self.filters_low),
            filters_high=filters(self.filters_high),
            detector_thickness_mm=self.detector_thickness_mm
            * float(rng.uniform(1.0 - _PERTURBED_DETECTOR, 1.0 + _PERTURBED_DETECTOR)),
            photons_per_pixel=float(np.exp(rng.uniform(*np.log(_PERTURBED_PHOTONS)))),
        )

    def response(self) -> Response:
        """Energies, the body's attenuation coefficients and the detector weights of this scanner.

        Raises:
            InputError: nothing passes the filters and segments.
        """
        return detector_response(
            Phase(self.kvp_high, self.filters_high),
            Phase(self.kvp_low, self.filters_low),
            tuple(getattr(self, f"{segment}_segment") for segment in SEGMENTS),
            self.detector_material,
            self.detector_thickness_mm,
        )

    def forward(
        self,
        areal_density: torch.Tensor,
        generator: torch.Generator | None = None,
        materials: tuple[str, ...] = BODY_MATERIALS,
    ) -> torch.Tensor:
        """Raw channels of bodies; differentiable, on any device.

        Args:
            areal_density: ``(B, M, H, W)`` of the materials in g/cm2, finite and not negative. float32 or float64 is
                kept, half precision raised to float32; autocast does not reach inside.
            generator: source of the photon noise (CPU or the tensor's device); without one the scan is noise-free.
            materials: what the M channels are made of; fat, lean and bone mineral unless a phantom is scanned.

        Returns:
            ``(B, 6, H, W)``, channels as in :data:`dxa_monai.scan.format.CHANNELS`: log attenuation / full scale. At
            most 1: a signal below exp(-full_scale_nepers) of the open beam (after noise it may be negative) is raised
            to it and has no gradient there. Not clamped below: with noise, air scatters about 0 on both sides.

        Raises:
            InputError: another shape or an integer type.

        Notes:
            The noise is normal (:func:`dxa_monai.physics.forward.add_quantum_noise`). About 20 detected photons are
            left at 11.6 nepers with 3e6 photons per pixel and at 9.3 with 3e5; beyond, the distribution is too
            symmetric and partly floored, never NaN or infinite.

            On a GPU keep torch's default float32 matmul precision: TF32 is off by several counts.
        """
        areal_density = _checked_density(areal_density, len(materials))
        device = areal_density.device
        with torch.autocast(device.type, enabled=False):
            signal, variance = self._expected(areal_density, materials, with_variance=generator is not None)
            if generator is not None:
                normal = torch.randn(signal.shape, generator=generator, device=generator.device, dtype=signal.dtype)
                signal = add_quantum_noise(signal, variance / self.photons_per_pixel, normal.to(device))
            signal = signal.clamp_min(math.exp(-self.full_scale_nepers))
            return -torch.log(signal) / self.full_scale_nepers

    def scan(
        self,
        areal_density: torch.Tensor,
        generator: torch.Generator,
        materials: tuple[str, ...] = BODY_MATERIALS,
    ) -> npt.NDArray[np.uint16]:
        """Counts as on disk: :meth:`forward` with noise, clipped to [0, 1] and rounded to 14 bits.

        Args:
            areal_density: as in :meth:`forward`.
            generator: source of the photon noise.
            materials: as in :meth:`forward`.

        Returns:
            ``(B, H, W, 6)`` uint16 in 0..16383, channel last.

        Raises:
            InputError: another shape or type, or a density that is negative or not finite.
        """
        areal_density = _checked_density(areal_density, len(materials))
        if not bool(torch.isfinite(areal_density).all()) or bool((areal_density < 0).any()):
            raise InputError("areal_density: expected finite numbers from 0, got negative or non-finite ones.")
        with torch.no_grad():
            raw = self.forward(areal_density, generator, materials).movedim(1, -1)
        return np.ascontiguousarray(unit_to_counts(raw.clamp(0.0, 1.0).cpu().numpy()))

    def _expected(
        self, areal_density: torch.Tensor, materials: tuple[str, ...], with_variance: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Signal ``(B, 6, H, W)`` and its variance times ``photons_per_pixel`` (empty unless asked for)."""
        attenuation, weights = _response_tensors(self, materials, areal_density.dtype, areal_density.device)
        channels = len(CHANNELS)
        if not with_variance:
            weights = weights[:, :channels]
        batch, _, rows, columns = areal_density.shape
        pixels = areal_density.movedim(1, -1).reshape(-1, len(materials))
        if torch.is_grad_enabled() and areal_density.requires_grad:
            # Empty pixels have a gradient too (an optimiser may want to fill them), so nothing is skipped.
            values = transmitted_signal(pixels, attenuation, weights)
        else:
            # About half of a scan is air, which is computed once: the last row.
            body = pixels.any(dim=1)
            occupied = torch.cat((pixels[body], pixels.new_zeros(1, pixels.shape[1])))
            computed = transmitted_signal(occupied, attenuation, weights)
            values = computed[-1].repeat(len(pixels), 1)
            values[body] = computed[:-1]
        images = values.reshape(batch, rows, columns, -1).movedim(-1, 1)
        images = self._spread(images)
        return images[:, :channels], images[:, channels:]

    def _spread(self, images: torch.Tensor) -> torch.Tensor:
        """Scatter and blur: both act on the photons' field, so on the signal and on its variance before the noise."""

        def pixels(sigma_mm: float) -> tuple[float, float]:
            return sigma_mm / self.pixel_spacing_mm[0], sigma_mm / self.pixel_spacing_mm[1]

        if self.scatter_fraction > 0:
            veil = gaussian_blur(images, pixels(self.scatter_sigma_mm))
            images = (1.0 - self.scatter_fraction) * images + self.scatter_fraction * veil
        return gaussian_blur(images, pixels(self.blur_sigma_mm))


@lru_cache(maxsize=16)
def _response_tensors(
    acquisition: Acquisition, materials: tuple[str, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(M, E)`` attenuation of the materials and ``(E, 12)`` weights: signal, then variance."""
    response = acquisition.response()
    coefficients = np.stack([mass_attenuation_cm2_g(name, response.energy_kev) for name in materials])
    weights = np.concatenate((response.signal_weights, response.variance_weights), axis=1)
    # Made outside of any inference mode: the tensors are kept, and those of inference mode cannot be differentiated.
    with torch.inference_mode(False):
        attenuation = torch.tensor(coefficients, dtype=dtype, device=device)
        return attenuation, torch.tensor(weights, dtype=dtype, device=device)


def _number(name: str, value: Any, expected: str, lowest: float, highest: float) -> float:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and lowest <= value <= highest):
        raise InputError(f"{name}: expected {expected}, got {value!r}.")
    return float(value)


def _layers(name: str, layers: Any) -> Layers:
    try:
        pairs = [(str(layer), thickness) for layer, thickness in layers]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected pairs of material and thickness, got {layers!r}.") from error
    for layer, _ in pairs:
        material(layer)
    return tuple(
        (layer, _number(f"{name} '{layer}'", thickness, "a thickness from 0", 0.0, math.inf))
        for layer, thickness in pairs
    )


def _checked_density(areal_density: torch.Tensor, channels: int) -> torch.Tensor:
    if areal_density.ndim != 4 or areal_density.shape[1] != channels:
        shape = tuple(areal_density.shape)
        raise InputError(f"areal_density: expected shape (B, {channels}, H, W), got {shape}.")
    if not areal_density.is_floating_point():
        raise InputError(f"areal_density: expected floating-point numbers, got {areal_density.dtype}.")
    return areal_density.float() if areal_density.dtype in (torch.float16, torch.bfloat16) else areal_density


def _as_json(value: Any) -> Any:
    return [_as_json(item) for item in value] if isinstance(value, tuple) else value
