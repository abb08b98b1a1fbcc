"""Cells of a fixed size, whatever the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.networks.landmark_grid import CELL_MM, MULTIPLE, LandmarkGrid, landmark_channels

GRIDS = [
    LandmarkGrid((150, 109), (13.0, 6.06)),
    LandmarkGrid((97, 61), (20.0, 11.0)),
    LandmarkGrid((400, 300), (5.0, 2.0)),
]


@pytest.mark.parametrize("grid", GRIDS)
def test_cells_hold_what_the_pixels_hold(grid: LandmarkGrid) -> None:
    maps = torch.rand(2, *grid.image_shape, generator=torch.Generator().manual_seed(0))
    cells = grid.cells(maps)
    assert cells.shape == (2, *grid.shape)
    assert all(side % MULTIPLE == 0 for side in grid.shape)
    pixel_area, cell_area = np.prod(grid.pixel_spacing_mm), np.prod(grid.cell_mm)
    assert cells.sum().item() * cell_area == pytest.approx(maps.sum().item() * pixel_area, rel=1e-4)


@pytest.mark.parametrize("grid", GRIDS)
def test_points_come_back(grid: LandmarkGrid) -> None:
    points = np.random.default_rng(0).uniform(0.0, 50.0, size=(7, 2))
    assert grid.to_pixels(grid.to_cells(points)) == pytest.approx(points)


def test_a_default_row_is_a_row_of_cells_and_two_columns_are_one() -> None:
    grid = GRIDS[0]
    moved = grid.to_cells(np.array([[10.0, 20.0], [11.0, 22.0]]))
    assert moved[1] - moved[0] == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("grid", GRIDS)
def test_a_blob_lies_where_its_point_lies(grid: LandmarkGrid) -> None:
    """In every pixel spacing: the centroid in cells is the point in cells."""
    point = np.array(grid.image_shape) * [0.4, 0.6]
    row, column = np.indices(grid.image_shape)
    from_point = np.stack([row - point[0], column - point[1]]) * np.array(grid.pixel_spacing_mm)[:, None, None]
    blob = grid.cells(torch.from_numpy(np.exp(-(from_point**2).sum(axis=0) / (2 * 60.0**2))))
    rows, columns = torch.arange(grid.shape[0])[:, None], torch.arange(grid.shape[1])[None]
    centroid = [float((blob * each).sum() / blob.sum()) for each in (rows, columns)]
    assert centroid == pytest.approx(grid.to_cells(point[None])[0], abs=0.02)


def test_a_mirrored_scan_has_mirrored_cells() -> None:
    grid = GRIDS[0]
    maps = torch.rand(1, *grid.image_shape, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(grid.cells(maps.flip(-1)), grid.cells(maps).flip(-1), atol=1e-6)


def test_channels_are_of_the_body_alone_and_finite() -> None:
    density = np.full((3, 4, 5), np.nan)
    density[:, :, 2:] = 10.0
    body = np.ones((4, 5), dtype=bool)
    body[:, 4] = False
    channels = landmark_channels(density, body)
    assert channels.isfinite().all()
    assert channels[:, 0, 2].tolist() == [1.0, 10.0, 1.0]
    assert channels[:, 0, 4].tolist() == [0.0, 0.0, 0.0]
    assert CELL_MM == (13.0, 12.12)
