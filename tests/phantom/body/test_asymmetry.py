"""Left and right differ as asked for, in skin, bones and posture, and the body keeps its volume and its joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.phantom.anthropometry import measure
from dxa_monai.phantom.body.asymmetry import SYMMETRIC, Asymmetry
from dxa_monai.phantom.body.model import BodyModel, Phenotype
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.skeleton.bones import load_skeleton
from dxa_monai.phantom.skeleton.placed import place_skeleton


def test_factors_of_the_sides_have_the_ratio_asked_for() -> None:
    asymmetry = Asymmetry(leg_bone=0.1)
    assert asymmetry.of("left", "leg_bone") / asymmetry.of("right", "leg_bone") == pytest.approx(np.exp(0.1))
    assert asymmetry.of("left", "arm_bone") == 1.0


def test_girths_of_the_limbs_differ_and_the_volume_stays(body_model: BodyModel, lean_woman: Phenotype) -> None:
    plain = measure(body_model.t_pose(lean_woman), body_model)
    uneven = replace(lean_woman, asymmetry=Asymmetry(arm_flesh=-0.10, leg_flesh=0.06))
    found = measure(body_model.t_pose(uneven), body_model)
    for part, ratio in (("bicep", -0.05), ("forearm", -0.05), ("thigh", 0.03), ("calf", 0.03)):
        left, right = (found[f"{part}_{side}_circumference_cm"] for side in ("left", "right"))
        assert np.log(left / right) == pytest.approx(ratio, abs=0.012), part
        assert (left + right) / 2.0 == pytest.approx(plain[f"{part}_left_circumference_cm"], rel=0.005)
    assert found["total_volume_l"] == pytest.approx(plain["total_volume_l"], rel=1e-3)
    assert found["hip_circumference_cm"] == pytest.approx(plain["hip_circumference_cm"], rel=5e-3)


def test_alike_sides_change_nothing(body_model: BodyModel, lean_woman: Phenotype) -> None:
    again = body_model.t_pose(replace(lean_woman, asymmetry=Asymmetry()))
    assert again.vertices_m.tobytes() == body_model.t_pose(lean_woman).vertices_m.tobytes()
    assert Asymmetry() == SYMMETRIC


def test_bends_leave_head_and_hips_upright(body_model: BodyModel, lean_woman: Phenotype) -> None:
    bent = replace(lean_woman, asymmetry=Asymmetry(lumbar_bend_deg=5.0, thoracic_bend_deg=-3.0))
    plain, joints = body_model.supine(lean_woman).joints_m, body_model.supine(bent).joints_m

    def direction(where: dict[str, np.ndarray], start: str, end: str) -> float:
        vector = where[end] - where[start]
        return float(np.rad2deg(np.arctan2(vector[0], vector[2])))

    assert direction(joints, "spine05", "spine03") == pytest.approx(5.0, abs=0.5)
    assert direction(joints, "spine03", "spine01") == pytest.approx(-3.0, abs=0.5)
    for ends in (("neck01", "head"), ("upperleg01.R", "upperleg01.L")):
        assert direction(joints, *ends) == pytest.approx(direction(plain, *ends), abs=0.01)


def test_a_raised_shoulder_stands_higher(body_model: BodyModel, lean_woman: Phenotype) -> None:
    raised = replace(lean_woman, asymmetry=Asymmetry(left_shoulder_raise_deg=6.0))
    joints = body_model.supine(raised).joints_m
    assert 0.008 < joints["upperarm01.L"][2] - joints["upperarm01.R"][2] < 0.03


def test_bones_of_one_side_are_wider(body_model: BodyModel, lean_woman: Phenotype) -> None:
    body = body_model.supine(lean_woman)
    skeleton = load_skeleton()
    placed = place_skeleton(body, body_model, 1.0, Asymmetry(arm_bone=0.06, leg_bone=-0.04))

    def volume(name: str) -> float:
        a, b, c = np.moveaxis(
            placed.vertices_m[skeleton.faces[skeleton.bone_of_face == skeleton.bone_names.index(name)]], 1, 0
        )
        return float((np.cross(a, b) * c).sum() / 6.0)

    for bone, ratio in (("humerus", 0.12), ("ulna", 0.12), ("femur", -0.08), ("tibia", -0.08)):
        assert np.log(volume(f"{bone}_left") / volume(f"{bone}_right")) == pytest.approx(ratio, abs=0.01), bone


def test_most_people_have_the_stronger_arm_on_the_right() -> None:
    people = [sample_person(index, seed=7) for index in range(1000)]
    arms = np.array([person.asymmetry.arm_flesh for person in people])
    assert 0.75 < (arms < 0.0).mean() < 0.92
    assert np.median(-arms) == pytest.approx(0.045, abs=0.015)
    legs = np.array([person.asymmetry.leg_flesh for person in people])
    assert abs(np.median(legs)) < 0.004
    assert 0.015 < np.median(np.abs(legs)) < 0.025
    assert all(abs(person.asymmetry.lumbar_bend_deg) < 10.0 for person in people)
