from __future__ import annotations

import numpy as np
import pytest
import trimesh

from dxa_monai.mesh.geometry import bounds, face_areas, face_centres, face_vectors, vertex_normals
from tests.mesh.shapes import sphere


def test_the_vector_of_a_face_is_as_long_as_its_area_and_points_outwards() -> None:
    vertices = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 3.0, 0.0]])  # counter-clockwise seen from above
    np.testing.assert_array_equal(face_vectors(vertices, np.array([[0, 1, 2]])), [[0.0, 0.0, 6.0]])


def test_areas_centres_and_normals_agree_with_trimesh() -> None:
    ball = sphere(0.5, 3)
    vertices = ball.vertices_m * [1.0, 0.4, 1.7]
    reference = trimesh.Trimesh(vertices, ball.faces, process=False)
    vectors = face_vectors(vertices, ball.faces)
    np.testing.assert_allclose(face_areas(vertices, ball.faces), reference.area_faces, rtol=1e-10)
    np.testing.assert_allclose(vectors, reference.face_normals * reference.area_faces[:, None], atol=1e-12)
    np.testing.assert_allclose(face_centres(vertices, ball.faces), reference.triangles_center, atol=1e-14)
    assert face_areas(vertices, ball.faces).sum() == pytest.approx(reference.area, rel=1e-12)


def test_vectors_of_a_closed_surface_add_up_to_nothing() -> None:
    ball = sphere(0.5, 3)
    np.testing.assert_allclose(face_vectors(ball.vertices_m, ball.faces).sum(axis=0), 0.0, atol=1e-14)


def test_normals_of_a_sphere_are_radial() -> None:
    ball = sphere(0.5, 3)
    np.testing.assert_allclose(vertex_normals(ball.vertices_m, ball.faces), ball.vertices_m / 0.5, atol=0.02)


def test_normal_of_an_unused_vertex_is_zero_and_its_place_is_outside_the_bounds() -> None:
    ball = sphere(0.5, 3)
    vertices = np.concatenate([ball.vertices_m, [[9.0, 9.0, 9.0]]])
    normals = vertex_normals(vertices, ball.faces)
    assert (normals[-1] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(normals[:-1], axis=1), 1.0)
    np.testing.assert_allclose(bounds(vertices, ball.faces), [[-0.5] * 3, [0.5] * 3], atol=0.01)
