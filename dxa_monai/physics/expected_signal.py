"""What a scanner's detector is expected to hold behind a body, before photon noise, and how uncertain that is.

The order of the effects is that of the beam: how the body lies, the rays through body, mat and table, what scatters and
spreads, and what the detector makes of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from dxa_monai.physics.acquisition_parameters import AcquisitionParameters
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.physics.disturbance import Disturbance
from dxa_monai.physics.forward import gaussian_blur, transmitted_images
from dxa_monai.physics.imaging import add_glare, add_scatter, displaced
from dxa_monai.physics.scan_passes import seen_in_passes
from dxa_monai.physics.subpixels import pixel_parts
from dxa_monai.physics.table_and_mat import stack_amounts, stack_attenuation, stacks
from dxa_monai.scan.format import CHANNELS, SEGMENTS


def expected_signal(
    parameters: AcquisitionParameters,
    areal_density: torch.Tensor,
    materials: tuple[str, ...],
    disturbance: Disturbance,
    with_variance: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Expected signal of the six channels and its variance.

    Args:
        parameters: the scanner.
        areal_density: ``(B, M, H, W)`` g/cm2.
        materials: of the M channels.
        disturbance: random effects; its shapes fit.
        with_variance: whether the variance is wanted.

    Returns:
        ``(B, 6, H, W)`` relative to the open beam, and its variance times ``photons_per_pixel`` (empty unless wanted).
    """
    motion = disturbance.motion_mm
    if motion is not None:
        motion = motion / motion.new_tensor(parameters.pixel_spacing_mm)
    body = seen_in_passes(areal_density, parameters.passes, parameters.fan_magnification, motion)
    images = _transmitted(parameters, body, materials, disturbance, with_variance)

    scatter_sigma = parameters.in_pixels(parameters.scatter_spread_mm)
    images = add_scatter(images, body.sum(dim=1, keepdim=True), parameters.scatter_to_primary, scatter_sigma)
    images = add_glare(images, parameters.scatter_fraction, parameters.in_pixels(parameters.scatter_sigma_mm))
    images = gaussian_blur(images, parameters.in_pixels(parameters.blur_sigma_mm))
    images = _low_energy_displaced(images, parameters)

    signal, variance = images[:, : len(CHANNELS)], images[:, len(CHANNELS) :]
    if parameters.dark_signal > 0:
        signal = signal + parameters.dark_signal
    for gain in _gains(disturbance):
        gain = gain.to(signal)
        signal, variance = signal * gain, variance * gain[:, : variance.shape[1]] ** 2
    return signal, variance


def _transmitted(
    parameters: AcquisitionParameters,
    body: torch.Tensor,
    materials: tuple[str, ...],
    disturbance: Disturbance,
    with_variance: bool,
) -> torch.Tensor:
    """Signal of the rays of each pixel ``(B, 6, H, W)``, and then its variance if wanted."""
    attenuation, weights = _beam_tensors(parameters, materials, body.dtype, body.device)
    if not with_variance:
        weights = weights[:, : len(CHANNELS)]
    batch, _, rows, columns = body.shape
    amounts = stack_amounts(parameters, columns, disturbance.mat_g_cm2)
    if amounts is not None:
        amounts = amounts.to(body).expand(batch, -1, rows, -1)
    signals = []
    for part, density in pixel_parts(body, parameters.subpixels):
        if amounts is not None:
            density = torch.cat((density, amounts[..., part :: parameters.subpixels[1]]), dim=1)
        signals.append(transmitted_images(density, attenuation, weights))
    return torch.stack(signals).mean(dim=0)


def _low_energy_displaced(images: torch.Tensor, parameters: AcquisitionParameters) -> torch.Tensor:
    """Images whose low-energy channels see the scene displaced."""
    rows_mm, columns_mm = parameters.energy_shift_mm
    if rows_mm == columns_mm == 0:
        return images
    shift = (rows_mm / parameters.pixel_spacing_mm[0], columns_mm / parameters.pixel_spacing_mm[1])
    # High and low energy take turns, in the signal and in its variance.
    return torch.stack((images[:, 0::2], displaced(images[:, 1::2], shift)), dim=2).flatten(1, 2)


def _gains(disturbance: Disturbance) -> list[torch.Tensor]:
    """Gains that broadcast to ``(B, 6, H, W)``, with six channels or one."""
    gains = []
    if disturbance.row_gain is not None:
        gains.append(disturbance.row_gain.repeat(1, len(SEGMENTS), 1)[..., None])
    if disturbance.column_gain is not None:
        gains.append(disturbance.column_gain[:, None, None])
    return gains


@lru_cache(maxsize=16)
def _beam_tensors(
    parameters: AcquisitionParameters, materials: tuple[str, ...], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """``(M + K, E)`` attenuation of materials and of table and mat, ``(E, 12)`` weights: signal, then variance."""
    response = parameters.response()
    coefficients = [mass_attenuation_cm2_g(name, response.energy_kev) for name in materials]
    coefficients += [stack_attenuation(stack, response.energy_kev) for stack in stacks(parameters)]
    weights = np.concatenate((response.signal_weights, response.variance_weights), axis=1)
    # Made outside of any inference mode: the tensors are kept, and those of inference mode cannot be differentiated.
    with torch.inference_mode(False):
        attenuation = torch.tensor(np.stack(coefficients), dtype=dtype, device=device)
        return attenuation, torch.tensor(weights, dtype=dtype, device=device)
