"""First and second moments of the raw scans of a split, of one pass over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.source import ScanSource


class ScanMoments(NamedTuple):
    """First and second moments of scans, of one pass over them.

    Attributes:
        scans: how many there are.
        mean: float64 ``(6, H, W)`` in [0, 1].
        deviation: root mean square deviation from the mean over all scans, channels and pixels.
        products: float64 ``(6, 6)``, the mean product of two channels over all scans and pixels.
    """

    scans: int
    mean: torch.Tensor
    deviation: float
    products: torch.Tensor

    @property
    def mean_image(self) -> torch.Tensor:
        """The mean as float32."""
        return self.mean.float()

    def covariance(self, origin: torch.Tensor) -> torch.Tensor:
        """Mean product of two channels' deviations from an image ``(6, H, W)``, over scans and pixels, ``(6, 6)``."""
        mean, about = self.mean.flatten(1), origin.double().flatten(1)
        mixed = mean @ about.T
        return self.products - (mixed + mixed.T - about @ about.T) / mean.shape[1]


def scan_moments(rows: Iterable[Mapping[str, Any]], source: ScanSource) -> ScanMoments:
    """Moments of the scans of a training split.

    Scans are read one at a time, so that a split larger than memory does.

    Args:
        rows: manifest rows with a ``scan`` path.
        source: how the scans are read.

    Raises:
        InputError: there is no row, or scans differ in shape.
    """
    total, products = np.zeros(0), np.zeros(0)
    count = 0
    for row in rows:
        image = counts_to_unit(source.read(row["scan"]).counts).astype(np.float64)
        if count == 0:
            total, products = np.zeros_like(image), np.zeros((image.shape[-1],) * 2)
        elif image.shape != total.shape:
            raise InputError(
                f"{row['scan']}: expected the shape of the scans before it, {total.shape}, got {image.shape}."
            )
        total += image
        pixels = image.reshape(-1, image.shape[-1])
        products += pixels.T @ pixels / len(pixels)
        count += 1
    if count == 0:
        raise InputError("training split: expected at least one scan, got none.")
    mean, products = total / count, products / count
    variance = max(float(np.trace(products)) / len(products) - float(np.square(mean).mean()), 0.0)
    channels_first = torch.from_numpy(np.moveaxis(mean, -1, 0).copy())
    return ScanMoments(count, channels_first, float(np.sqrt(variance)), torch.from_numpy(products))
