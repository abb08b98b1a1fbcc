"""From the signal of single rays to the images of a detector: scatter, veiling glare, and two energies out of step.

All act on the photons' field, so on images of the signal and of its variance alike.
"""

from __future__ import annotations

import torch

from dxa_monai.physics.forward import along_axis, gaussian_blur, shift_matrix

SCATTER_REFERENCE_G_CM2 = 20.0
"""Areal density behind which the ratio of scatter to primary is stated: the trunk of an adult."""


def add_scatter(
    images: torch.Tensor, body_g_cm2: torch.Tensor, scatter_to_primary: float, sigma_pixels: tuple[float, float]
) -> torch.Tensor:
    """Primary and scattered signal.

    The body scatters ``scatter_to_primary * a / 20 g/cm2`` of the primary signal P behind the areal density a, and this
    share arrives spread by a Gaussian G:

        I = P + G[P r a / a_0]

    Args:
        images: ``(B, C, H, W)`` primary signal.
        body_g_cm2: ``(B, 1, H, W)`` areal density of all that scatters.
        scatter_to_primary: r, the ratio behind :data:`SCATTER_REFERENCE_G_CM2`.
        sigma_pixels: standard deviation of G along rows and columns.
    """
    if scatter_to_primary == 0:
        return images
    scattered = images * (body_g_cm2 * (scatter_to_primary / SCATTER_REFERENCE_G_CM2))
    return images + gaussian_blur(scattered, sigma_pixels)


def add_glare(images: torch.Tensor, fraction: float, sigma_pixels: tuple[float, float]) -> torch.Tensor:
    """Veiling glare: a fraction of the signal arrives spread by a Gaussian instead of in its own pixel."""
    if fraction == 0:
        return images
    return (1.0 - fraction) * images + fraction * gaussian_blur(images, sigma_pixels)


def displaced(images: torch.Tensor, shift_pixels: tuple[float, float]) -> torch.Tensor:
    """Images displaced towards higher rows and columns; the cubic interpolation of their logarithm.

    The logarithm is interpolated since it is what a scan holds, and smoother than the signal. Edge pixels go on beyond
    the edge.

    Args:
        images: ``(B, C, H, W)``, positive.
        shift_pixels: along rows and columns.
    """
    if not any(shift_pixels):
        return images
    logarithm = torch.log(images.clamp_min(torch.finfo(images.dtype).tiny))
    for axis, shift in zip((2, 3), shift_pixels, strict=True):
        if shift != 0:
            logarithm = along_axis(logarithm, axis, shift_matrix(images.shape[axis], shift).to(images))
    return torch.exp(logarithm)
