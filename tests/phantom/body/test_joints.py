"""Trunk coordinates: 0 at the hips, 1 at the shoulders, left positive, and they turn with the body."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import BodyModel, Phenotype, Positioning

SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01", "neck01")


def upright() -> dict[str, FloatArray]:
    """A trunk of 0.5 m, hips 0.2 and shoulders 0.36 m apart."""
    joints = {
        "upperleg01.L": np.array([0.1, 0.0, 0.0]),
        "upperleg01.R": np.array([-0.1, 0.0, 0.0]),
        "upperarm01.L": np.array([0.18, 0.02, 0.5]),
        "upperarm01.R": np.array([-0.18, 0.02, 0.5]),
    }
    return joints | {name: np.array([0.0, 0.05 - 0.01 * k, 0.1 * k]) for k, name in enumerate(SPINE)}


def turned(joints: dict[str, FloatArray], angle_deg: float, shift_m: FloatArray) -> dict[str, FloatArray]:
    sine, cosine = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return {name: turn @ joint + shift_m for name, joint in joints.items()}


def test_known_answers_on_an_upright_trunk() -> None:
    axes = trunk_axes(upright())
    assert axes.length_m == pytest.approx(0.5)
    assert axes.hip_half_width_m == pytest.approx(0.1)
    assert axes.shoulder_half_width_m == pytest.approx(0.18)
    left, level = axes.coordinates(np.array([0.1, -0.18, 0.0]), np.array([0.0, 0.5, 0.25]))
    np.testing.assert_allclose(left, [0.1, -0.18, 0.0], atol=1e-12)
    np.testing.assert_allclose(level, [0.0, 1.0, 0.5], atol=1e-12)


def test_depth_of_the_spine_is_interpolated() -> None:
    axes = trunk_axes(upright())
    assert axes.depth_m(0.2) == pytest.approx(0.04)
    assert axes.depth_m(0.3) == pytest.approx(0.035)
    assert axes.depth_m(-1.0) == pytest.approx(0.05)  # below the spine: its end


def test_coordinates_turn_and_move_with_the_body() -> None:
    joints, shift = upright(), np.array([0.07, 0.01, -0.3])
    points = {"point": np.array([0.05, 0.0, 0.31])}
    still = trunk_axes(joints).coordinates(points["point"][0], points["point"][2])
    moved_point = turned(points, 12.0, shift)["point"]
    moved = trunk_axes(turned(joints, 12.0, shift)).coordinates(moved_point[0], moved_point[2])
    np.testing.assert_allclose(moved, still, atol=1e-12)


def test_a_real_body_has_its_trunk_between_hips_and_shoulders(body_model: BodyModel, lean_woman: Phenotype) -> None:
    body = body_model.supine(lean_woman, Positioning())
    axes = trunk_axes(body.joints_m)
    assert 0.38 < axes.length_m < 0.58
    assert axes.shoulder_half_width_m > axes.hip_half_width_m
    left, level = axes.coordinates(axes.spine_m[:, 0], axes.spine_m[:, 2])
    assert (np.diff(level) > 0).all()
    assert np.abs(left).max() < 0.01
