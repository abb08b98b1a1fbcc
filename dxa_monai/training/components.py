"""Principal components of a training split as the linear path of a network."""

from __future__ import annotations

from functools import partial

import torch

from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.normalisation import NormalisesScans
from dxa_monai.scan.energy_basis import energy_basis
from dxa_monai.scan.statistics import mirrored_mean, principal_components
from dxa_monai.training.data import TrainingData
from dxa_monai.training.moved_copies import moved_copies

_SMALLEST_DEVIATION = 1e-6


def fit_components(
    network: NormalisesScans,
    data: TrainingData,
    mirrored: bool,
    contrast_weight: float = 1.0,
    fewer: bool = True,
    copies: int = 0,
    pixel_weights: torch.Tensor | None = None,
) -> None:
    """Set a network's ``linear_path`` to the components of training scans.

    Args:
        network: with normalisation, and a linear path.
        data: of the training.
        mirrored: whether mirror images count as scans, too.
        contrast_weight: see :func:`dxa_monai.scan.energy_basis.energy_basis`.
        fewer: where there are fewer scans than components, leave those beyond empty.
        copies: of each scan, moved, that count as scans, too (:mod:`dxa_monai.training.moved_copies`).
        pixel_weights: ``(H, W)``, how often each pixel's contrast counts besides, alike on both sides; None: once.

    Raises:
        InputError: the scans do not differ, or there are fewer than components where that is not allowed.
    """
    path = network.linear_path
    assert isinstance(path, LinearPath)
    mean_image = mirrored_mean(network.mean_image.cpu()) if mirrored else network.mean_image.cpu()
    basis = energy_basis(data.moments, mean_image, contrast_weight, len(path.analysis)) if path.in_basis else None
    if basis is not None and pixel_weights is not None:
        basis = basis.weighted(pixel_weights)
    rows = data.training_rows
    count = len(path.components)
    if fewer:
        count = min(count, len(rows) * (1 + copies) * (2 if mirrored else 1) - 1)
    more = partial(moved_copies, copies=copies) if copies else None
    found, found_deviations = principal_components(rows, mean_image, count, data.source, basis, mirrored, more)
    components, deviations = torch.zeros_like(path.components.cpu()), torch.ones_like(path.deviations.cpu())
    components[:count] = found
    deviations[:count] = found_deviations / network.standard_deviation.cpu()
    if fewer:  # of mirror images, alike or opposite on both sides, one half may have less to say
        deviations.clamp_min_(_SMALLEST_DEVIATION)
    path.set_components(components, deviations, basis)
