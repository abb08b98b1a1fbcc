"""Filling holes of an image smoothly: the harmonic continuation of what is known."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dxa_monai.scan.format import PIXEL_SPACING_MM

ITERATIONS = 60
_SPECTRAL_RADIUS = 0.995
"""Of Jacobi's iteration in a hole about 30 pixels wide, the skull's; Chebyshev's acceleration needs to know it."""


def harmonic_fill(
    values: torch.Tensor,
    known: torch.Tensor,
    domain: torch.Tensor,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
    start: torch.Tensor | None = None,
    iterations: int = ITERATIONS,
) -> torch.Tensor:
    """Carry values on into the unknown pixels of a domain so that each is the mean of its neighbours.

    Laplace's equation, no flow through the edge of the domain; Jacobi's iteration with Chebyshev's acceleration (Golub
    and Varga 1961, doi:10.1007/BF01386013), begun with the known pixels' means over ever larger blocks. Linear in
    ``values`` and differentiable.

    Args:
        values: ``(B, C, H, W)``; those of unknown pixels do not matter.
        known: ``(B, 1, H, W)`` bool.
        domain: ``(B, 1, H, W)`` bool, holds ``known``.
        pixel_spacing_mm: distance between rows and between columns.
        start: ``(B, C, H, W)`` a guess of the unknown pixels.
        iterations: a rough answer from a near guess needs half as many.

    Returns:
        ``(B, C, H, W)``: ``values`` where known; zero outside of the domain, and where nothing is known at all.
    """
    known = known & domain
    values = torch.where(known, values, torch.zeros_like(values))
    guess = _block_means(values, known.to(values.dtype)) if start is None else start
    current = torch.where(known, values, guess) * domain
    vertical, horizontal = 1.0 / pixel_spacing_mm[0] ** 2, 1.0 / pixel_spacing_mm[1] ** 2
    unknown = (domain & ~known).to(values.dtype)
    share = unknown / _neighbour_sum(domain.to(values.dtype), vertical, horizontal).clamp_min(1e-9)
    previous, omega = current, 1.0
    for step in range(iterations):
        relaxed = torch.addcmul(values, _neighbour_sum(current, vertical, horizontal), share)
        current, previous = torch.lerp(previous, relaxed, omega), current
        omega = 1.0 / (1.0 - _SPECTRAL_RADIUS**2 * (0.5 if step == 0 else 0.25 * omega))
    return current


def _neighbour_sum(image: torch.Tensor, vertical: float, horizontal: float) -> torch.Tensor:
    padded = F.pad(image, (1, 1, 1, 1))
    rows = padded[:, :, :-2, 1:-1] + padded[:, :, 2:, 1:-1]
    columns = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    return vertical * rows + horizontal * columns


def _block_means(weighted: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Means of the known values in the smallest block of 2, 4, 8, ... pixels that has any."""
    means = weighted / weight.clamp_min(1e-9)
    if max(weight.shape[-2:]) == 1:
        return means
    coarse = _block_means(
        F.avg_pool2d(weighted, 2, ceil_mode=True, count_include_pad=False),
        F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False),
    )
    rows, columns = weighted.shape[-2:]
    spread = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :rows, :columns]
    return torch.where(weight > 0, means, spread)
