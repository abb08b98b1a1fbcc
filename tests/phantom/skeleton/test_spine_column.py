"""The placed spine: known answers of bending points along it, and where it lies in a body."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dxa_monai.phantom.body.model import BodyModel, Phenotype, Positioning
from dxa_monai.phantom.skeleton.bones import load_skeleton
from dxa_monai.phantom.skeleton.placed import place_skeleton
from dxa_monai.phantom.skeleton.spine_column import Column, group_rows, rest_trunk


def straight(scale: float = 1.1, shift_y_m: float = 0.02) -> Column:
    rest_z = np.array([1.0, 1.2, 1.5])
    return Column(rest_z, scale * rest_z - 1.0, np.zeros(3), np.full(3, shift_y_m), np.zeros(3), scale)


def test_a_straight_column_scales_and_shifts() -> None:
    points = np.array([[0.1, 0.05, 1.1], [-0.2, 0.0, 1.4]])
    placed = straight().place(points, lateral=0.9, depth=0.8)
    np.testing.assert_allclose(placed[:, 0], 0.9 * points[:, 0])
    np.testing.assert_allclose(placed[:, 1], 0.02 + 0.8 * points[:, 1])
    np.testing.assert_allclose(placed[:, 2], 1.1 * points[:, 2] - 1.0)


def test_beyond_its_ends_the_scale_goes_on() -> None:
    np.testing.assert_allclose(straight().height(np.array([0.8, 1.7])), [-0.12, 0.87], atol=1e-12)


def test_points_of_one_level_stay_together_where_the_column_bends() -> None:
    column = Column(
        np.array([1.0, 1.2, 1.5]),
        np.array([0.1, 0.3, 0.7]),
        np.zeros(3),
        np.array([0.0, 0.05, -0.02]),
        np.array([0.0, 0.01, 0.03]),
        1.0,
    )
    level = np.column_stack([np.zeros(5), np.linspace(-0.1, 0.1, 5), np.full(5, 1.35)])
    placed = column.place(level, 1.0, 1.0)
    np.testing.assert_allclose(np.diff(placed[:, 1]), 0.05)
    np.testing.assert_allclose(placed[:, 2], 0.5)
    np.testing.assert_allclose(placed[:, 0], 0.02)


def test_levels_at_rest_rise_from_sacrum_to_atlas() -> None:
    rest = rest_trunk()
    assert len(rest.level_z_m) == 19
    assert (np.diff(rest.level_z_m) > 0).all()
    # Spinous processes point backwards from the vertebrae's centres.
    assert (rest.tip_y_m[1:] > rest.level_y_m[1:-1]).all()


def test_rows_of_groups_are_theirs_alone() -> None:
    spine, ribs = group_rows("lumbar_spine", "thoracic_spine"), group_rows("ribs")
    assert not set(spine) & set(ribs)
    skeleton = load_skeleton()
    assert {skeleton.bone_names[bone][:9] for bone in np.unique(skeleton.bone_of_vertex[spine])} == {"vertebra_"}


@pytest.mark.parametrize("name", ["lean_woman", "heavy_man"])
def test_vertebrae_follow_each_other_inside_the_back(
    body_model: BodyModel, name: str, request: pytest.FixtureRequest
) -> None:
    phenotype: Phenotype = request.getfixturevalue(name)
    body = body_model.supine(phenotype, Positioning())
    placed = place_skeleton(body, body_model)
    names = [*(f"vertebra_L{n}" for n in range(5, 0, -1)), *(f"vertebra_T{n}" for n in range(12, 0, -1))]
    centres = np.array([placed.vertices_m[placed.skeleton.select(bone)].mean(axis=0) for bone in names])
    heights = centres[:, 2]
    assert (np.diff(heights) > 0.012).all()
    assert (np.diff(heights) < 0.05).all()
    steps = [np.linalg.norm(upper - lower) for lower, upper in pairwise(centres)]
    assert max(steps) < 0.055  # no level breaks out of the row
    assert np.abs(centres[:, 0]).max() < 0.02
    trunk = body.vertices_m[body_model.vertex_part == 0]
    back = [trunk[np.abs(trunk[:, 2] - z) < 0.03][:, 1].max() for z in heights]
    assert (centres[:, 1] < np.array(back) - 0.02).all()
