from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.phantom.body.model import BodyModel, Phenotype
from dxa_monai.phantom.body.pose import rotation_about, rotation_between, skin
from dxa_monai.phantom.body.positioning import Positioning


def coronal_angle_deg(vector: np.ndarray, sign: float) -> float:
    """Angle from the body's downward axis in the coronal plane, outwards positive."""
    return float(np.rad2deg(np.arctan2(sign * vector[0], -vector[2])))


def palm_normal(joints: dict[str, np.ndarray], side: str) -> np.ndarray:
    along = joints[f"finger3-1.{side}"] - joints[f"wrist.{side}"]
    across = joints[f"finger2-1.{side}"] - joints[f"finger5-1.{side}"]
    normal = np.cross(along, across) * (1 if side == "L" else -1)
    return normal / np.linalg.norm(normal)


@pytest.mark.parametrize(("side", "name", "sign"), [("L", "left", 1.0), ("R", "right", -1.0)])
def test_angles_of_the_limbs_are_those_asked_for(
    body_model: BodyModel, lean_woman: Phenotype, side: str, name: str, sign: float
) -> None:
    positioning = replace(
        Positioning(),
        **{f"{name}_arm_abduction_deg": 21.0, f"{name}_forearm_abduction_deg": 3.0, f"{name}_leg_abduction_deg": 7.0},
    )
    joints = body_model.supine(lean_woman, positioning).joints_m
    for start, end, expected in (
        ("upperarm01", "lowerarm01", 21.0),
        ("lowerarm01", "wrist", 3.0),
        ("upperleg01", "lowerleg01", 7.0),
        ("lowerleg01", "foot", 7.0),
    ):
        vector = joints[f"{end}.{side}"] - joints[f"{start}.{side}"]
        assert coronal_angle_deg(vector, sign) == pytest.approx(expected, abs=0.01), start
        assert abs(vector[1]) < 0.01 * np.linalg.norm(vector), f"{start} must lie flat on the table"


@pytest.mark.parametrize("side", ["L", "R"])
def test_palms_face_the_table(body_model: BodyModel, lean_woman: Phenotype, side: str) -> None:
    joints = body_model.supine(lean_woman).joints_m
    assert palm_normal(joints, side)[1] > 0.99


@pytest.mark.parametrize("side", ["L", "R"])
def test_palms_face_down_in_the_t_pose(body_model: BodyModel, lean_woman: Phenotype, side: str) -> None:
    assert palm_normal(body_model.t_pose(lean_woman).joints_m, side)[2] < -0.99


def test_feet_turn_inwards_and_point_away(body_model: BodyModel, lean_woman: Phenotype) -> None:
    def foot(positioning: Positioning, side: str) -> np.ndarray:
        joints = body_model.supine(lean_woman, positioning).joints_m
        vector = joints[f"toe2-2.{side}"] - joints[f"foot.{side}"]
        return vector / np.linalg.norm(vector)

    default = Positioning()
    for side, name, sign in (("L", "left", 1.0), ("R", "right", -1.0)):
        straight = foot(default, side)
        more_rotation = foot(replace(default, **{f"{name}_foot_rotation_deg": 30.0}), side)
        more_leg_rotation = foot(replace(default, **{f"{name}_leg_rotation_deg": 30.0}), side)
        more_flexion = foot(replace(default, **{f"{name}_plantarflexion_deg": 50.0}), side)
        assert sign * straight[0] < -0.1, "toes point towards each other"
        assert sign * more_rotation[0] < sign * straight[0]
        assert sign * more_leg_rotation[0] < sign * straight[0]
        assert more_flexion[2] < straight[2] - 0.1, "toes point away from the head"


def test_one_side_leaves_the_other_alone(body_model: BodyModel, lean_woman: Phenotype) -> None:
    plain = body_model.supine(lean_woman)
    moved = body_model.supine(lean_woman, replace(Positioning(), left_arm_abduction_deg=14.0))
    right = body_model.vertex_part == 3
    # The bounding box, and with it the origin, moves by one shift for all vertices.
    shift = (moved.vertices_m - plain.vertices_m)[right]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-12)


def test_head_turns_and_tilts_to_the_left(body_model: BodyModel, lean_woman: Phenotype) -> None:
    def nose_and_crown(positioning: Positioning) -> tuple[np.ndarray, np.ndarray]:
        body = body_model.supine(lean_woman, positioning)
        head = body.vertices_m[body_model.vertex_part == 1] - body.joints_m["neck01"]
        return head[head[:, 1].argmin()], head[head[:, 2].argmax()]

    nose, crown = nose_and_crown(Positioning())
    assert nose_and_crown(replace(Positioning(), head_turn_deg=15.0))[0][0] > nose[0] + 0.01
    assert nose_and_crown(replace(Positioning(), head_tilt_deg=10.0))[1][0] > crown[0] + 0.01


def test_body_rotation_turns_the_crown_left(body_model: BodyModel, lean_woman: Phenotype) -> None:
    joints = body_model.supine(lean_woman, replace(Positioning(), body_rotation_deg=3.0)).joints_m
    spine = joints["head"] - joints["root"]
    assert np.rad2deg(np.arctan2(spine[0], spine[2])) == pytest.approx(3.0, abs=0.05)


def test_rotation_between_turns_start_to_end() -> None:
    rng = np.random.default_rng(1)
    for start, end in rng.standard_normal((20, 2, 3)):
        rotation = rotation_between(start, end)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(rotation @ start / np.linalg.norm(start), end / np.linalg.norm(end), atol=1e-12)


def test_rotation_about_an_axis_is_right_handed() -> None:
    z = np.array([0.0, 0.0, 2.0])
    np.testing.assert_allclose(rotation_about(z, 90.0) @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)


def test_skinning_agrees_with_the_sum_over_bones() -> None:
    rng = np.random.default_rng(2)
    rest, offsets, rotations = rng.random((6, 3)), rng.random((4, 3)), rng.random((4, 3, 3))
    weights, bones = rng.dirichlet(np.ones(3), 6), rng.integers(0, 4, (6, 3))
    expected = sum(
        weights[:, k, None] * (np.einsum("vij,vj->vi", rotations[bones[:, k]], rest) + offsets[bones[:, k]])
        for k in range(3)
    )
    out = np.full((6, 3), 7.0)
    skin(rest, weights, bones, rotations, offsets, np.array([0, 1, 2, 4, 5]), out)
    np.testing.assert_allclose(out[[0, 1, 2, 4, 5]], expected[[0, 1, 2, 4, 5]])
    assert (out[3] == 7.0).all(), "vertices not asked for stay"
