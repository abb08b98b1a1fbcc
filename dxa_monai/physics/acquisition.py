"""The scanner: from areal densities of fat, lean and bone mineral to the six channels of a raw scan.

A tube alternates between two voltages; each phase has its filters. A wheel turns an empty, a bone-like and a
tissue-like segment through the beam. The detector integrates energy. With the weights w_c(E) of
:mod:`dxa_monai.physics.response`, relative to the open beam of the air segment in the same energy phase, and the
pedestal p_c of the electronics,

    I_c = sum_E w_c(E) exp(-sum_m a_m mu_m(E)),      raw_c = -ln(I_c) / full scale + p_c / 16383

so the bone and tissue channels carry their segment's own attenuation, and all channels that of table and mat. What else
changes I_c, and in which order: :mod:`dxa_monai.physics.expected_signal`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics import spectra
from dxa_monai.physics.acquisition_parameters import IDEAL, AcquisitionParameters
from dxa_monai.physics.attenuation import BODY_MATERIALS, Layers
from dxa_monai.physics.disturbance import Disturbance, draw_disturbance
from dxa_monai.physics.expected_signal import expected_signal
from dxa_monai.physics.forward import add_quantum_noise
from dxa_monai.scan.format import FULL_SCALE_COUNTS, unit_to_counts

_PERTURBED_KVP = 6.0
_PERTURBED_FILTERS = 0.4
_PERTURBED_DETECTOR = 0.5
_PERTURBED_PHOTONS = (3e5, 3e6)


@dataclass(frozen=True)
class Acquisition(AcquisitionParameters):
    """A dual-energy scanner that scans areal densities.

    Its numbers, which can be given by name, are those of
    :class:`dxa_monai.physics.acquisition_parameters.AcquisitionParameters`.

    Raises:
        InputError: an unknown material, or a value that cannot be.
    """

    @classmethod
    def ideal(cls, **changes: Any) -> Acquisition:
        """A scanner without table, electronics' zero, scatter, blur, drift or motion, and with a thick tissue segment.

        What :class:`Acquisition` was by default up to version 0.5.

        Args:
            **changes: parameters by name, instead of the ideal ones.

        Raises:
            InputError: an unknown name, or a value that cannot be.
        """
        return cls.from_dict({**IDEAL, **changes})

    def perturbed(self, rng: np.random.Generator) -> Acquisition:
        """Another scanner of the same kind, for testing an analysis that does not know the scanner exactly.

        Both voltages move by up to 6 kV (within the spectra's table, and never past each other), every filter by up to
        40 %, the detector's thickness by up to 50 %, each uniformly; photons per pixel are drawn log-uniformly from 3e5
        to 3e6. All else stays.
        """
        lowest, highest = spectra.kvp_range()
        spread_kvp = min(_PERTURBED_KVP, 0.49 * (self.kvp_high - self.kvp_low))

        def voltage(kvp: float) -> float:
            return float(np.clip(kvp + rng.uniform(-spread_kvp, spread_kvp), lowest, highest))

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

    def forward(
        self,
        areal_density: torch.Tensor,
        generator: torch.Generator | None = None,
        materials: tuple[str, ...] = BODY_MATERIALS,
        disturbance: Disturbance | None = None,
    ) -> torch.Tensor:
        """Raw channels of bodies; differentiable, on any device.

        Args:
            areal_density: ``(B, M, H, W)`` of the materials in g/cm2, finite and not negative. float32 or float64 is
                kept, half precision raised to float32; autocast does not reach inside.
            generator: source of the disturbance, if none is given, and then of the photon noise (CPU or the tensor's
                device); without one the scan is noise-free.
            materials: what the M channels are made of; fat, lean and bone mineral unless a phantom is scanned.
            disturbance: random effects of these scans (:func:`dxa_monai.physics.disturbance.draw_disturbance`).

        Returns:
            ``(B, 6, H, W)``, channels as in :data:`dxa_monai.scan.format.CHANNELS`: log attenuation / full scale, above
            the pedestal. At most 1: a signal too small for that (after noise it may be negative) is raised and has no
            gradient there. Not clamped below: with noise, an open beam scatters about its pedestal on both sides.

        Raises:
            InputError: another shape or an integer type, a disturbance of another shape, or a dead or hot column
                beyond the last.

        Notes:
            The noise is normal (:func:`dxa_monai.physics.forward.add_quantum_noise`). About 20 detected photons are
            left at 11.6 nepers with 3e6 photons per pixel and at 9.3 with 3e5; beyond, the distribution is too
            symmetric and partly floored, never NaN or infinite.

            On a GPU keep torch's default float32 matmul precision: TF32 is off by several counts.
        """
        areal_density = _checked_density(areal_density, len(materials))
        device = areal_density.device
        batch, _, rows, columns = areal_density.shape
        if disturbance is not None:
            disturbance.check(self, batch, (rows, columns))
        elif generator is not None:
            disturbance = draw_disturbance(self, batch, (rows, columns), generator)
        else:
            disturbance = Disturbance()
        with torch.autocast(device.type, enabled=False):
            signal, variance = expected_signal(self, areal_density, materials, disturbance, generator is not None)
            if generator is not None:
                normal = torch.randn(signal.shape, generator=generator, device=generator.device, dtype=signal.dtype)
                signal = add_quantum_noise(signal, variance / self.photons_per_pixel, normal.to(device))
            signal = _failed(signal, "dead_columns", self.dead_columns, 0.0)
            signal = _failed(signal, "hot_columns", self.hot_columns, 1.0)
            pedestal = np.array(self.pedestal_counts)[:, None, None] / FULL_SCALE_COUNTS
            signal = signal.clamp_min(signal.new_tensor(np.exp(-self.full_scale_nepers * (1.0 - pedestal))))
            return -torch.log(signal) / self.full_scale_nepers + signal.new_tensor(pedestal)

    def scan(
        self,
        areal_density: torch.Tensor,
        generator: torch.Generator,
        materials: tuple[str, ...] = BODY_MATERIALS,
    ) -> npt.NDArray[np.uint16]:
        """Counts as on disk: :meth:`forward` with noise, clipped to [0, 1] and rounded to 14 bits.

        Args:
            areal_density: as in :meth:`forward`.
            generator: source of the disturbance and of the photon noise.
            materials: as in :meth:`forward`.

        Returns:
            ``(B, H, W, 6)`` uint16 in 0..16383, channel last.

        Raises:
            InputError: as in :meth:`forward`, or a density that is negative or not finite.
        """
        areal_density = _checked_density(areal_density, len(materials))
        if not bool(torch.isfinite(areal_density).all()) or bool((areal_density < 0).any()):
            raise InputError("areal_density: expected finite numbers from 0, got negative or non-finite ones.")
        with torch.no_grad():
            raw = self.forward(areal_density, generator, materials).movedim(1, -1)
        return np.ascontiguousarray(unit_to_counts(raw.clamp(0.0, 1.0).cpu().numpy()))


def _checked_density(areal_density: torch.Tensor, channels: int) -> torch.Tensor:
    if areal_density.ndim != 4 or areal_density.shape[1] != channels:
        shape = tuple(areal_density.shape)
        raise InputError(f"areal_density: expected shape (B, {channels}, H, W), got {shape}.")
    if not areal_density.is_floating_point():
        raise InputError(f"areal_density: expected floating-point numbers, got {areal_density.dtype}.")
    return areal_density.float() if areal_density.dtype in (torch.float16, torch.bfloat16) else areal_density


def _failed(signal: torch.Tensor, name: str, failed: tuple[int, ...], value: float) -> torch.Tensor:
    """The signal with some detector columns stuck at a value."""
    if not failed:
        return signal
    columns = signal.shape[-1]
    if max(failed) >= columns:
        raise InputError(f"{name}: expected columns of the scan, 0 to {columns - 1}, got {max(failed)}.")
    stuck = torch.zeros(columns, dtype=torch.bool, device=signal.device)
    stuck[list(failed)] = True
    return torch.where(stuck, value, signal)
