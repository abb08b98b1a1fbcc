"""Point clouds that stand for bodies, and encoders small enough for a test."""

from __future__ import annotations

from typing import Any

import torch

TINY_POINTNET2: dict[str, Any] = {
    "levels": [
        {"centres": 24, "radii_m": [0.3], "neighbours": [8], "channels": [[8, 8]]},
        {"centres": 8, "radii_m": [0.5, 0.9], "neighbours": [4, 8], "channels": [[8], [8, 8]]},
    ],
    "global_channels": [16],
    "head_channels": [16],
}
"""A single-scale and a multi-scale level."""
TINY_POINTNET: dict[str, Any] = {
    "first_channels": [8],
    "channels": [8, 16],
    "transform_channels": [8, 16],
    "transform_body_channels": [8],
    "head_channels": [16],
}


def ellipsoids(count: int = 3, points: int = 100, seed: int = 0) -> torch.Tensor:
    """Points and normals, ``(count, 6, points)``, on ellipsoids 1.6 m high that become wider from one to the next."""
    directions = torch.randn(count, 3, points, generator=torch.Generator().manual_seed(seed))
    directions = directions / directions.norm(dim=1, keepdim=True)
    half = torch.stack([torch.linspace(0.3, 0.6, count), torch.linspace(0.1, 0.2, count), torch.full((count,), 0.8)], 1)
    normals = directions / half[..., None]
    return torch.cat([directions * half[..., None], normals / normals.norm(dim=1, keepdim=True)], dim=1)


def shuffled(points: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """The same bodies with their points listed in another order."""
    return points[..., torch.randperm(points.shape[-1], generator=torch.Generator().manual_seed(seed))]


def moved(points: torch.Tensor, shift_m: tuple[float, float, float]) -> torch.Tensor:
    """The same bodies standing elsewhere."""
    return torch.cat([points[:, :3] + torch.tensor(shift_m)[:, None], points[:, 3:]], dim=1)


def scaled(points: torch.Tensor, factor: float) -> torch.Tensor:
    """Bodies of the same shape and another size."""
    return torch.cat([points[:, :3] * factor, points[:, 3:]], dim=1)
