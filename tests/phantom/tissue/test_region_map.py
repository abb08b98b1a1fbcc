"""Every pixel of the body has one region, in the places where clinical software draws them."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, Phenotype, Positioning
from dxa_monai.phantom.tissue.projection import Frame, centre_frame, grouped_thickness_maps_cm
from dxa_monai.phantom.tissue.region_map import region_map
from dxa_monai.scan.regions import Region


@pytest.fixture(scope="module")
def scene(body_model: BodyModel, lean_woman: Phenotype) -> tuple[np.ndarray, np.ndarray, Frame]:
    body = body_model.supine(lean_woman, Positioning())
    vertices = body_model.closed_vertices(body.vertices_m)
    frame = centre_frame(vertices)
    parts = grouped_thickness_maps_cm(vertices, body_model.part_faces, body_model.part_of_face, len(PART_NAMES), frame)
    return parts, region_map(parts, trunk_axes(body.joints_m), frame), frame


def test_every_body_pixel_has_one_region_and_no_other_pixel_has(
    scene: tuple[np.ndarray, np.ndarray, Frame],
) -> None:
    parts, regions, _ = scene
    np.testing.assert_array_equal(regions > 0, np.maximum(parts, 0.0).sum(0) > 0)
    assert set(np.unique(regions)) == {int(region) for region in Region}


def test_left_is_on_the_right_of_the_image(scene: tuple[np.ndarray, np.ndarray, Frame]) -> None:
    _, regions, _ = scene
    columns = {region: np.nonzero(regions == region)[1].mean() for region in Region}
    assert columns[Region.LEFT_ARM] > columns[Region.SPINE] > columns[Region.RIGHT_ARM]
    assert columns[Region.LEFT_LEG] > columns[Region.PELVIS] > columns[Region.RIGHT_LEG]


def test_regions_follow_each_other_from_head_to_feet(scene: tuple[np.ndarray, np.ndarray, Frame]) -> None:
    _, regions, _ = scene
    rows = [np.nonzero(regions == region)[0].mean() for region in (Region.HEAD, Region.RIBS, Region.PELVIS)]
    rows.append(np.nonzero(np.isin(regions, (Region.LEFT_LEG, Region.RIGHT_LEG)))[0].mean())
    assert rows == sorted(rows)


def test_arm_has_the_pixels_it_shares(
    scene: tuple[np.ndarray, np.ndarray, Frame], body_model: BodyModel, lean_woman: Phenotype
) -> None:
    parts, regions, frame = scene
    shared = parts.copy()
    pixel = tuple(np.argwhere(regions == Region.RIBS)[0])
    shared[PART_NAMES.index("right_arm")][pixel] = shared[PART_NAMES.index("trunk")][pixel]
    body = body_model.supine(lean_woman, Positioning())
    assert region_map(shared, trunk_axes(body.joints_m), frame)[pixel] == Region.RIGHT_ARM
