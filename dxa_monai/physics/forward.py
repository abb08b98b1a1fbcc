"""The X-ray beam through the body, as pure differentiable functions of tensors.

With areal densities a_m (g/cm2), mass attenuation coefficients mu_m(E) (cm2/g) and detector weights w_c(E), the
expected signal of channel c is

    I_c = sum_E w_c(E) exp(-sum_m a_m mu_m(E))                                      (1, polychromatic Beer-Lambert)

and a raw scan holds -ln I_c.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch


def transmitted_signal(
    areal_density: torch.Tensor, mass_attenuation: torch.Tensor, detector_weights: torch.Tensor
) -> torch.Tensor:
    """Expected signal behind the body, equation (1).

    Args:
        areal_density: ``(N, M)`` g/cm2 of M materials in N pixels.
        mass_attenuation: ``(M, E)`` cm2/g.
        detector_weights: ``(E, C)`` what each energy adds to each channel's signal without a body.

    Returns:
        ``(N, C)``, of the dtype and on the device of the arguments.
    """
    return torch.exp(-(areal_density @ mass_attenuation)) @ detector_weights


def transmitted_images(
    areal_density: torch.Tensor, mass_attenuation: torch.Tensor, detector_weights: torch.Tensor
) -> torch.Tensor:
    """:func:`transmitted_signal` of every pixel of maps ``(B, M, H, W)``, as images ``(B, C, H, W)``."""
    batch, materials, rows, columns = areal_density.shape
    pixels = areal_density.movedim(1, -1).reshape(-1, materials)
    if torch.is_grad_enabled() and areal_density.requires_grad:
        # Empty pixels have a gradient too (an optimiser may want to fill them), so nothing is skipped.
        values = transmitted_signal(pixels, mass_attenuation, detector_weights)
    else:
        # About half of a scan is air, which is computed once: the last row.
        body = pixels.any(dim=1)
        occupied = torch.cat((pixels[body], pixels.new_zeros(1, materials)))
        computed = transmitted_signal(occupied, mass_attenuation, detector_weights)
        values = computed[-1].repeat(len(pixels), 1)
        values[body] = computed[:-1]
    return values.reshape(batch, rows, columns, -1).movedim(-1, 1)


def log_attenuation(
    areal_density: torch.Tensor, mass_attenuation: torch.Tensor, detector_weights: torch.Tensor
) -> torch.Tensor:
    """Noise-free log attenuation in nepers ``(N, C)``, -ln of :func:`transmitted_signal` (same arguments)."""
    return -torch.log(transmitted_signal(areal_density, mass_attenuation, detector_weights))


def add_quantum_noise(signal: torch.Tensor, variance: torch.Tensor, standard_normal: torch.Tensor) -> torch.Tensor:
    """A noisy signal: expected value plus the photon noise of an energy-integrating detector.

    The sum of the energies of a Poisson number of photons (a compound Poisson variable) has the variance
    sum_E n(E) E^2. It is drawn from the normal distribution with that variance, which holds from about 20 detected
    photons on. Below, the true distribution is skewed, and the normal one may reach zero or less.

    Args:
        signal: expected signal, any shape.
        variance: variance of the signal, same shape.
        standard_normal: draws from N(0, 1), same shape.
    """
    # The square root has no finite slope at 0, which a very thick absorber reaches by underflow.
    return signal + variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt() * standard_normal


def gaussian_blur(image: torch.Tensor, sigma_pixels: tuple[float, float]) -> torch.Tensor:
    """Convolution with a normalised Gaussian along rows and columns; the image goes on beyond its edges unchanged.

    Args:
        image: ``(B, C, H, W)``.
        sigma_pixels: standard deviation along H and along W; the kernel reaches four of them. 0 leaves an axis alone.
    """
    for axis, sigma in zip((2, 3), sigma_pixels, strict=True):
        if sigma > 0:
            image = along_axis(image, axis, _blur_matrix(image.shape[axis], sigma, image.dtype, image.device))
    return image


@lru_cache(maxsize=64)
def _blur_matrix(length: int, sigma_pixels: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """``(L, L)`` matrix of the blur of one axis; small, and exact at the edges by construction."""
    # What is made in inference mode may not be used with a gradient later.
    with torch.inference_mode(False), torch.no_grad():
        radius = max(1, round(4.0 * sigma_pixels))
        offsets = torch.arange(-radius, radius + 1, device=device)
        kernel = torch.exp(-0.5 * (offsets.to(dtype) / sigma_pixels) ** 2)
        kernel = kernel / kernel.sum()
        # Pixel i takes kernel[k] of pixel i + offsets[k]; beyond the edge that is the edge pixel.
        positions = torch.arange(length, device=device)[:, None]
        sources = (positions + offsets).clamp(0, length - 1)
        matrix = torch.zeros(length, length, dtype=dtype, device=device)
        return matrix.scatter_add_(1, sources, kernel.expand(length, -1))


def along_axis(image: torch.Tensor, axis: int, matrix: torch.Tensor) -> torch.Tensor:
    """Each line of an image along an axis of length L, multiplied by a matrix ``(L', L)``."""
    if axis in (image.ndim - 1, -1):
        return image @ matrix.T
    if axis in (image.ndim - 2, -2):
        return matrix @ image
    return (image.movedim(axis, -1) @ matrix.T).movedim(-1, axis)


def shift_matrix(length: int, shift: float) -> torch.Tensor:
    """``(L, L)`` float64: pixel i takes the interpolated value at i - shift; beyond an edge its pixel goes on.

    The kernel is that of Catmull and Rom, cubic convolution with a = -1/2 [1].

    References:
        [1] Keys: Cubic convolution interpolation for digital image processing. IEEE Trans ASSP 29, 1153 (1981).
            doi:10.1109/TASSP.1981.1163711
    """
    whole = math.floor(-shift)
    t = -shift - whole
    # Weights of the pixels whole - 1, whole, whole + 1, whole + 2.
    kernel = torch.tensor(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1.0 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2.0 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ],
        dtype=torch.float64,
    )
    sources = torch.arange(length)[:, None] + whole + torch.arange(-1, 3)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    return matrix.scatter_add_(1, sources.clamp(0, length - 1), kernel.expand(length, -1))
