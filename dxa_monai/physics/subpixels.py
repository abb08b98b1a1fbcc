"""Maps finer than a scan's pixels: a pixel at an edge averages signals, not attenuations.

The areal density of a part of a pixel is the linear interpolation of the map, times what gives the pixel its own mean,
material by material.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from dxa_monai.physics.forward import along_axis


def pixel_parts(areal_density: torch.Tensor, parts: tuple[int, int]) -> Iterator[tuple[int, torch.Tensor]]:
    """The map at each part of the pixels in turn.

    Args:
        areal_density: ``(B, M, H, W)``, not negative.
        parts: along rows and along columns.

    Yields:
        Number of the part along columns, and ``(B, M, H, W)`` there, not negative. The mean of all is the map.
    """
    if parts == (1, 1):
        yield 0, areal_density
        return
    height, width = areal_density.shape[2:]
    along = [_interpolation(height, parts[0], part).to(areal_density) for part in range(parts[0])]
    across = [_interpolation(width, parts[1], part).to(areal_density) for part in range(parts[1])]

    def interpolated(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        return along_axis(along_axis(areal_density, 2, rows), 3, columns)

    mean = interpolated(torch.stack(along).mean(dim=0), torch.stack(across).mean(dim=0))
    filled = mean > 0  # where it is not, neither is the pixel nor a neighbour
    scale = torch.where(filled, areal_density, 1.0) / torch.where(filled, mean, 1.0)
    for rows in along:
        for part, columns in enumerate(across):
            yield part, interpolated(rows, columns) * scale


def _interpolation(length: int, parts: int, part: int) -> torch.Tensor:
    """``(L, L)``: linear interpolation at the middle of one of the parts of every pixel; edge pixels go on."""
    offset = (part + 0.5) / parts - 0.5
    share = abs(offset)
    own = torch.arange(length)
    neighbour = (own + (1 if offset > 0 else -1)).clamp(0, length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64)
    matrix[own, own] += 1.0 - share
    matrix[own, neighbour] += share
    return matrix
