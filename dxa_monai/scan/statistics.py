"""Statistics of the raw scans of a training split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.energy_basis import EnergyBasis
from dxa_monai.scan.moments import scan_moments
from dxa_monai.scan.source import ScanSource


def image_statistics(rows: Iterable[Mapping[str, Any]], source: ScanSource) -> tuple[torch.Tensor, float]:
    """Mean image, float32 ``(6, H, W)`` in [0, 1], and how far a pixel lies from it, see
    :func:`dxa_monai.scan.moments.scan_moments`."""
    moments = scan_moments(rows, source)
    return moments.mean_image, moments.deviation


def mirrored_mean(mean_image: torch.Tensor) -> torch.Tensor:
    """The mean of scans and of their mirror images, left and right exchanged."""
    return (mean_image + mean_image.flip(-1)) / 2.0


def principal_components(
    rows: Iterable[Mapping[str, Any]],
    mean_image: torch.Tensor,
    count: int,
    source: ScanSource,
    basis: EnergyBasis | None = None,
    mirrored: bool = False,
    copies: Callable[[torch.Tensor, int], Sequence[torch.Tensor]] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The directions in which scans differ most from their mean, by the eigenvectors of their Gram matrix.

    With mirror images as further scans the components fall apart into those that are alike on both sides and those that
    are opposite, because the sum of an image and its mirror image is orthogonal to their difference: two Gram matrices
    as large as without mirror images say all.

    All scans are held in memory, 0.4 MB each (a third in a basis of two directions).

    Args:
        rows: manifest rows with a ``scan`` path.
        mean_image: ``(6, H, W)``, from :func:`image_statistics` of the same rows; of ``mirrored`` scans
            :func:`mirrored_mean` of it.
        count: number of components.
        source: how the scans are read.
        basis: the directions of a pixel in which distances are taken; None: the six channels as they are.
        mirrored: whether each scan's mirror image counts as a scan, too.
        copies: what else counts as a scan, as many for each, of an image ``(6, H, W)`` and its number among the rows;
            None: nothing.

    Returns:
        Orthonormal components, float32 ``(count, D, H, W)`` with D the directions of the basis or the six channels, by
        decreasing variance, each with its largest pixel positive; and the standard deviation of the scans along each,
        ``(count,)``.

    Raises:
        InputError: there are not more scans (mirror images and copies included) than components.
    """
    shape = mean_image.shape if basis is None else (len(basis.analysis), *mean_image.shape[1:])
    if count == 0:
        return mean_image.new_zeros(0, *shape), mean_image.new_ones(0)
    paths = [row["scan"] for row in rows]
    deviations = torch.empty(0)
    if not paths:
        _refuse_few(0, count, mirrored)
    for index, path in enumerate(paths):
        image = source.image(path)
        images = [image, *(() if copies is None else copies(image, index))]
        if index == 0:
            _refuse_few(len(paths) * len(images), count, mirrored)
            deviations = torch.empty(len(paths) * len(images), *shape)
        for place, each in enumerate(images, start=index * len(images)):
            deviation = each - mean_image
            deviations[place] = deviation if basis is None else basis.directions_of(deviation)
    halves = [deviations]
    if mirrored:
        halves = [(deviations + deviations.flip(-1)) / 2.0, (deviations - deviations.flip(-1)) / 2.0]
    found = [leading_components(half.flatten(1), count) for half in halves]
    variances = torch.cat([variance for variance, _ in found])
    largest = torch.argsort(variances, descending=True)[:count]
    components = torch.cat([each for _, each in found])[largest]
    signs = components.gather(1, components.abs().argmax(dim=1, keepdim=True)).sign()
    return (components * signs).reshape(count, *shape), variances[largest].sqrt().float()


def _refuse_few(images: int, count: int, mirrored: bool) -> None:
    scans = images * (2 if mirrored else 1)
    if scans <= count:
        raise InputError(f"training split: expected more than {count} scans for {count} components, got {scans}.")


def leading_components(deviations: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Variances, decreasing, and orthonormal components ``(K, N)`` of images ``(scans, N)``, at most ``count``."""
    eigenvalues, eigenvectors = torch.linalg.eigh((deviations @ deviations.T).double())
    largest = torch.argsort(eigenvalues, descending=True)[:count]
    squares = eigenvalues[largest].clamp(min=torch.finfo(torch.float32).tiny)
    components = (eigenvectors[:, largest] / squares.sqrt()).float().T @ deviations
    return squares / len(deviations), components
