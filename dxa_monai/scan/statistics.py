"""Statistics of the raw scans of a training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.io import load_scan


def image_statistics(rows: Iterable[Mapping[str, Any]]) -> tuple[torch.Tensor, float]:
    """Mean scan, and how far a pixel lies from it.

    Scans are read one at a time, so that a split larger than memory does.

    Args:
        rows: manifest rows with a ``scan`` path.

    Returns:
        The mean image, float32 ``(6, H, W)`` in [0, 1], and the root mean square deviation from it over all scans,
        channels and pixels (one number).

    Raises:
        InputError: there is no row, or scans differ in shape.
    """
    total = np.zeros(0)
    squares, count = 0.0, 0
    for row in rows:
        image = counts_to_unit(load_scan(row["scan"]).counts).astype(np.float64)
        if count == 0:
            total = np.zeros_like(image)
        elif image.shape != total.shape:
            raise InputError(
                f"{row['scan']}: expected the shape of the scans before it, {total.shape}, got {image.shape}."
            )
        total += image
        squares += float(np.square(image).mean())
        count += 1
    if count == 0:
        raise InputError("training split: expected at least one scan, got none.")
    mean = total / count
    variance = max(squares / count - float(np.square(mean).mean()), 0.0)
    return torch.from_numpy(np.moveaxis(mean, -1, 0).astype(np.float32).copy()), float(np.sqrt(variance))
