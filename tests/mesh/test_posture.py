from __future__ import annotations

import numpy as np
import pytest
import trimesh

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.posture import (
    MAX_LEAN_DEGREES,
    MAX_SHIN_GIRTH,
    MIN_CENTRE,
    MIN_TOES,
    SKIN_AREA,
    measure_posture,
)
from tests.mesh.shapes import body, box, moved, turned


def test_a_box_has_known_measures() -> None:
    posture = measure_posture(box((0.4, 0.2, 2.0)))
    assert posture.skin_area == pytest.approx(2 * (0.4 * 0.2 + 0.4 * 2.0 + 0.2 * 2.0) / 4.0)
    assert posture.centre == pytest.approx(0.5, abs=0.01)
    assert posture.shin_girth == pytest.approx(2 * (0.4 + 0.2) / 2.0, rel=0.03)
    assert posture.toes == pytest.approx(0.0, abs=0.01)
    assert posture.tilt_degrees < 1.0
    assert posture.turn_degrees < 1.0


@pytest.mark.parametrize("degrees", [10.0, 35.0, 80.0])
def test_tilt_and_turn_are_angles(degrees: float) -> None:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    tilted = turned(box((0.6, 0.2, 2.0)), [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    assert measure_posture(tilted).tilt_degrees == pytest.approx(degrees, abs=1.0)
    yawed = turned(box((0.6, 0.2, 2.0)), [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    assert measure_posture(yawed).turn_degrees == pytest.approx(degrees, abs=2.0)


@pytest.mark.parametrize("name", ["woman", "man", "child", "supine"])
def test_people_keep_a_distance_from_the_limits(people: dict[str, BodyMesh], name: str) -> None:
    posture = measure_posture(people[name])
    assert 1.2 * SKIN_AREA[0] < posture.skin_area < 0.8 * SKIN_AREA[1]
    assert posture.centre > MIN_CENTRE + 0.03
    assert posture.shin_girth < 0.8 * MAX_SHIN_GIRTH
    assert posture.toes > 1.5 * MIN_TOES
    assert posture.tilt_degrees < 5.0
    assert posture.turn_degrees < 5.0


def test_place_size_and_topology_do_not_matter(woman: BodyMesh) -> None:
    plain = measure_posture(woman)
    finer = body(trimesh.Trimesh(woman.vertices_m, woman.faces, process=False).subdivide())
    for other in (moved(woman, x=2.0, y=-1.0, z=5.0, scale=0.6), finer):
        posture = measure_posture(other)
        assert posture.skin_area == pytest.approx(plain.skin_area, rel=1e-6)
        assert posture.centre == pytest.approx(plain.centre, abs=0.002)
        assert posture.shin_girth == pytest.approx(plain.shin_girth, rel=0.03)
        assert posture.toes == pytest.approx(plain.toes, abs=0.003)


@pytest.mark.parametrize("name", ["woman", "man"])
@pytest.mark.parametrize("degrees", [-2.0, 2.0])
def test_leaning_is_told_from_a_belly(people: dict[str, BodyMesh], name: str, degrees: float) -> None:
    straight = measure_posture(people[name]).lean_degrees
    assert abs(straight) < MAX_LEAN_DEGREES
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    leant = turned(people[name], [[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    assert measure_posture(leant).lean_degrees - straight == pytest.approx(degrees, abs=0.2)
