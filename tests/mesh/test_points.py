from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from dxa_monai.errors import InputError
from dxa_monai.mesh.geometry import face_vectors
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred, fixed_vertices, point_cloud, sample_points, surface_pieces, with_noise
from tests.mesh.shapes import body, box, joined, moved, sphere, tube


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_points_lie_on_the_box_with_its_normals_and_evenly_by_area() -> None:
    half = np.array([0.25, 0.15, 0.85])
    points, normals = (tensor.double().numpy() for tensor in sample_points(box(), 20_000, generator()))
    side = np.abs(normals).argmax(axis=1)
    sign = np.take_along_axis(normals, side[:, None], axis=1)[:, 0]
    on_side = np.take_along_axis(points, side[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(on_side, sign * half[side], atol=1e-6)  # outwards, and on the surface
    assert (np.abs(points) <= half + 1e-6).all()
    area = np.array([half[1] * half[2], half[0] * half[2], half[0] * half[1]])
    observed = np.array([((side == axis) & (sign > 0)).sum() for axis in range(3)])
    observed = np.append(observed, [((side == axis) & (sign < 0)).sum() for axis in range(3)])
    assert scipy.stats.chisquare(observed, 20_000 * np.tile(area, 2) / (2 * area.sum())).pvalue > 1e-3


def test_density_inside_a_face_is_even() -> None:
    points, _ = sample_points(box((1.0, 1.0, 1.0)), 24_000, generator(1))
    top = points[points[:, 2] > 0.5 - 1e-6, :2].numpy()
    counts = np.histogram2d(top[:, 0], top[:, 1], bins=6, range=[(-0.5, 0.5)] * 2)[0].ravel()
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_heights_on_a_sphere_are_uniform_whatever_its_mesh() -> None:
    """Archimedes: equal slices of a sphere have equal areas. The second mesh is fine on one side only."""
    fine = trimesh.creation.icosphere(subdivisions=4, radius=0.85)
    uneven = fine.subdivide(face_index=np.flatnonzero(fine.triangles_center[:, 2] > 0.0))
    for mesh in (body(fine), body(uneven)):
        points, normals = sample_points(mesh, 10_000, generator(2))
        assert scipy.stats.kstest(points[:, 2].numpy(), "uniform", args=(-0.85, 1.7)).pvalue > 1e-3
        np.testing.assert_allclose(normals.norm(dim=1).numpy(), 1.0, atol=1e-5)
        assert ((points * normals).sum(dim=1) > 0.84).all()


def test_types_and_shapes() -> None:
    points, normals = sample_points(box(), 17, generator())
    assert points.shape == normals.shape == (17, 3)
    assert points.dtype == normals.dtype == torch.float32


def test_equal_generators_give_equal_points_and_the_next_draw_differs() -> None:
    first = generator(7)
    here, again = sample_points(box(), 50, first)[0], sample_points(box(), 50, first)[0]
    assert torch.equal(here, sample_points(box(), 50, generator(7))[0])
    assert not torch.equal(here, again)


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    here = sample_points(box(), 50, generator())[0]
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(sample_points(box(), 50, generator())[0], here)


def test_faces_without_area_and_unused_vertices_get_no_points() -> None:
    spoilt = joined(
        box(),
        BodyMesh(np.full((3, 3), 9.0), np.array([[0, 1, 2]])),
        BodyMesh(np.full((2, 3), 9.0), np.empty((0, 3), np.int64)),
    )
    assert sample_points(spoilt, 500, generator())[0].abs().max() < 1.0


@pytest.mark.parametrize("points", [sample_points, point_cloud])
def test_no_points_is_refused(points: Callable[..., object]) -> None:
    with pytest.raises(InputError, match="count: expected at least one point, got 0"):
        points(box(), 0, generator())


def test_pieces_of_a_box_are_flat_and_alike() -> None:
    """Twelve faces become 4,000 pieces; few of them go around an edge, where two sides share what is left over."""
    mesh = box()
    centres, area_vectors = surface_pieces(mesh, 4000)
    areas = np.linalg.norm(area_vectors, axis=1)
    share = mesh.face_areas_m2.sum() / 4000
    half = np.array([0.25, 0.15, 0.85])
    side = np.abs(area_vectors).argmax(axis=1)
    flat = np.abs(area_vectors).max(axis=1) > 0.999 * areas
    assert flat.mean() > 0.95
    on_side = np.take_along_axis(centres, side[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(np.abs(on_side[flat]), half[side[flat]], atol=1e-9)
    np.testing.assert_allclose(areas[flat], share, rtol=0.5)
    assert np.std(areas[flat]) < 0.2 * share
    np.testing.assert_allclose(area_vectors.sum(axis=0), 0.0, atol=1e-12)  # a closed surface
    volume = (centres * area_vectors).sum() / 3.0
    assert volume == pytest.approx(8.0 * np.prod(half), rel=2e-3)


@pytest.mark.parametrize("count", [1, 7, 500, 4096])
def test_pieces_leave_nothing_out(count: int) -> None:
    """Area vectors add up exactly, on an open mesh too; a bent piece has less than its area."""
    mesh = tube()
    centres, area_vectors = surface_pieces(mesh, count)
    assert len(centres) == len(area_vectors) == count
    faces = face_vectors(mesh.vertices_m, mesh.faces)
    np.testing.assert_allclose(area_vectors.sum(axis=0), faces.sum(axis=0), atol=1e-12)
    assert np.linalg.norm(area_vectors, axis=1).sum() <= mesh.face_areas_m2.sum() * (1.0 + 1e-9)


@given(seed=st.integers(0, 2**31), faces=st.integers(1, 40), count=st.integers(1, 60))
def test_pieces_of_any_triangles_are_as_many_as_asked_for(seed: int, faces: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.normal(size=(3 * faces, 3)) * np.exp(rng.normal(size=(3 * faces, 1)))
    mesh = BodyMesh(corners, np.arange(3 * faces).reshape(faces, 3))
    centres, area_vectors = surface_pieces(mesh, count)
    assert centres.shape == area_vectors.shape == (count, 3)
    assert np.isfinite(centres).all()
    faces_m2 = face_vectors(mesh.vertices_m, mesh.faces)
    np.testing.assert_allclose(area_vectors.sum(axis=0), faces_m2.sum(axis=0), atol=1e-9 * np.abs(faces_m2).sum())


def test_a_cloud_is_its_mesh_in_another_order() -> None:
    first, again = point_cloud(sphere(), 300, generator(0)), point_cloud(sphere(), 300, generator(1))
    assert first.shape == (7, 300)
    assert first.dtype == torch.float32
    assert not torch.equal(first, again)
    assert torch.equal(first.unique(dim=1), again.unique(dim=1))
    torch.testing.assert_close(first[3:6].norm(dim=0), torch.ones(300))
    assert 0.97 < float(first[6].sum() / sphere().face_areas_m2.sum()) <= 1.0


def test_the_volume_of_a_cloud_does_not_depend_on_the_mesh() -> None:
    """By the divergence theorem, from y alone; points drawn at random leave 0.3 % and independent ones 1.4 %."""
    fine = trimesh.creation.icosphere(subdivisions=4, radius=0.85)
    uneven = fine.subdivide(face_index=np.flatnonzero(fine.triangles_center[:, 2] > 0.0))
    true = 4.0 / 3.0 * np.pi * 0.85**3
    for mesh in (fine, uneven, fine.subdivide()):
        cloud = point_cloud(centred(body(mesh)), 4096, generator())
        assert float((cloud[1] * cloud[4] * cloud[6]).sum()) == pytest.approx(true, rel=4e-3)


def test_drawn_volume_hardly_depends_on_the_draw() -> None:
    mesh = centred(body(trimesh.creation.icosphere(subdivisions=4, radius=0.85)))
    volumes = []
    for seed in range(20):
        points, normals = sample_points(mesh, 4096, generator(seed))
        volumes.append(float((points[:, 1] * normals[:, 1]).mean() * mesh.face_areas_m2.sum()))
    true = 4.0 / 3.0 * np.pi * 0.85**3
    assert np.mean(volumes) == pytest.approx(true, rel=5e-3)
    assert np.std(volumes) < 0.004 * true


def test_fixed_vertices_are_every_fifth_with_radial_normals() -> None:
    mesh = sphere()
    points, normals = fixed_vertices(mesh)
    np.testing.assert_array_equal(points.numpy(), mesh.vertices_m[::5].astype(np.float32))
    np.testing.assert_allclose(normals.numpy(), mesh.vertices_m[::5] / 0.85, atol=0.02)
    np.testing.assert_allclose(normals.norm(dim=1).numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize(
    ("step", "vertex_count", "sentence"),
    [(0, None, "step: expected at least 1, got 0"), (5, 9, "shape: expected the fixed topology of 9 vertices, got 8")],
)
def test_another_topology_is_refused(step: int, vertex_count: int | None, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        fixed_vertices(box(), step, vertex_count)


def test_a_fixed_vertex_without_faces_is_refused() -> None:
    alone = BodyMesh(np.array([[1.0, 2.0, 3.0]]), np.empty((0, 3), dtype=np.int64))
    with pytest.raises(InputError, match="got 1 without: sample points instead"):
        fixed_vertices(joined(box(), alone), step=1)


def test_centring_forgets_the_place_and_keeps_the_size() -> None:
    here, there = centred(box()), centred(moved(box(), x=3.0, y=-2.0, z=1.0))
    np.testing.assert_allclose(here.vertices_m, there.vertices_m, atol=1e-12)
    np.testing.assert_allclose(here.bounds_m, [[-0.25, -0.15, 0.0], [0.25, 0.15, 1.7]], atol=1e-12)
    small = centred(moved(box(), scale=0.5, x=1.0))
    np.testing.assert_allclose(small.vertices_m, here.vertices_m / 2.0, atol=1e-12)


def test_centring_does_not_depend_on_the_topology() -> None:
    """The mean of the vertices would move to the finely triangulated half."""
    plain = trimesh.creation.box((0.5, 0.3, 1.7))
    uneven = plain.subdivide().subdivide()
    uneven = uneven.subdivide(face_index=np.flatnonzero(uneven.triangles_center[:, 0] > 0.0))
    np.testing.assert_allclose(centred(body(uneven)).bounds_m, centred(body(plain)).bounds_m, atol=1e-12)


def test_noise_has_the_size_asked_for() -> None:
    points = torch.zeros(20_000, 3)
    noisy = with_noise(points, 2.0, generator())
    assert noisy.std().item() == pytest.approx(0.002, rel=0.02)
    assert torch.equal(noisy, with_noise(points, 2.0, generator()))
