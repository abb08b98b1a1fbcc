"""Extents of the trunk by height, against an elliptic cylinder whose extents are known."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.body.mesh import FloatArray, IntArray
from dxa_monai.phantom.tissue.trunk_skin import FLANK_M, TrunkSkin


def cylinder(half_width_m: float, half_depth_m: float, taper: float = 0.0) -> tuple[FloatArray, IntArray]:
    """Vertices and edges of an upright elliptic cylinder from z = 0 to 1, by ``taper`` narrower at the top."""
    around, rings = 360, 11
    angle = np.linspace(0.0, 2.0 * np.pi, around, endpoint=False)
    points = []
    for z in np.linspace(0.0, 1.0, rings):
        scale = 1.0 - taper * z
        points.append(
            np.column_stack(
                [scale * half_width_m * np.cos(angle), scale * half_depth_m * np.sin(angle), np.full(around, z)]
            )
        )
    first = np.arange(around * (rings - 1))
    return np.concatenate(points), np.column_stack([first, first + around])


def test_extents_of_an_elliptic_cylinder() -> None:
    points, edges = cylinder(0.16, 0.10)
    skin = TrunkSkin.of(points, points, edges, np.array([0.25, 0.55]))
    np.testing.assert_allclose(skin.front_m, -0.10, atol=1e-3)
    np.testing.assert_allclose(skin.back_m, 0.10, atol=1e-3)
    np.testing.assert_allclose(skin.blade_back_m, 0.10, atol=1e-3)
    np.testing.assert_allclose(skin.half_width_m, 0.16, atol=1e-3)
    beside = 0.10 * np.sqrt(1.0 - ((FLANK_M - 0.02) / 0.16) ** 2)  # foremost point of the strip in the flank
    np.testing.assert_allclose(skin.flank_front_m, -beside, atol=2e-3)


def test_heights_between_rings_are_interpolated() -> None:
    points, edges = cylinder(0.16, 0.10, taper=0.5)
    skin = TrunkSkin.of(points, points, edges, np.array([0.33, 0.77]))
    np.testing.assert_allclose(skin.half_width_m, 0.16 * (1.0 - 0.5 * np.array([0.33, 0.77])), atol=1e-3)


def test_the_narrower_of_skin_and_lean_surface_counts() -> None:
    points, edges = cylinder(0.20, 0.13)
    lean, _ = cylinder(0.15, 0.10)
    skin = TrunkSkin.of(points, lean, edges, np.array([0.5]))
    assert skin.half_width_m == pytest.approx(0.15, abs=1e-3)
    assert skin.front_m == pytest.approx(-0.10, abs=1e-3)
    assert skin.back_m == pytest.approx(0.10, abs=1e-3)
    assert skin.skin_half_width_m == pytest.approx(0.20, abs=1e-3)  # this one is of the skin alone
    assert skin.flank_front_m < -0.10
