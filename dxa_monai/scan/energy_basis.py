r"""The six channels of a pixel as the two numbers that they are: attenuation, and the contrast of the two energies.

Three segments of the wheel times two energies make six channels, but behind thin segments all three say the same twice:
two directions carry all but 70 dB of virtual scans. Fat and lean tissue differ in the second by a few percent of the
first, so what keeps images close keeps fat and lean apart only if that contrast is made to count. With x the deviation
of a pixel's six channels from the mean scan, R the slope of the low-energy reading over the high-energy one, and

.. math:: q = (-R, 1, -R, 1, -R, 1) / \|\cdot\|, \qquad M = 1 + (w - 1) q q^T

the distance \|M x\| counts the contrast w times. C the covariance of x over all pixels and scans, the basis B is the
leading eigenvectors of M C M; analysis B M and synthesis M^{-1} B^T take pixels there and back. Pixels may have weights
besides, so that the contrast of some counts more often than that of others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import HIGH_CHANNELS, LOW_CHANNELS
from dxa_monai.scan.moments import ScanMoments

DIRECTIONS = 2
"""As many as there are energies."""
_ROUNDING = 1e-12
"""Of the squares of the readings, that their deviations from the mean have to exceed."""


class EnergyBasis(NamedTuple):
    """Where pixels of six channels lie in a few directions.

    Attributes:
        analysis: ``(D, 6)`` from channels.
        synthesis: ``(6, D)`` to channels.
        pixel_weights: ``(D, H, W)`` positive, by which the pixels of each direction are multiplied; None: by 1.
    """

    analysis: torch.Tensor
    synthesis: torch.Tensor
    pixel_weights: torch.Tensor | None = None

    def directions_of(self, deviations: torch.Tensor) -> torch.Tensor:
        """``(D, H, W)`` of deviations from the mean scan, ``(6, H, W)``, weighted."""
        pixels = (self.analysis @ deviations.flatten(1)).unflatten(1, deviations.shape[1:])
        return pixels if self.pixel_weights is None else self.pixel_weights * pixels

    def weighted(self, contrast: torch.Tensor) -> EnergyBasis:
        """The same with pixels ``(H, W)`` that count so often in the second direction, the energies' contrast.

        Raises:
            InputError: it has not two directions, or a weight is not positive.
        """
        if len(self.analysis) != DIRECTIONS:
            raise InputError(
                f"linear_directions: expected {DIRECTIONS} where pixels count by region, got {len(self.analysis)}."
            )
        if not bool(((contrast > 0) & torch.isfinite(contrast)).all()):
            raise InputError("weights of pixels: expected positive numbers, got one that is not.")
        return self._replace(pixel_weights=torch.stack([torch.ones_like(contrast), contrast]))


def energy_basis(
    moments: ScanMoments,
    mean_image: torch.Tensor,
    contrast_weight: float = 1.0,
    directions: int = DIRECTIONS,
) -> EnergyBasis:
    """The basis of the scans of a training split.

    Args:
        moments: of the scans (:func:`dxa_monai.scan.moments.scan_moments`).
        mean_image: ``(6, H, W)``, from which they deviate: their mean, or that of their mirror images, too.
        contrast_weight: w, how often the contrast of the energies counts; 1: as much as any other direction.
        directions: D, one to six.

    Raises:
        InputError: a number is out of its range, or the scans do not differ from their mean.
    """
    channels = len(mean_image)
    if not 1 <= directions <= channels:
        raise InputError(f"linear_directions: expected 1 to {channels}, got {directions}.")
    if not 0.0 < contrast_weight < float("inf"):
        raise InputError(f"contrast_weight: expected a positive number, got {contrast_weight}.")
    covariance = moments.covariance(mean_image)
    if not float(covariance.trace()) > _ROUNDING * float(moments.products.trace()):
        raise InputError(
            f"training split: expected scans that differ from their mean, got {moments.scans} that do not."
        )
    high, low = HIGH_CHANNELS[0], LOW_CHANNELS[0]
    slope = covariance[low, high] / covariance[high, high]
    contrast = torch.zeros(channels, dtype=torch.float64)
    contrast[list(HIGH_CHANNELS)], contrast[list(LOW_CHANNELS)] = -slope, 1.0
    contrast = contrast / contrast.norm()
    metric = torch.eye(channels, dtype=torch.float64) + (contrast_weight - 1.0) * torch.outer(contrast, contrast)
    _, vectors = torch.linalg.eigh(metric @ covariance @ metric)
    basis = vectors.flip(1)[:, :directions].T
    basis = basis * basis.gather(1, basis.abs().argmax(dim=1, keepdim=True)).sign()
    return EnergyBasis((basis @ metric).float(), (torch.linalg.inv(metric) @ basis.T).float())
