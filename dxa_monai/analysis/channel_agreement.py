"""How far a scan's six channels are from what fat, lean tissue and bone mineral explain on a scanner."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.spread import every_so_many

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

_MISFIT_PIXELS = 3000


def channel_differences(
    nepers: FloatArray, areal_density_g_cm2: FloatArray, model: ScannerModel
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What six channels read beyond what they should, and the variance of it by photons alone.

    Args:
        nepers: ``(N, 6)`` as read.
        areal_density_g_cm2: ``(N, 3)`` fat, lean and bone mineral.
        model: the scanner.

    Returns:
        Nepers ``(N, 6)`` and their variances ``(N, 6)``.
    """
    attenuation, signal_weights, variance_weights = (
        tensor.numpy() for tensor in model.tensors(torch.float64, torch.device("cpu"))
    )
    transmission = np.exp(-areal_density_g_cm2.astype(np.float64) @ attenuation)
    signal = transmission @ signal_weights
    relative_variance = transmission @ variance_weights / signal**2
    # The logarithm of a noisy signal lies above that of its mean by half of the relative variance.
    return nepers - relative_variance / 2.0 + np.log(signal), relative_variance


def mineral_noise_g_cm2(areal_density_g_cm2: FloatArray, model: ScannerModel) -> npt.NDArray[np.float64]:
    """Standard deviation of bone mineral by photons alone, where lean tissue and mineral are solved for.

    With J the derivatives of the six channels by both, and V their variances, that of both is the inverse of J' V^-1 J.

    Args:
        areal_density_g_cm2: ``(N, 3)`` fat, lean and bone mineral.
        model: the scanner.

    Returns:
        ``(N,)``.
    """
    attenuation, signal_weights, variance_weights = (
        tensor.numpy() for tensor in model.tensors(torch.float64, torch.device("cpu"))
    )
    transmission = np.exp(-areal_density_g_cm2.astype(np.float64) @ attenuation)
    signal = transmission @ signal_weights
    variance = transmission @ variance_weights / signal**2
    lean, mineral = (transmission @ (signal_weights * attenuation[index][:, None]) / signal for index in (1, 2))
    both = (lean * mineral / variance).sum(axis=-1)
    of_lean, of_mineral = ((one**2 / variance).sum(axis=-1) for one in (lean, mineral))
    return np.asarray(np.sqrt(of_lean / (of_lean * of_mineral - both**2)))


def channel_misfit_nepers(
    raw: torch.Tensor, areal_density_g_cm2: FloatArray, soft: BoolArray, model: ScannerModel
) -> float:
    """How far the six channels are from what two unknowns explain: rms over channels of the mean over soft pixels.

    The mean is weighted by the inverse variance of the photons' noise, which averages out; what is left is a wrong
    model of the scanner.

    Args:
        raw: ``(6, H, W)`` in [0, 1].
        areal_density_g_cm2: ``(3, H, W)``.
        soft: ``(H, W)`` bool, the pixels to compare.
        model: the scanner.
    """
    some = every_so_many(int(soft.sum()), _MISFIT_PIXELS)
    values = raw.double().cpu().numpy()[:, soft].T[some] * model.full_scale_nepers
    difference, relative_variance = channel_differences(values, areal_density_g_cm2[:, soft].T[some], model)
    mean = (difference / relative_variance).sum(axis=0) / (1.0 / relative_variance).sum(axis=0)
    return float(np.sqrt((mean**2).mean()))
