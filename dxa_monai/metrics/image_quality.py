"""Image quality of reconstructed raw scans, one number a scan: PSNR, SSIM and NMAE, the columns of the paper's table 1.

Pixels are fractions of full scale: 1.0 = 16383 counts = 12 nepers, the data range of PSNR and SSIM. All six channels
and all pixels count, background included, and predictions are not clamped. Every function takes the prediction and
the target as ``(B, 6, H, W)`` and gives ``(B,)``; NaN in a scan gives NaN for that scan alone.
"""

from __future__ import annotations

import torch
from monai.metrics import MAEMetric, PSNRMetric, SSIMMetric

DATA_RANGE = 1.0
SSIM_WINDOW_PIXELS = 11
SSIM_SIGMA_PIXELS = 1.5
"""Window of SSIM in Wang et al., IEEE Trans. Image Process. 13:600 (2004), doi:10.1109/TIP.2003.819861."""


def psnr_db(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio, ``-10 log10(MSE)`` dB, the mean squared error over all six channels together.

    Args:
        prediction: ``(B, 6, H, W)``.
        target: ``(B, 6, H, W)``.

    Returns:
        ``(B,)`` in dB; infinite where prediction and target are identical.

    Raises:
        ValueError: the shapes differ.
    """
    return _per_scan(PSNRMetric(max_val=DATA_RANGE), prediction, target)


def ssim(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Structural similarity, averaged over pixels and channels; 1 where prediction and target are identical.

    The window is a Gaussian of 11 x 11 pixels, sigma 1.5 pixels (so 20 x 9 mm: pixels are not square), K1 = 0.01,
    K2 = 0.03, data range 1.0. Windows that leave the image are not used. On scans that are mostly smooth and far below
    full scale the constants dominate, and SSIM comes out close to 1: read it beside the two others.

    Args:
        prediction: ``(B, 6, H, W)``, sides of at least 11 pixels.
        target: ``(B, 6, H, W)``.

    Returns:
        ``(B,)``, at most 1.

    Raises:
        ValueError: the shapes differ or are not four-dimensional.
    """
    metric = SSIMMetric(
        spatial_dims=2, data_range=DATA_RANGE, win_size=SSIM_WINDOW_PIXELS, kernel_sigma=SSIM_SIGMA_PIXELS
    )
    return _per_scan(metric, prediction, target)


def nmae(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Normalised mean absolute error, ``sum |prediction - target| / sum |target|`` over channels and pixels of a scan.

    The paper reports NMAE without a definition. This one does not depend on the unit of the pixels and weighs every
    pixel alike; division by the data range instead could not give the paper's 0.038 at 49.5 dB. It does depend on the
    scanner's zero, which the denominator holds in every pixel: compare it among scans of one scanner.

    Args:
        prediction: ``(B, 6, H, W)``.
        target: ``(B, 6, H, W)``.

    Returns:
        ``(B,)``, 0 where prediction and target are identical; NaN or infinite where a target is zero everywhere.

    Raises:
        ValueError: the shapes differ.
    """
    error = _per_scan(MAEMetric(), prediction, target)
    return error / _per_scan(MAEMetric(), torch.zeros_like(target), target)


def _per_scan(
    metric: PSNRMetric | SSIMMetric | MAEMetric, prediction: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    # float64: near 50 dB, squared errors are 1e-5 of full scale squared and are summed over 98,100 pixels
    values = metric(prediction.double(), target.double())
    return torch.as_tensor(values)[:, 0]
