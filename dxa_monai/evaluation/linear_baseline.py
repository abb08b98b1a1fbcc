"""The linear baseline of every table of reconstructions: principal components of the training scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import principal_components

PRINCIPAL_ARM = "principal_components"
"""Start of the baseline's name, which the number of components follows."""


def linear_baseline(rows: Sequence[Mapping[str, Any]], mean_image: torch.Tensor, components: int) -> LinearPath | None:
    """Principal components of training scans; None without scans or components.

    Args:
        rows: manifest rows of the training people.
        mean_image: ``(6, H, W)``.
        components: how many.
    """
    if not rows or components == 0:
        return None
    path = LinearPath(components, (mean_image.shape[0], mean_image.shape[1], mean_image.shape[2]))
    path.set_components(*principal_components(rows, mean_image, components, ScanSource()))
    return path


def baseline_name(principal: LinearPath) -> str:
    """``principal_components_K``."""
    return f"{PRINCIPAL_ARM}_{len(principal.deviations)}"


def linear_reconstruction(principal: LinearPath, mean_image: torch.Tensor, scans: torch.Tensor) -> torch.Tensor:
    """Scans ``(B, 6, H, W)`` projected on the principal components, clamped to [0, 1]."""
    return (principal.decode(principal.encode(scans - mean_image)) + mean_image).clamp(0.0, 1.0)
