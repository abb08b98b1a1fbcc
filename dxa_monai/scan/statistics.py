"""Statistics of the raw scans of a training split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.source import ScanSource


def image_statistics(rows: Iterable[Mapping[str, Any]], source: ScanSource) -> tuple[torch.Tensor, float]:
    """Mean scan, and how far a pixel lies from it.

    Scans are read one at a time, so that a split larger than memory does.

    Args:
        rows: manifest rows with a ``scan`` path.
        source: how the scans are read.

    Returns:
        The mean image, float32 ``(6, H, W)`` in [0, 1], and the root mean square deviation from it over all scans,
        channels and pixels (one number).

    Raises:
        InputError: there is no row, or scans differ in shape.
    """
    total = np.zeros(0)
    squares, count = 0.0, 0
    for row in rows:
        image = counts_to_unit(source.read(row["scan"]).counts).astype(np.float64)
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


def principal_components(
    rows: Iterable[Mapping[str, Any]], mean_image: torch.Tensor, count: int, source: ScanSource
) -> tuple[torch.Tensor, torch.Tensor]:
    """The directions in which scans differ most from their mean, by the eigenvectors of their Gram matrix.

    All scans are held in memory, 0.4 MB each.

    Args:
        rows: manifest rows with a ``scan`` path.
        mean_image: ``(6, H, W)``, from :func:`image_statistics` of the same rows.
        count: number of components.
        source: how the scans are read.

    Returns:
        Orthonormal components, float32 ``(count, 6, H, W)``, by decreasing variance, each with its largest pixel
        positive; and the standard deviation of the scans along each, ``(count,)``.

    Raises:
        InputError: there are not more scans than components.
    """
    if count == 0:
        return mean_image.new_zeros(0, *mean_image.shape), mean_image.new_ones(0)
    paths = [row["scan"] for row in rows]
    if len(paths) <= count:
        raise InputError(f"training split: expected more than {count} scans for {count} components, got {len(paths)}.")
    deviations = torch.empty(len(paths), mean_image.numel())
    for index, path in enumerate(paths):
        deviations[index] = (source.image(path) - mean_image).flatten()
    eigenvalues, eigenvectors = torch.linalg.eigh((deviations @ deviations.T).double())
    largest = torch.argsort(eigenvalues, descending=True)[:count]
    singular_values = eigenvalues[largest].clamp(min=torch.finfo(torch.float32).tiny).sqrt()
    components = (eigenvectors[:, largest] / singular_values).float().T @ deviations
    signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
    standard_deviations = (singular_values / len(paths) ** 0.5).float()
    return (components * signs).reshape(count, *mean_image.shape), standard_deviations
