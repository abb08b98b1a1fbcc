"""Sampling and grouping of points in torch's own operators, for networks that leave torch.

:mod:`dxa_monai.networks.grouping` runs PyTorch3D's kernels, which neither TorchScript nor ONNX knows. What is exported
takes these, which give the same indices, bit for bit, and are slow: distances of all pairs for a ball query, a step of
a loop for each sampled point.
"""

from __future__ import annotations

import numpy as np
import torch


def exporting() -> bool:
    """Whether the present call is traced for TorchScript or ONNX."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def stable_argsort(keys: torch.Tensor) -> torch.Tensor:
    """The order that sorts ``(N, P)`` along its rows; equal keys stay in theirs."""
    # ONNX's TopK, which a sort becomes, does so by definition; torch's exporter only does not know the stable sort
    return keys.argsort(dim=1) if torch.compiler.is_exporting() else keys.argsort(dim=1, stable=True)


def plain_farthest_points(points: torch.Tensor, count: int) -> torch.Tensor:
    """As :func:`dxa_monai.networks.grouping.farthest_points` of clouds without padding."""
    x, y, z = points.detach().float().unbind(-1)
    chosen = torch.zeros_like(x[:, :1], dtype=torch.long)
    nearest = torch.full_like(x, float("inf"))
    indices = [chosen]
    for _ in range(min(count, points.shape[1]) - 1):
        nearest = torch.minimum(nearest, _squared_distance(x, y, z, *(each.gather(1, chosen) for each in (x, y, z))))
        chosen = nearest.argmax(dim=1, keepdim=True)
        indices.append(chosen)
    # a cloud with fewer points than asked for has its first one repeated
    indices += [torch.zeros_like(chosen)] * (count - len(indices))
    return torch.cat(indices, dim=1)


def plain_ball_neighbours(points: torch.Tensor, centres: torch.Tensor, radius_m: float, count: int) -> torch.Tensor:
    """As :func:`dxa_monai.networks.grouping.ball_neighbours` of clouds without padding."""
    x, y, z = points.detach().float().unbind(-1)
    of_centres = [each.gather(1, centres)[..., None] for each in (x, y, z)]
    squared = _squared_distance(x[:, None], y[:, None], z[:, None], *of_centres)
    radius = np.float32(radius_m)  # squared in float32, as the kernel does
    beyond = points.shape[1]
    place = torch.arange(beyond, device=points.device).expand_as(squared)
    inside = torch.where(squared < float(radius * radius), place, beyond)
    first = inside.sort(dim=-1).values[..., : min(count, beyond)]
    neighbours = torch.where(first == beyond, first[..., :1], first)
    return torch.cat([neighbours, neighbours[..., :1].expand(-1, -1, max(count - beyond, 0))], dim=-1)


def _squared_distance(*coordinates: torch.Tensor) -> torch.Tensor:
    # summed in the order of the kernel: the indices depend on the last bit
    (dx, dy, dz) = (coordinates[axis] - coordinates[axis + 3] for axis in range(3))
    return dx * dx + dy * dy + dz * dz
