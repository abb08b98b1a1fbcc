"""The texture is the person's own, has unit spread, ends at the skin and moves with the limbs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, Phenotype, PosedBody, Positioning
from dxa_monai.phantom.people.population import Person, sample_person
from dxa_monai.phantom.tissue.projection import Frame, centre_frame, grouped_thickness_maps_cm
from dxa_monai.phantom.tissue.region_map import region_map
from dxa_monai.phantom.tissue.texture import tissue_texture
from dxa_monai.scan.regions import Region

PERSON = sample_person(3, 5)
Scene = tuple[PosedBody, np.ndarray, Frame]


def scene_of(model: BodyModel, phenotype: Phenotype, positioning: Positioning) -> Scene:
    body = model.supine(phenotype, positioning)
    vertices = model.closed_vertices(body.vertices_m)
    frame = centre_frame(vertices, positioning.shift_mm)
    parts = grouped_thickness_maps_cm(vertices, model.part_faces, model.part_of_face, len(PART_NAMES), frame)
    return body, region_map(parts, trunk_axes(body.joints_m), frame), frame


def texture_of(scene: Scene, person: Person = PERSON) -> np.ndarray:
    body, regions, frame = scene
    return tissue_texture(person, body, trunk_axes(body.joints_m), regions, frame)


@pytest.fixture(scope="module")
def scene(body_model: BodyModel, lean_woman: Phenotype) -> Scene:
    return scene_of(body_model, lean_woman, Positioning())


def test_spread_is_one_on_average_and_nothing_lies_outside(scene: Scene) -> None:
    inside = scene[1] != Region.BACKGROUND
    fields = np.stack([texture_of(scene, replace(PERSON, index=index)) for index in range(30)])
    assert not fields[:, ~inside].any()
    assert fields[:, inside].mean() == pytest.approx(0.0, abs=0.05)
    assert np.sqrt(np.square(fields[:, inside]).mean()) == pytest.approx(1.0, abs=0.05)


def test_it_repeats_and_belongs_to_the_person(scene: Scene) -> None:
    np.testing.assert_array_equal(texture_of(scene), texture_of(scene))
    inside = scene[1] != Region.BACKGROUND
    other = texture_of(scene, replace(PERSON, index=PERSON.index + 1))
    assert abs(np.corrcoef(texture_of(scene)[inside], other[inside])[0, 1]) < 0.3


def test_it_is_smooth_from_pixel_to_pixel(scene: Scene) -> None:
    """Wavelengths are longer than two columns, so that neighbours in a row are alike (white noise: 0)."""
    field, legs = texture_of(scene), scene[1] == Region.LEFT_LEG
    pairs = legs[:, 1:] & legs[:, :-1]
    assert np.corrcoef(field[:, 1:][pairs], field[:, :-1][pairs])[0, 1] > 0.7


def test_it_moves_with_a_leg(body_model: BodyModel, lean_woman: Phenotype, scene: Scene) -> None:
    """Read in the leg's own coordinates, the texture is the same after the leg was moved aside."""
    moved = scene_of(body_model, lean_woman, Positioning(left_leg_abduction_deg=8.0))

    def at(picture: Scene, across_m: np.ndarray, along_m: np.ndarray) -> np.ndarray:
        body, _, frame = picture
        start, end = body.joints_m["upperleg01.L"], body.joints_m["foot.L"]
        up = (end - start)[[0, 2]] / np.linalg.norm((end - start)[[0, 2]])
        x = start[0] + across_m * up[1] + along_m * up[0]
        z = start[2] - across_m * up[0] + along_m * up[1]
        rows_z, columns_x = frame.pixel_centres_m()
        row = np.abs(rows_z[:, None] - z).argmin(axis=0)
        column = np.abs(columns_x[:, None] - x).argmin(axis=0)
        return texture_of(picture)[row, column]

    rng = np.random.default_rng(0)
    across, along = rng.uniform(-0.03, 0.03, 400), rng.uniform(0.25, 0.7, 400)
    assert np.corrcoef(at(scene, across, along), at(moved, across, along))[0, 1] > 0.6


def test_left_and_right_leg_differ(scene: Scene) -> None:
    field, regions = texture_of(scene), scene[1]
    left = np.sort(field[regions == Region.LEFT_LEG])
    right = np.sort(field[regions == Region.RIGHT_LEG])
    assert not np.array_equal(left[:200], right[:200])
