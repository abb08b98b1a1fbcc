from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.topology import disagreeing_faces, find_holes, pieces, repeated_faces, weld
from tests.mesh.shapes import box, joined, moved, sphere, tube


def areas(mesh: BodyMesh) -> np.ndarray:
    return mesh.face_areas_m2


def test_welding_a_soup_gives_back_the_shape() -> None:
    shape = box()
    soup = shape.vertices_m[shape.faces].reshape(-1, 3)
    welded, first = weld(soup, np.arange(len(soup)).reshape(-1, 3))
    assert len(first) == 8
    np.testing.assert_array_equal(soup[first][welded], shape.vertices_m[shape.faces])
    assert (np.diff(first) > 0).all()


def test_welding_without_doubles_changes_nothing() -> None:
    shape = sphere(subdivisions=2)
    welded, first = weld(shape.vertices_m, shape.faces)
    np.testing.assert_array_equal(welded, shape.faces)
    np.testing.assert_array_equal(first, np.arange(len(shape.vertices_m)))


def test_positive_and_negative_zero_are_one_place() -> None:
    assert len(weld(np.array([[0.0, 1.0, 2.0], [-0.0, 1.0, 2.0]]), np.array([[0, 1, 1]]))[1]) == 1


def test_repeated_faces_agree_with_a_naive_loop() -> None:
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 6, (200, 3))
    seen: set[tuple[int, ...]] = set()
    expected = []
    for face in faces:
        key = tuple(sorted(face.tolist()))
        expected.append(key in seen)
        seen.add(key)
    np.testing.assert_array_equal(repeated_faces(faces), expected)


def test_pieces_are_numbered_by_area() -> None:
    both = joined(sphere(0.1, 1), moved(sphere(0.3, 1), x=1.0), moved(sphere(0.2, 1), x=-1.0))
    piece = pieces(both.vertices_m, both.faces, areas(both))
    np.testing.assert_array_equal(piece, np.repeat([2, 0, 1], 80))


@pytest.mark.parametrize(("gap_m", "count"), [(0.0005, 1), (0.002, 2)])
def test_a_crack_as_of_a_scanner_does_not_part_a_body(gap_m: float, count: int) -> None:
    both = joined(box((1.0, 1.0, 1.0)), moved(box((1.0, 1.0, 1.0)), x=1.0 + gap_m))
    assert pieces(both.vertices_m, both.faces, areas(both)).max() + 1 == count


@pytest.mark.parametrize("seed", range(5))
def test_turned_faces_are_found(seed: int) -> None:
    shape = sphere(subdivisions=2)
    turned = np.random.default_rng(seed).random(len(shape.faces)) < 0.3
    faces = np.where(turned[:, None], shape.faces[:, ::-1], shape.faces)
    np.testing.assert_array_equal(disagreeing_faces(faces, areas(shape)), turned)


def test_the_majority_is_counted_in_each_sheet_by_itself() -> None:
    inwards = sphere(subdivisions=1)
    both = joined(BodyMesh(inwards.vertices_m, inwards.faces[:, ::-1]), moved(sphere(subdivisions=2), x=3.0))
    assert not disagreeing_faces(both.faces, areas(both)).any()


def test_a_moebius_strip_has_no_majority() -> None:
    steps = np.arange(5)
    faces = np.stack([steps, (steps + 1) % 5, (steps + 2) % 5], axis=1)
    assert not disagreeing_faces(faces, np.ones(5)).any()


def test_a_closed_surface_has_no_holes() -> None:
    shape = sphere(subdivisions=2)
    assert len(find_holes(shape.vertices_m, shape.faces).areas_m2) == 0


def test_holes_of_a_tube_are_its_two_rims() -> None:
    shape = tube(corners=16, radius=0.3)
    holes = find_holes(shape.vertices_m, shape.faces)
    polygon = 0.5 * 16 * 0.3**2 * np.sin(2 * np.pi / 16)
    np.testing.assert_allclose(holes.areas_m2, [polygon, polygon])
    assert len(holes.edges) == 32
    sides = {(int(a), int(b)) for face in shape.faces for a, b in zip(face, np.roll(face, -1), strict=True)}
    assert {(int(a), int(b)) for a, b in holes.edges} <= sides
