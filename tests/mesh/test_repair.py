from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.mesh.checks import checked, find_defects
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.repair import repaired, survey
from tests.mesh.shapes import box, joined, moved, sphere, tube


def canonical(faces: np.ndarray) -> set[tuple[int, ...]]:
    """Faces from their smallest corner on: equal for equal winding."""
    return {tuple(np.roll(face, -int(face.argmin())).tolist()) for face in faces}


def test_survey_of_a_box() -> None:
    state = survey(box((0.5, 0.3, 1.7)))
    assert state.volume_m3 == pytest.approx(0.5 * 0.3 * 1.7)
    assert (state.piece_count, state.doubled_share, state.disagreeing_share, state.holes_share) == (1, 0.0, 0.0, 0.0)
    assert (state.other_pieces_share, state.other_pieces_outreach_m) == (0.0, 0.0)


def test_survey_of_spoilt_boxes() -> None:
    first = box((1.0, 1.0, 1.0))
    two = joined(first, moved(box((0.5, 0.5, 0.5)), x=2.0))
    assert survey(two).other_pieces_share == pytest.approx(0.2)
    assert survey(two).other_pieces_outreach_m == pytest.approx(1.75)
    assert survey(replace(first, faces=np.concatenate([first.faces, first.faces]))).doubled_share == pytest.approx(0.5)
    turned = first.faces.copy()
    turned[0] = turned[0][::-1]
    assert survey(replace(first, faces=turned)).disagreeing_share == pytest.approx(1 / 12)
    assert survey(replace(first, faces=turned)).volume_m3 == pytest.approx(1.0)
    assert survey(replace(first, faces=first.faces[:, ::-1])).volume_m3 == pytest.approx(-1.0)
    assert survey(replace(first, faces=first.faces[1:])).holes_share == pytest.approx(0.5 / 5.5)


def test_place_does_not_change_the_sign_of_an_open_surface() -> None:
    for x in (-100.0, 0.0, 100.0):
        assert survey(moved(tube(), x=x, y=x, z=x)).volume_m3 > 0.0


def test_a_flawless_mesh_comes_back_itself() -> None:
    shape = sphere(subdivisions=2)
    assert repaired(shape, others=True, max_holes=1.0).faces.shape == shape.faces.shape
    assert repaired(shape, others=False, max_holes=1.0) is shape


def test_holes_are_closed_by_a_fan_and_vertices_keep_their_numbers() -> None:
    shape = tube(corners=16, radius=0.3, height=1.6)
    mended = repaired(shape, others=False, max_holes=0.5)
    assert mended.mends == ("closed 2 holes",)
    np.testing.assert_array_equal(mended.vertices_m[:32], shape.vertices_m)
    np.testing.assert_allclose(mended.vertices_m[32:], [[0, 0, 0], [0, 0, 1.6]], atol=1e-12)
    state = survey(mended)
    assert state.holes_share == 0.0
    assert state.disagreeing_share == 0.0
    assert state.volume_m3 == pytest.approx(1.6 * 0.5 * 16 * 0.3**2 * np.sin(2 * np.pi / 16))


def test_holes_over_the_limit_stay() -> None:
    assert repaired(tube(), others=False, max_holes=0.05).mends == ()


def test_everything_at_once_is_mended_and_told(woman: BodyMesh) -> None:
    vertex_count, faces = len(woman.vertices_m), woman.faces
    centres = woman.vertices_m[faces].mean(axis=1)
    holed = faces[np.linalg.norm(centres - centres[5], axis=1) > 0.02]
    right_hand = woman.vertices_m[holed].mean(axis=1)[:, 0] < -0.7
    turned = np.where(right_hand[:, None], holed, holed[:, ::-1])
    flat = holed[:3][:, [0, 1, 1]]
    spoilt = replace(woman, faces=np.concatenate([turned, turned[:7], flat]))
    spoilt = joined(spoilt, moved(sphere(0.3, 2), x=3.0))
    mended = checked(spoilt, repair=True)
    assert find_defects(mended) == []
    np.testing.assert_array_equal(mended.vertices_m[:vertex_count], woman.vertices_m)
    left = mended.faces[(mended.faces < vertex_count).all(axis=1)]
    assert canonical(left) <= canonical(holed)
    assert len(left) > 0.95 * len(holed)  # eyes and teeth are pieces too
    phrases = "; ".join(mended.mends)
    for phrase in ("dropped 3 faces without area", "dropped 7 doubled faces", "kept the largest of", "wound", "closed"):
        assert phrase in phrases


def test_small_inner_pieces_are_kept(woman: BodyMesh) -> None:
    inside_out = replace(woman, faces=woman.faces[:, ::-1])
    mended = checked(inside_out, repair=True)
    assert canonical(mended.faces) >= canonical(woman.faces)
    assert mended.mends[0] == "turned the surface outwards"


def test_a_second_person_is_dropped(woman: BodyMesh) -> None:
    both = joined(moved(woman, x=-2.5, scale=0.9), woman)
    mended = checked(both, repair=True)
    assert mended.height_m == pytest.approx(woman.height_m, abs=0.01)
    assert "kept the largest of" in mended.mends[0]
