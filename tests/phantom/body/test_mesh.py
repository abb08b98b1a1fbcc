from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.phantom.body import mesh


def tube(corners: int = 12, radius: float = 0.3, length: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """An open prism around z, outward."""
    angle = 2 * np.pi * np.arange(corners) / corners
    ring = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(corners)])
    low, following = np.arange(corners), (np.arange(corners) + 1) % corners
    faces = np.concatenate(
        [
            np.column_stack([low, following, following + corners]),
            np.column_stack([low, following + corners, low + corners]),
        ]
    )
    return np.concatenate([ring, ring + np.array([0, 0, length])]), faces


def sphere(radius: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=radius)
    return np.asarray(ball.vertices), np.asarray(ball.faces, dtype=np.int64)


def test_closed_surface_has_no_loops() -> None:
    assert mesh.boundary_loops(sphere()[1]) == []


def test_loops_of_a_tube_are_its_two_rims() -> None:
    _, faces = tube(corners=7)
    loops = mesh.boundary_loops(faces)
    assert [sorted(loop.tolist()) for loop in loops] == [list(range(7)), list(range(7, 14))]


def test_capped_tube_is_a_watertight_prism() -> None:
    vertices, faces = tube(corners=9, radius=0.3, length=0.8)
    loops = mesh.boundary_loops(faces)
    closed = np.concatenate([faces, mesh.cap_faces(loops, len(vertices))])
    points = mesh.append_centres(vertices, loops)
    solid = trimesh.Trimesh(points, closed, process=False)
    assert solid.is_watertight
    assert solid.is_winding_consistent
    base = 9 / 2 * 0.3**2 * np.sin(2 * np.pi / 9)
    assert mesh.enclosed_volume_m3(points, closed) == pytest.approx(base * 0.8, rel=1e-12)
    assert mesh.surface_area_m2(points, closed) == pytest.approx(2 * base + 9 * 0.8 * 0.6 * np.sin(np.pi / 9))


def test_holes_that_touch_are_refused() -> None:
    # Two triangles that share one vertex: the vertex lies on both rims.
    with pytest.raises(InputError, match="holes that do not touch"):
        mesh.boundary_loops(np.array([[0, 1, 2], [0, 3, 4]]))


def test_no_holes_need_no_caps() -> None:
    assert mesh.cap_faces([], 5).shape == (0, 3)
    assert mesh.append_centres(np.zeros((5, 3)), []).shape == (5, 3)


def test_volume_and_area_agree_with_trimesh() -> None:
    vertices, faces = sphere()
    vertices = vertices * [1.0, 0.4, 1.7]
    reference = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.enclosed_volume_m3(vertices, faces) == pytest.approx(reference.volume, rel=1e-12)
    assert mesh.surface_area_m2(vertices, faces) == pytest.approx(reference.area, rel=1e-12)


def test_volume_changes_sign_with_orientation_and_not_with_position() -> None:
    vertices, faces = sphere()
    volume = mesh.enclosed_volume_m3(vertices, faces)
    assert mesh.enclosed_volume_m3(vertices, faces[:, ::-1]) == pytest.approx(-volume, rel=1e-12)
    assert mesh.enclosed_volume_m3(vertices + np.array([1000.0, -500.0, 20.0]), faces) == pytest.approx(
        volume, rel=1e-9
    )


def test_smoothing_is_the_mean_of_the_neighbours() -> None:
    vertices, faces = tube(corners=6)
    operator = mesh.smoothing_matrix(faces, len(vertices) + 1)
    values = np.random.default_rng(0).random(len(vertices) + 1)
    smoothed = operator @ values
    for vertex in range(len(vertices)):
        neighbours = {int(v) for face in faces if vertex in face for v in face} - {vertex}
        assert smoothed[vertex] == pytest.approx(np.mean([values[v] for v in neighbours]))
    assert smoothed[-1] == values[-1], "a vertex without faces keeps its value"
    np.testing.assert_allclose(operator @ np.ones(len(vertices) + 1), 1.0)


def test_ply_round_trip_and_equal_bytes(tmp_path) -> None:
    vertices, faces = sphere()
    for name in ("first.ply", "second.ply"):
        mesh.write_ply(tmp_path / name, vertices, faces)
    assert (tmp_path / "first.ply").read_bytes() == (tmp_path / "second.ply").read_bytes()
    read = trimesh.load(tmp_path / "first.ply", process=False)
    np.testing.assert_array_equal(read.faces, faces)
    np.testing.assert_array_equal(read.vertices.astype(np.float32), vertices.astype(np.float32))


def test_ply_refuses_wrong_shapes(tmp_path) -> None:
    with pytest.raises(InputError, match=r"expected vertices \(V, 3\)"):
        mesh.write_ply(tmp_path / "x.ply", np.zeros((4, 2)), np.zeros((1, 3), dtype=np.int64))
    assert list(tmp_path.iterdir()) == []


def test_vertices_of_a_mesh_file_are_read_back(tmp_path: Path) -> None:
    vertices = np.random.default_rng(0).standard_normal((7, 3))
    mesh.write_ply(tmp_path / "a.ply", vertices, np.array([[0, 1, 2], [2, 3, 6]]))
    np.testing.assert_array_equal(mesh.read_ply_vertices(tmp_path / "a.ply"), vertices.astype(np.float32))


@pytest.mark.parametrize("content", [b"", b"solid something", None])
def test_a_mesh_file_that_is_none_is_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.ply"
    if content is None:  # cut off
        mesh.write_ply(path, np.zeros((7, 3)), np.array([[0, 1, 2]]))
        content = path.read_bytes()[:160]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.ply: expected a whole mesh"):
        mesh.read_ply_vertices(path)
    with pytest.raises(InputError, match="expected a mesh file"):
        mesh.read_ply_vertices(tmp_path / "missing.ply")
