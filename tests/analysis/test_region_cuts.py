"""Cut lines divide the body: every pixel of it in one region, no other pixel in any."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.analysis.landmarks import Landmarks, landmarks_from_points
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.errors import InputError
from dxa_monai.scan.regions import Region
from tests.analysis.points import IMAGE_SHAPE, plain_points

SWAPPED = {
    Region.LEFT_ARM: Region.RIGHT_ARM,
    Region.RIGHT_ARM: Region.LEFT_ARM,
    Region.LEFT_LEG: Region.RIGHT_LEG,
    Region.RIGHT_LEG: Region.LEFT_LEG,
}


@pytest.fixture
def landmarks() -> Landmarks:
    return landmarks_from_points(plain_points(), IMAGE_SHAPE)


def test_regions_partition_the_body(landmarks: Landmarks) -> None:
    body = np.random.default_rng(0).random(IMAGE_SHAPE) < 0.7
    regions = region_map_from_landmarks(landmarks, body)
    assert regions.dtype == np.uint8
    np.testing.assert_array_equal(regions > 0, body)
    assert set(np.unique(regions)) == {int(region) for region in Region}


@pytest.mark.parametrize(
    ("pixel", "region"),
    [
        ((10, 54), Region.HEAD),
        ((22, 10), Region.HEAD),
        ((30, 54), Region.SPINE),
        ((30, 43), Region.RIBS),
        ((30, 65), Region.RIBS),
        ((30, 30), Region.RIGHT_ARM),
        ((25, 30), Region.RIGHT_ARM),
        ((75, 100), Region.LEFT_ARM),
        ((83, 15), Region.RIGHT_ARM),
        ((86, 15), Region.RIGHT_LEG),
        ((60, 54), Region.PELVIS),
        ((72, 54), Region.PELVIS),
        ((68, 30), Region.RIGHT_LEG),
        ((60, 30), Region.PELVIS),
        ((75, 55), Region.LEFT_LEG),
        ((140, 53), Region.RIGHT_LEG),
        ((149, 108), Region.LEFT_LEG),
    ],
)
def test_pixels_lie_where_a_person_would_say(landmarks: Landmarks, pixel: tuple[int, int], region: Region) -> None:
    assert region_map_from_landmarks(landmarks, np.ones(IMAGE_SHAPE, dtype=bool))[pixel] == region


def test_mirrored_landmarks_swap_left_and_right() -> None:
    rng = np.random.default_rng(1)
    points = {
        name: (row + rng.uniform(-1, 1), column + rng.uniform(-1, 1)) for name, (row, column) in plain_points().items()
    }
    points["right_spine_upper"] = (points["right_neck"][0] + 0.1, 48.3)
    swapped = {"right": "left", "left": "right"}
    mirrored = {
        swapped.get(name.split("_", 1)[0], name.split("_", 1)[0]) + name[len(name.split("_", 1)[0]) :]: (
            row,
            108.0 - column,
        )
        for name, (row, column) in points.items()
    }
    body = np.ones(IMAGE_SHAPE, dtype=bool)
    found = region_map_from_landmarks(landmarks_from_points(points, IMAGE_SHAPE), body)
    expected = found[:, ::-1].copy()
    for region, other in SWAPPED.items():
        expected[found[:, ::-1] == region] = other
    np.testing.assert_array_equal(
        region_map_from_landmarks(landmarks_from_points(mirrored, IMAGE_SHAPE), body), expected
    )


def test_body_of_another_shape_is_refused(landmarks: Landmarks) -> None:
    with pytest.raises(InputError, match=r"body: expected .*\(150, 109\), got \(10, 10\)"):
        region_map_from_landmarks(landmarks, np.ones((10, 10), dtype=bool))
