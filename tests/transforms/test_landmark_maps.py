"""Channels and landmarks move together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.networks.landmark_grid import LandmarkGrid
from dxa_monai.transforms.geometric import FieldGeometry, move_map, move_points
from dxa_monai.transforms.landmark_maps import LandmarkCellsd, RandLandmarkScened

SHAPE, SPACING = (80, 60), (13.0, 6.06)
NAMES = ("right_hip", "left_hip", "crotch")
POINTS = np.array([[30.0, 20.0], [31.0, 41.0], [45.0, 29.0]])


def blobs(points: np.ndarray) -> torch.Tensor:
    """A channel a point."""
    row, column = np.indices(SHAPE)
    square = [((row - r) * SPACING[0]) ** 2 + ((column - c) * SPACING[1]) ** 2 for r, c in points]
    return torch.from_numpy(np.exp(-np.array(square) / (2 * 18.0**2))).float()


def centroids(image: torch.Tensor) -> np.ndarray:
    rows, columns = torch.arange(image.shape[-2])[:, None], torch.arange(image.shape[-1])[None]
    sums = image.sum(dim=(-2, -1))
    return torch.stack([(image * each).sum(dim=(-2, -1)) / sums for each in (rows, columns)], dim=-1).numpy()


@pytest.mark.parametrize(
    "geometry", [FieldGeometry(), FieldGeometry(7.0, 0.03, -0.05, 1.1), FieldGeometry(-20.0, zoom=0.8)]
)
def test_points_move_with_the_map(geometry: FieldGeometry) -> None:
    moved = move_map(blobs(POINTS), geometry, SPACING)
    assert centroids(moved) == pytest.approx(move_points(POINTS, geometry, SHAPE, SPACING), abs=0.05)


def test_whatever_is_drawn_the_landmarks_stay_on_their_places() -> None:
    scene = RandLandmarkScened(
        "image", NAMES, SPACING, cut_share=0.0, upside_down_share=0.0, noise=0.0, hidden_share=0.0, gain=0.0
    )
    mirrored = 0
    for seed in range(8):
        scene.set_random_state(seed)
        seen = scene({"image": blobs(POINTS), "landmarks": POINTS})
        found = centroids(seen["image"])
        order = [0, 1, 2] if found[0, 1] < found[1, 1] else [1, 0, 2]  # the channel of the right hip is now the left
        mirrored += order[0]
        assert seen["landmarks"] == pytest.approx(found[order], abs=0.06)
    assert 0 < mirrored < 8


def test_upside_down_there_are_none_and_what_leaves_the_field_is_not_there() -> None:
    scene = RandLandmarkScened("image", NAMES, SPACING, upside_down_share=1.0)
    scene.set_random_state(0)
    assert np.isnan(scene({"image": blobs(POINTS), "landmarks": POINTS})["landmarks"]).all()
    outside = POINTS.copy()
    outside[1] = [-3.0, 41.0]
    cells = LandmarkCellsd("image", SPACING)({"image": blobs(POINTS), "landmarks": outside})
    expected = LandmarkGrid(SHAPE, SPACING).to_cells(POINTS)
    assert cells["label"][[0, 2]].numpy() == pytest.approx(expected[[0, 2]], abs=1e-4)
    assert cells["label"][1].isnan().all()
    assert "landmarks" not in cells
