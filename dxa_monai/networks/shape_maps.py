"""What X-rays would see of a body's surface alone: how thick it is, line by line, from points of any mesh."""

# No ``from __future__ import annotations`` here, so that TorchScript can read the annotations.
import math

import torch
from torch import nn

from dxa_monai.errors import InputError

CELL_M = 0.03
HEIGHT_M, WIDTH_M = 2.16, 2.04
"""Of the maps: from sole to crown, and from hand to hand."""
NOMINAL_HEIGHT_M = 1.7
"""To which bodies are scaled in the second pair of maps."""


class ShapeMaps(nn.Module):
    r"""Thickness maps of a body in a fixed posture, as one vector.

    By the divergence theorem the length of the body along a line in the direction of y is the sum of y n_y / |n_y| over
    the places where the line crosses the surface, n the outward normal. So for points that stand for areas a_p of the
    surface, in a cell of the size c^2 of the plane of x and z,

    .. math:: T = \frac{1}{c^2} \sum_p w_p \, y_p n_{y,p} a_p, \qquad
              M = \frac{1}{c^2} \sum_p w_p \, \tfrac{1}{2} y_p^2 n_{y,p} a_p

    T is the thickness and M / T the middle of the body, forwards or backwards; w shares a point among the four cells
    around it. No vertex needs to mean the same on every body, so meshes of any topology have them, and points as many
    as there are. Two pairs of maps: in metres, which tell where on the table a part of the body lies, and of the body
    scaled to the height of 1.7 m, in which parts of bodies of different height lie on each other, which tells more of
    fat and lean; the height itself comes last. Points drawn at random are noise in the maps, pieces of the surface
    (:func:`dxa_monai.mesh.points.point_cloud`) are not.

    Args:
        cell_m: side of a cell.

    Raises:
        InputError: a side that is not positive.
    """

    rows_m: torch.Tensor
    columns_m: torch.Tensor

    def __init__(self, cell_m: float = CELL_M) -> None:
        super().__init__()
        if not 0.0 < cell_m < WIDTH_M:
            raise InputError(f"cell_m: expected a size in metres above 0 and below {WIDTH_M}, got {cell_m}.")
        self.cell_m = float(cell_m)
        rows, half = math.ceil(HEIGHT_M / cell_m), math.ceil(WIDTH_M / 2.0 / cell_m)
        self.register_buffer("rows_m", torch.arange(rows + 1) * self.cell_m, persistent=False)
        self.register_buffer("columns_m", torch.arange(-half, half + 1) * self.cell_m, persistent=False)
        self.shape = (4, rows + 1, 2 * half + 1)
        self.size = self.shape[0] * self.shape[1] * self.shape[2] + 1

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """``(B, size)`` of points ``(B, 7, P)``: x, y, z in metres, the unit normal, and the area in m2."""
        low, high = points[:, :3].amin(dim=2), points[:, :3].amax(dim=2)
        origin = torch.stack([(low[:, 0] + high[:, 0]) / 2.0, (low[:, 1] + high[:, 1]) / 2.0, low[:, 2]], dim=1)
        placed = points[:, :3] - origin[:, :, None]
        height = (high - low)[:, 2]
        factor = NOMINAL_HEIGHT_M / height[:, None]
        maps = [
            self._maps(placed, points[:, 4], points[:, 6]),
            self._maps(placed * factor[:, None], points[:, 4], points[:, 6] * factor.square()),
        ]
        return torch.cat([*maps, height[:, None]], dim=1)

    @torch.jit.unused
    def mirrored(self, vectors: torch.Tensor) -> torch.Tensor:
        """The vectors of the mirrored bodies, left and right exchanged."""
        maps = vectors[:, :-1].unflatten(1, self.shape).flip(-1)
        return torch.cat([maps.flatten(1), vectors[:, -1:]], dim=1)

    def _maps(self, placed: torch.Tensor, along: torch.Tensor, area: torch.Tensor) -> torch.Tensor:
        x, y, z = placed[:, 0], placed[:, 1], placed[:, 2]
        # each point's share of the rows and of the columns beside it
        of_rows = (1.0 - (z[:, None] - self.rows_m[:, None]).abs() / self.cell_m).clamp_min(0.0)
        of_columns = (1.0 - (x[:, None] - self.columns_m[:, None]).abs() / self.cell_m).clamp_min(0.0)
        weight = along * area / self.cell_m**2
        thickness = torch.matmul(of_rows * (weight * y)[:, None], of_columns.transpose(1, 2))
        moment = torch.matmul(of_rows * (weight * y.square() / 2.0)[:, None], of_columns.transpose(1, 2))
        return torch.cat([thickness.flatten(1), moment.flatten(1)], dim=1)
