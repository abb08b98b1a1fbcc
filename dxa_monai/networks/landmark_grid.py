"""Maps of a scan on cells of a fixed size in millimetres, whatever the scan's pixels, and points there and back.

A network that has learnt cells of 13.0 x 12.12 mm meets cells of that size in every scan. The cells lie about the
middle of the field, as many to either side, so that the mirror image of a scan has the mirror image of its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.scan.format import PIXEL_SPACING_MM

CELL_MM = (PIXEL_SPACING_MM[0], 2.0 * PIXEL_SPACING_MM[1])
"""Rows and columns of a cell: nearly square, one row and two columns of the default pixels."""
MULTIPLE = 16
"""Rows and columns of the cells are a multiple of it: what a network halves four times."""
CHANNEL_NAMES = ("soft_tissue", "bone", "body")
SOFT_SCALE_G_CM2, BONE_SCALE_G_CM2 = 20.0, 1.0
"""What 1 means in the channels of soft tissue (fat and lean, whose noise cancels) and of bone mineral."""
FloatArray = npt.NDArray[np.floating]


def landmark_channels(areal_density_g_cm2: FloatArray, body: npt.NDArray[np.bool_]) -> torch.Tensor:
    """``(3, H, W)`` float32 of ``CHANNEL_NAMES`` from fat, lean and mineral ``(3, H, W)`` inside a body ``(H, W)``."""
    fat, lean, mineral = np.where(body, np.nan_to_num(areal_density_g_cm2, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    stacked = np.stack([np.maximum(fat + lean, 0.0) / SOFT_SCALE_G_CM2, mineral / BONE_SCALE_G_CM2, body])
    return torch.from_numpy(stacked.astype(np.float32))


@dataclass(frozen=True)
class LandmarkGrid:
    """The cells of one field.

    Attributes:
        image_shape: rows and columns of the scan.
        pixel_spacing_mm: of the scan.
        cell_mm: height and width of a cell.
    """

    image_shape: tuple[int, int]
    pixel_spacing_mm: tuple[float, float]
    cell_mm: tuple[float, float] = CELL_MM

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells: they cover the field."""
        rows, columns = (
            MULTIPLE * int(np.ceil(count * pixel / cell / MULTIPLE - 1e-9))
            for count, pixel, cell in zip(self.image_shape, self.pixel_spacing_mm, self.cell_mm, strict=True)
        )
        return rows, columns

    def cells(self, maps: torch.Tensor) -> torch.Tensor:
        """``(..., R, C)`` mean of maps ``(..., H, W)`` over the area of each cell; 0 outside the field."""
        rows, columns = (
            torch.from_numpy(_shares(*along)).to(maps)
            for along in zip(self.image_shape, self.pixel_spacing_mm, self.shape, self.cell_mm, strict=True)
        )
        return rows @ maps @ columns.T

    def to_cells(self, points: FloatArray) -> npt.NDArray[np.float64]:
        """``(L, 2)`` (row, column) in pixels of the scan -> in cells; centres at integers in both."""
        return self._between(points, self.image_shape, self.pixel_spacing_mm, self.shape, self.cell_mm)

    def to_pixels(self, points: FloatArray) -> npt.NDArray[np.float64]:
        """``(L, 2)`` (row, column) in cells -> in pixels of the scan."""
        return self._between(points, self.shape, self.cell_mm, self.image_shape, self.pixel_spacing_mm)

    @staticmethod
    def _between(
        points: FloatArray,
        shape: Sequence[int],
        size_mm: Sequence[float],
        other_shape: Sequence[int],
        other_size_mm: Sequence[float],
    ) -> npt.NDArray[np.float64]:
        """Points of one grid in another about the same middle."""
        from_middle_mm = (np.asarray(points, dtype=np.float64) - (np.array(shape) - 1) / 2.0) * size_mm
        moved: npt.NDArray[np.float64] = from_middle_mm / other_size_mm + (np.array(other_shape) - 1) / 2.0
        return moved


def _shares(pixels: int, pixel_mm: float, cells: int, cell_mm: float) -> npt.NDArray[np.float64]:
    """``(cells, pixels)`` share of each cell that each pixel covers along one direction."""
    pixel_edges = (np.arange(pixels + 1) - pixels / 2.0) * pixel_mm
    cell_edges = (np.arange(cells + 1) - cells / 2.0) * cell_mm
    upper = np.minimum(cell_edges[1:, None], pixel_edges[None, 1:])
    lower = np.maximum(cell_edges[:-1, None], pixel_edges[None, :-1])
    overlap: npt.NDArray[np.float64] = np.maximum(upper - lower, 0.0) / cell_mm
    return overlap
