"""The X-ray beam through the body, as pure differentiable functions of tensors.

With areal densities a_m (g/cm2), mass attenuation coefficients mu_m(E) (cm2/g) and detector weights w_c(E), the
expected signal of channel c is

    I_c = sum_E w_c(E) exp(-sum_m a_m mu_m(E))                                      (1, polychromatic Beer-Lambert)

and a raw scan holds -ln I_c.
"""

from __future__ import annotations

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
            image = _blur_axis(image, axis, sigma)
    return image


def _blur_axis(image: torch.Tensor, axis: int, sigma_pixels: float) -> torch.Tensor:
    """One axis as a product with the ``(L, L)`` matrix of the blur; small, and exact at the edges by construction."""
    length = image.shape[axis]
    radius = max(1, round(4.0 * sigma_pixels))
    offsets = torch.arange(-radius, radius + 1, device=image.device)
    kernel = torch.exp(-0.5 * (offsets.to(image.dtype) / sigma_pixels) ** 2)
    kernel = kernel / kernel.sum()
    # Pixel i takes kernel[k] of pixel i + offsets[k]; beyond the edge that is the edge pixel.
    positions = torch.arange(length, device=image.device)[:, None]
    sources = (positions + offsets).clamp(0, length - 1)
    matrix = image.new_zeros(length, length).scatter_add_(1, sources, kernel.expand(length, -1))
    return (image.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
