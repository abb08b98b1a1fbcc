"""What of a body each pass of a scan sees: bands of columns, motion between them, and the fan of the beam.

A pixel of the map is a strip of tissue. Displaced and magnified, the strip of pixel j lies across

    [c + f (j + s - c),  c + f (j + 1 + s - c)]                                                               (1)

with the displacement s, the magnification f and the pass' middle c, and gives every pixel that it overlaps the share of
its areal density that is the length of the overlap. So mass is conserved by a displacement and multiplied by f by the
fan, and a displacement is a linear interpolation. Nothing comes in from beyond the field.
"""

from __future__ import annotations

import torch

from dxa_monai.physics.forward import along_axis


def seen_in_passes(
    areal_density: torch.Tensor, passes: int, fan_magnification: float, motion_pixels: torch.Tensor | None
) -> torch.Tensor:
    """The map as a scan in several passes sees it.

    Args:
        areal_density: ``(B, M, H, W)``.
        passes: bands of about equal width, from low to high columns.
        fan_magnification: of the columns, about the middle of each band.
        motion_pixels: ``(B, passes, 2)`` displacement in each pass along rows and columns, or None.

    Returns:
        ``(B, M, H, W)``. A band sees the body as it lies in its own pass: what moved over a border is seen twice or
        not at all.
    """
    if fan_magnification == 1 and motion_pixels is None:
        return areal_density
    rows, columns = areal_density.shape[2:]
    batches = []
    for number, scan in enumerate(areal_density):
        bands = []
        for band in range(passes):
            first, last = round(band * columns / passes), round((band + 1) * columns / passes)
            along, across = (0.0, 0.0) if motion_pixels is None else motion_pixels[number, band].tolist()
            row_matrix = _overlap(rows, along, 1.0, 0.0).to(scan)
            column_matrix = _overlap(columns, across, fan_magnification, (first + last) / 2.0)[first:last].to(scan)
            bands.append(along_axis(along_axis(scan, 2, column_matrix), 1, row_matrix))
        batches.append(torch.cat(bands, dim=-1))
    return torch.stack(batches)


def _overlap(length: int, shift: float, magnification: float, centre: float) -> torch.Tensor:
    """``(L, L)``: how much of pixel i the strip of pixel j covers, equation (1)."""
    pixels = torch.arange(length, dtype=torch.float64)
    left = centre + magnification * (pixels + shift - centre)
    target = pixels[:, None]
    return (torch.minimum(left + magnification, target + 1.0) - torch.maximum(left, target)).clamp_min(0.0)
