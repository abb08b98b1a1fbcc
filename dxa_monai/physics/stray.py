"""Signal that has not come straight through the pixel: dark signal, blur, veiling glare, scatter; and how it goes.

With P the signal of the primary beam relative to the open beam, and t the body's areal density, a detector reads

    S = N[(1 - g) P + g B_g[P] + B_s[P s t / 20]] + d                                                     (1)

with d the dark signal (a share of the open beam), g the share of the glare, s the ratio of scatter to primary signal
behind 20 g/cm2, B a Gaussian blur as wide as light or scattered photons travel, and N the blur by focal spot and
detector, which gives a share of a pixel's signal to each neighbour. P follows from S by iteration, because what is
added is smooth. t is taken from the attenuation of the high-energy beam.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dxa_monai.physics.forward import gaussian_blur
from dxa_monai.scan.format import HIGH_CHANNELS, LOW_CHANNELS

SCATTER_REFERENCE_G_CM2 = 20.0
HIGH_ENERGY_CM2_G = 0.175
"""Attenuation of soft tissue in the high-energy beam behind 10 to 20 g/cm2; what it is wrong by, s takes over."""
_ITERATIONS, _FEW_ITERATIONS = 2, 1
_LITTLE = 0.02
"""Share of a pixel's signal below which what one iteration leaves is a ten-thousandth."""
LEAST_SIGNAL = 6e-6  # 12 nepers


@dataclass(frozen=True)
class StraySignal:
    """Parameters of equation (1); all 0: there is none.

    Attributes:
        dark_high: constant signal in the high-energy phase, as a share of the open beam in the air segment.
        dark_low: the same in the low-energy phase.
        glare: share of all signal that arrives spread.
        glare_sigma_mm: standard deviation of that spread.
        scatter_to_primary: behind 20 g/cm2 of body.
        scatter_sigma_mm: how far scattered photons spread.
        blur_rows: share of a pixel's signal that the pixels above and below it receive, each.
        blur_columns: the same of those left and right of it.
    """

    dark_high: float = 0.0
    dark_low: float = 0.0
    glare: float = 0.0
    glare_sigma_mm: float = 50.0
    scatter_to_primary: float = 0.0
    scatter_sigma_mm: float = 30.0
    blur_rows: float = 0.0
    blur_columns: float = 0.0

    @property
    def none(self) -> bool:
        """Whether nothing is to be taken off."""
        return not (self.dark_high or self.dark_low or self.blurred or self.spreads)

    @property
    def blurred(self) -> bool:
        """Whether neighbours share their signal."""
        return self.blur_rows > 0 or self.blur_columns > 0

    @property
    def spreads(self) -> bool:
        """Whether there is glare or scatter."""
        return self.glare > 0 or self.scatter_to_primary > 0

    def as_vector(self) -> tuple[float, ...]:
        """The values in the order of the attributes."""
        return dataclasses.astuple(self)


def primary_signal(
    signal: torch.Tensor,
    behind_wheel: torch.Tensor,
    stray: StraySignal,
    air: torch.Tensor,
    pixel_spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """P of equation (1), channel by channel relative to what it reads in the open air.

    Args:
        signal: ``(B, 6, H, W)`` S, each channel divided by what it reads in the open air.
        behind_wheel: ``(6,)`` share of the open beam that passes each channel's segment of the wheel.
        stray: the scanner's.
        air: ``(H, W)`` bool, where P is 1.
        pixel_spacing_mm: distance between rows and between columns.

    Returns:
        ``(B, 6, H, W)``, at least exp(-12).
    """
    if stray.none:
        return signal
    glare, scatter = (
        (sigma / pixel_spacing_mm[0], sigma / pixel_spacing_mm[1])
        for sigma in (stray.glare_sigma_mm, stray.scatter_sigma_mm)
    )
    parts = signal.clone()
    for channels, dark in ((HIGH_CHANNELS, stray.dark_high), (LOW_CHANNELS, stray.dark_low)):
        offset = (dark / behind_wheel[list(channels)])[None, :, None, None].to(signal)
        own = signal[:, list(channels)] * (1.0 + offset) - offset
        primary = own = _sharpened(own, stray).clamp_min(LEAST_SIGNAL)
        little = stray.scatter_to_primary < _LITTLE and stray.glare < _LITTLE / 10.0
        for _ in range((_FEW_ITERATIONS if little else _ITERATIONS) if stray.spreads else 0):
            if channels == HIGH_CHANNELS:
                areal = areal_density_of(primary[:, :1])
            added = added_signal(primary, areal, stray, glare, scatter)
            # The open air reads 1 whatever is added there: that sets the scale. Where there is none, glare alone does.
            in_air = added[..., air].mean(dim=-1)[..., None, None] if bool(air.any()) else stray.glare
            level = 1.0 - stray.glare + in_air
            primary = ((own * level - added) / (1.0 - stray.glare)).clamp_min(LEAST_SIGNAL)
        parts[:, list(channels)] = primary
    return parts


def added_signal(
    primary: torch.Tensor,
    areal_density_g_cm2: torch.Tensor,
    stray: StraySignal,
    glare_sigma: tuple[float, float],
    scatter_sigma: tuple[float, float],
) -> torch.Tensor:
    """Glare and scatter of equation (1), ``(B, C, H, W)``.

    Args:
        primary: ``(B, C, H, W)`` P.
        areal_density_g_cm2: ``(B, 1, H, W)`` t.
        stray: the scanner's.
        glare_sigma: of the glare's spread, along rows and columns in pixels.
        scatter_sigma: the same of the scatter.
    """
    added = torch.zeros_like(primary)
    if stray.glare > 0:
        added = added + stray.glare * gaussian_blur(primary, glare_sigma)
    if stray.scatter_to_primary > 0:
        ratio = areal_density_g_cm2 * (stray.scatter_to_primary / SCATTER_REFERENCE_G_CM2)
        added = added + gaussian_blur(primary * ratio, scatter_sigma)
    return added


def _sharpened(signal: torch.Tensor, stray: StraySignal) -> torch.Tensor:
    """The blur N undone (van Cittert's iteration)."""
    if not stray.blurred:
        return signal
    sharp = signal
    little = max(stray.blur_rows, stray.blur_columns) < _LITTLE
    for _ in range(_FEW_ITERATIONS if little else _ITERATIONS):
        sharp = sharp + signal - _shared(sharp, stray)
    return sharp


def _shared(signal: torch.Tensor, stray: StraySignal) -> torch.Tensor:
    padded = F.pad(signal, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1] - 2.0 * signal
    columns = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2] - 2.0 * signal
    return signal + stray.blur_rows * rows + stray.blur_columns * columns


def areal_density_of(primary_high: torch.Tensor) -> torch.Tensor:
    """About how much lies in the beam, g/cm2, by the signal of its high-energy phase relative to the open air."""
    return -torch.log(primary_high.clamp(LEAST_SIGNAL, 1.0)) / HIGH_ENERGY_CM2_G
