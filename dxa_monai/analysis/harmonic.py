"""Filling holes of an image smoothly: the harmonic continuation of what is known."""

from __future__ import annotations

from typing import Any

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
    ``values``. The gradient is that of the solution, not of the iteration: Laplace's matrix is symmetric, so it is
    another solution of the same kind, with the gradient as its source (Poisson's equation).

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
    with torch.no_grad():
        start = _block_means(values, known.to(values.dtype)) if start is None else start
    filled: torch.Tensor = _HarmonicFill.apply(values, known, domain, pixel_spacing_mm, start, iterations)
    return filled


class _HarmonicFill(torch.autograd.Function):
    """With K the known and U the unknown pixels, w the neighbours' weights and d their sum at each pixel: solves

    d_u f_u - sum_v w_uv f_v = sum_k w_uk f_k        and backwards        d_u z_u - sum_v w_uv z_v = g_u,

    of which known pixels get the gradient g_k + sum_u w_ku z_u.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        known: torch.Tensor,
        domain: torch.Tensor,
        pixel_spacing_mm: tuple[float, float],
        start: torch.Tensor,
        iterations: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(known, domain)
        ctx.how = (pixel_spacing_mm, iterations)
        return _iterated(
            values, torch.where(known, values, start) * domain, known, domain, pixel_spacing_mm, iterations
        )

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        known, domain = ctx.saved_tensors
        pixel_spacing_mm, iterations = ctx.how
        gradient = gradients[0]
        nothing = torch.zeros_like(gradient)
        unknown = domain & ~known
        degree = _neighbour_sum(domain.to(gradient.dtype), pixel_spacing_mm)
        source = torch.where(unknown, gradient / degree.clamp_min(1e-9), nothing)
        # A constant would come through too slowly where nothing is known near by: begun where the sources alone lead.
        z = _iterated(source, nothing, known, domain, pixel_spacing_mm, iterations)
        return torch.where(known, gradient + _neighbour_sum(z, pixel_spacing_mm), nothing), None, None, None, None, None


def _iterated(
    source: torch.Tensor,
    start: torch.Tensor,
    known: torch.Tensor,
    domain: torch.Tensor,
    pixel_spacing_mm: tuple[float, float],
    iterations: int,
) -> torch.Tensor:
    """x = source + mean of the neighbours' x at the unknown pixels, x = source elsewhere, after so many iterations.

    Images lie in one row of memory with a border of zeros, so a neighbour is a constant step away and nothing is
    copied.
    """
    rows, columns = source.shape[-2:]
    wide = columns + 2
    inner = slice(wide + 1, rows * wide + columns + 1)
    sides = [slice(inner.start + step, inner.stop + step) for step in (-1, 1, -wide, wide)]

    def flat(image: torch.Tensor) -> torch.Tensor:
        return F.pad(image, (1, 1, 1, 1)).flatten(2)

    vertical, horizontal = (1.0 / spacing**2 for spacing in pixel_spacing_mm)
    unknown = (domain & ~known).to(source.dtype)
    share = horizontal * unknown / _neighbour_sum(domain.to(source.dtype), pixel_spacing_mm).clamp_min(1e-9)
    source, share = flat(source)[..., inner], flat(share)[..., inner]
    current = flat(start)
    previous = current.clone()
    omega = 1.0
    for step in range(iterations):
        left, right, above, below = (current[..., side] for side in sides)
        around = (left + right).add_(above + below, alpha=vertical / horizontal)
        previous[..., inner].lerp_(torch.addcmul(source, around, share), omega)
        current, previous = previous, current
        omega = 1.0 / (1.0 - _SPECTRAL_RADIUS**2 * (0.5 if step == 0 else 0.25 * omega))
    return current.unflatten(2, (rows + 2, wide))[..., 1:-1, 1:-1].contiguous()


def _neighbour_sum(image: torch.Tensor, pixel_spacing_mm: tuple[float, float]) -> torch.Tensor:
    vertical, horizontal = (1.0 / spacing**2 for spacing in pixel_spacing_mm)
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
