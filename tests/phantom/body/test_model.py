from __future__ import annotations

import numpy as np
import pytest
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.model import (
    LOCAL_CHANGES,
    PART_NAMES,
    BodyModel,
    Phenotype,
    PosedBody,
    UnreachableBody,
    anny_age,
)
from dxa_monai.phantom.body.positioning import Positioning


def solid(body_model: BodyModel, body: PosedBody, faces: np.ndarray) -> trimesh.Trimesh:
    return trimesh.Trimesh(body_model.closed_vertices(body.vertices_m), faces, process=False)


def stature_m(body_model: BodyModel, phenotype: Phenotype) -> float:
    return float(np.ptp(body_model.rest(phenotype).vertices_m[:, 2]))


@pytest.mark.parametrize("pose", ["t_pose", "supine"])
def test_closed_surface_is_watertight_in_every_pose(body_model: BodyModel, heavy_man: Phenotype, pose: str) -> None:
    body = solid(body_model, getattr(body_model, pose)(heavy_man), body_model.closed_faces)
    assert body.is_watertight
    assert body.is_winding_consistent
    assert body.volume > 0.1
    assert len(trimesh.graph.connected_components(body.face_adjacency)) == 1


def test_cavities_of_eyes_and_mouth_are_gone(body_model: BodyModel, lean_woman: Phenotype) -> None:
    closed, whole = len(body_model.closed_faces), len(body_model.faces)
    assert closed < whole - 2000
    body = body_model.t_pose(lean_woman)
    # Their walls point inwards: without them the same skin encloses more.
    with_cavities_l = 1000 * mesh.enclosed_volume_m3(body.vertices_m, body_model.faces)
    assert body_model.volume_l(body.vertices_m) - with_cavities_l == pytest.approx(0.3, abs=0.2)


def test_every_part_is_closed_and_together_they_are_the_body(body_model: BodyModel, heavy_man: Phenotype) -> None:
    body = body_model.supine(heavy_man)
    volumes = []
    for part in range(len(PART_NAMES)):
        piece = solid(body_model, body, body_model.part_faces[body_model.part_of_face == part])
        assert piece.is_watertight, PART_NAMES[part]
        assert piece.is_winding_consistent, PART_NAMES[part]
        volumes.append(1000 * piece.volume)
    assert min(volumes) > 2.0
    assert sum(volumes) == pytest.approx(body_model.volume_l(body.vertices_m), rel=1e-12)


def test_parts_lie_where_their_names_say(body_model: BodyModel, lean_woman: Phenotype) -> None:
    vertices = body_model.t_pose(lean_woman).vertices_m
    middle = {name: vertices[body_model.vertex_part == part].mean(axis=0) for part, name in enumerate(PART_NAMES)}
    assert middle["left_arm"][0] > 0.4 > -0.4 > middle["right_arm"][0]
    assert middle["left_leg"][0] > 0.05 > -0.05 > middle["right_leg"][0]
    assert middle["head"][2] > middle["trunk"][2] > middle["left_leg"][2]


@pytest.mark.parametrize(
    ("sex", "age_years", "height_cm", "volume_l", "muscle"),
    [
        ("F", 18, 150.0, 40.0, 0.3),
        ("F", 89, 158.0, 85.0, 0.1),
        ("M", 40, 193.0, 80.0, 0.3),
        ("M", 65, 170.0, 120.0, 0.1),
    ],
)
def test_solved_body_has_the_stature_and_volume(
    body_model: BodyModel, sex: str, age_years: float, height_cm: float, volume_l: float, muscle: float
) -> None:
    changes = (("measure-hips-circ-incr", 0.3), ("measure-upperleg-height-incr", -0.2))
    person = body_model.solve(sex, age_years, height_cm, volume_l, muscle, proportions=0.3, local_changes=changes)
    assert 100 * stature_m(body_model, person) == pytest.approx(height_cm, abs=0.1)
    assert body_model.volume_l(body_model.rest(person).vertices_m) == pytest.approx(volume_l, rel=1e-3)
    assert person.local_changes == changes


def test_posing_nearly_keeps_the_volume(body_model: BodyModel, lean_woman: Phenotype, heavy_man: Phenotype) -> None:
    for person in (lean_woman, heavy_man):
        rest_l = body_model.volume_l(body_model.rest(person).vertices_m)
        for body in (body_model.t_pose(person), body_model.supine(person)):
            assert body_model.volume_l(body.vertices_m) == pytest.approx(rest_l, rel=0.015)


@pytest.mark.parametrize(("height_cm", "volume_l"), [(165.0, 25.0), (165.0, 300.0), (90.0, 60.0), (260.0, 100.0)])
def test_impossible_bodies_are_unreachable(body_model: BodyModel, height_cm: float, volume_l: float) -> None:
    with pytest.raises(UnreachableBody, match=r"F, 40 years, .* expected"):
        body_model.solve("F", 40, height_cm, volume_l)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sex": "female"},
        {"age_years": 3},
        {"height_cm": float("nan")},
        {"volume_l": -3.0},
        {"local_changes": (("nose-hump-incr", 0.2),)},
    ],
)
def test_wrong_input_is_told(body_model: BodyModel, wrong: dict) -> None:
    right = {"sex": "F", "age_years": 40, "height_cm": 165.0, "volume_l": 62.0}
    with pytest.raises(InputError, match="expected"):
        body_model.solve(**{**right, **wrong})


def test_age_follows_annys_own_mapping(body_model: BodyModel) -> None:
    from anny.shape_distribution import SimpleShapeDistribution

    mapping = SimpleShapeDistribution(body_model._shapes._anny).morphological_age_mapping
    for years in (18, 30, 64, 89):
        expected = mapping.morphological_to_anny_age(mapping.anny_age_anchors.new_tensor([float(years)]))
        assert anny_age(years) == pytest.approx(expected.item())


def test_rest_shape_is_annys(body_model: BodyModel) -> None:
    changes = ((LOCAL_CHANGES[0], 0.4), ("torso-vshape-incr", -0.3))
    person = Phenotype("F", 0.8, 0.36, 0.7, 0.35, 0.2, changes)
    output = body_model._shapes._anny(
        phenotype_kwargs={
            "gender": 1.0, "age": 0.8, "height": 0.36, "weight": 0.7, "muscle": 0.35, "proportions": 0.2,
        },
        local_changes_kwargs=dict(changes),
    )  # fmt: skip
    rest = body_model.rest(person)
    np.testing.assert_allclose(rest.vertices_m, output["rest_vertices"][0].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(rest.heads_m, output["rest_bone_heads"][0].detach().numpy(), atol=1e-6)


def test_equal_people_have_equal_bytes_whoever_came_between(
    body_model: BodyModel, lean_woman: Phenotype, heavy_man: Phenotype
) -> None:
    first = body_model.supine(lean_woman)
    body_model.supine(heavy_man)
    second = body_model.supine(lean_woman)
    assert first.vertices_m.tobytes() == second.vertices_m.tobytes()
    assert first.lean_vertices_m.tobytes() == second.lean_vertices_m.tobytes()


def test_t_pose(body_model: BodyModel, lean_woman: Phenotype) -> None:
    body = body_model.t_pose(lean_woman)
    joints = body.joints_m
    assert body.vertices_m[:, 2].min() == pytest.approx(0.0, abs=1e-12)
    for side, sign in (("L", 1), ("R", -1)):
        arm = joints[f"wrist.{side}"] - joints[f"upperarm01.{side}"]
        np.testing.assert_allclose(arm / np.linalg.norm(arm), [sign, 0, 0], atol=1e-6)
    assert joints["foot.L"][0] > 0.1
    assert joints["foot.R"][0] < -0.1


def test_lean_body_shares_joints_and_is_smaller(body_model: BodyModel, heavy_man: Phenotype) -> None:
    body = body_model.supine(heavy_man)
    assert body_model.volume_l(body.lean_vertices_m) < 0.8 * body_model.volume_l(body.vertices_m)
    # Where there is no fat the skin stays: hands and feet hardly move, because their joints did not.
    hand = np.array([name.startswith(("finger", "metacarpal")) for name in body_model.bone_names])
    moved = np.linalg.norm(body.vertices_m - body.lean_vertices_m, axis=1)[hand[body_model.bone_of_vertex]]
    assert moved.max() < 0.02


def test_a_person_of_weight_0_is_its_own_lean_body(body_model: BodyModel) -> None:
    body = body_model.supine(Phenotype("F", 0.8, 0.36, 0.0, 0.4))
    np.testing.assert_allclose(body.vertices_m, body.lean_vertices_m, atol=1e-12)


def test_supine_body_is_centred(body_model: BodyModel, lean_woman: Phenotype) -> None:
    vertices = body_model.supine(lean_woman, Positioning(body_rotation_deg=2.0, head_tilt_deg=3.0)).vertices_m
    np.testing.assert_allclose((vertices.min(axis=0) + vertices.max(axis=0))[[0, 2]], 0.0, atol=1e-12)
