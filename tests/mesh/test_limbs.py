"""Limbs turned by bending space: against the body model's own skeleton, and against what must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.limbs import LOWEST_ARM_DEG, LimbTurns, arms_of, find_arm, with_limbs_turned
from dxa_monai.mesh.points import centred, point_cloud
from dxa_monai.networks.shape_maps import ShapeMaps
from dxa_monai.phantom.body.model import BodyModel, Phenotype
from dxa_monai.phantom.body.pose import T_POSE, Standing

POINTS = 8192
Person = tuple[BodyModel, Phenotype]


@pytest.fixture(scope="module", params=["F", "M"])
def person(request: pytest.FixtureRequest, body_model: BodyModel) -> Person:
    height, volume = {"F": (166.0, 64.0), "M": (178.0, 78.0)}[request.param]
    return body_model, body_model.solve(request.param, 35.0, height, volume)


def cloud_of(person: Person, standing: Standing) -> np.ndarray:
    model, phenotype = person
    vertices = model.closed_vertices(model.standing(phenotype, standing).vertices_m)
    mesh = centred(BodyMesh(vertices, model.closed_faces))
    return point_cloud(mesh, POINTS, torch.Generator().manual_seed(0)).double().numpy()


def volume_m3(cloud: np.ndarray) -> float:
    return float((cloud[:3] * cloud[3:6] * cloud[6]).sum() / 3.0)


def thickness(cloud: np.ndarray) -> np.ndarray:
    return ShapeMaps()(torch.from_numpy(cloud).float()[None])[0].numpy()


def test_arms_are_found_where_the_skeleton_has_them(person: Person) -> None:
    model, phenotype = person
    for below in (0.0, 20.0, 30.0):
        body = model.standing(phenotype, Standing(below))
        points = body.vertices_m[np.unique(model.closed_faces[model.closed_faces < len(body.vertices_m)])]
        points = points - np.array([(points[:, 0].min() + points[:, 0].max()) / 2.0, 0.0, 0.0])
        for side, name in ((1, "L"), (-1, "R")):
            arm = find_arm(points, side)
            assert arm is not None
            assert abs(arm.below_deg - below) < 7.0
            assert np.linalg.norm((arm.shoulder_m - body.joints_m[f"upperarm01.{name}"])[[0, 2]]) < 0.06
            assert arm.direction[0] * side > 0.0


def test_what_is_not_turned_stays_and_so_does_the_volume(person: Person) -> None:
    cloud = cloud_of(person, T_POSE)
    still = with_limbs_turned(cloud, LimbTurns(), LimbTurns())
    np.testing.assert_allclose(still, cloud, atol=2e-3)
    turned = with_limbs_turned(cloud, LimbTurns(50.0, 10.0, 10.0, 8.0), LimbTurns(40.0, 5.0, 0.0, 3.0))
    assert volume_m3(turned) == pytest.approx(volume_m3(cloud), rel=1e-3)
    np.testing.assert_allclose(np.linalg.norm(turned[3:6], axis=0), 1.0, atol=1e-9)
    # a closed surface has no area vector as a whole
    assert np.abs((turned[3:6] * turned[6]).sum(axis=1)).max() < 0.003 * turned[6].sum()
    assert turned[6].sum() == pytest.approx(cloud[6].sum(), rel=0.03)
    assert turned[2].min() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("turn", "standing"),
    [
        (LimbTurns(arm_below=30.0), Standing(30.0)),
        (LimbTurns(arm_below=50.0), Standing(50.0)),
        (LimbTurns(arm_below=20.0, arm_forward=12.0), Standing(20.0, 12.0)),
        (LimbTurns(leg=6.0), Standing(leg=12.0)),
    ],
)
def test_bent_bodies_are_near_the_skeletons(person: Person, turn: LimbTurns, standing: Standing) -> None:
    scanned, posed = cloud_of(person, T_POSE), cloud_of(person, standing)
    before = np.abs(thickness(posed) - thickness(scanned)).sum()
    after = np.abs(thickness(posed) - thickness(with_limbs_turned(scanned, turn, turn))).sum()
    assert after < 0.65 * before


def test_each_side_is_turned_by_itself(person: Person) -> None:
    cloud = cloud_of(person, T_POSE)
    turned = with_limbs_turned(cloud, LimbTurns(arm_below=40.0), LimbTurns())
    hands = {side: (side * cloud[0] > 0.35 * cloud[2].max()) for side in (1, -1)}
    assert (cloud[2] - turned[2])[hands[1]].mean() > 0.15
    assert np.abs((cloud[2] - turned[2])[hands[-1]]).max() < 0.01


def test_arms_that_hang_or_are_missing_are_left_alone(person: Person) -> None:
    hanging = cloud_of(person, Standing(65.0))
    assert arms_of(hanging) == {1: None, -1: None}
    lower = LimbTurns(arm_below=LOWEST_ARM_DEG + 30.0)
    np.testing.assert_allclose(with_limbs_turned(hanging, lower, lower), hanging, atol=5e-3)
    cloud = cloud_of(person, T_POSE)
    without = cloud[:, np.abs(cloud[0]) < 0.15 * cloud[2].max()]
    assert arms_of(without) == {1: None, -1: None}
    lowered = cloud_of(person, Standing(30.0))
    raised = with_limbs_turned(lowered, LimbTurns(arm_below=10.0), LimbTurns(arm_below=10.0))
    np.testing.assert_allclose(raised, lowered, atol=5e-3)  # nothing is ever raised
