from __future__ import annotations

import numpy as np
import pytest
import trimesh

from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.tissue.projection import (
    BodyDoesNotFit,
    Frame,
    centre_frame,
    grouped_thickness_maps_cm,
    surface_area_map,
    thickness_map_cm,
)

SMALL = Frame(origin_x_m=-0.06, origin_z_m=0.08, pixel_spacing_mm=(20.0, 10.0), shape=(8, 12))


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    solid = trimesh.creation.box(bounds=[low, high])
    return np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int64)


def tilted_ellipsoid() -> tuple[np.ndarray, np.ndarray]:
    solid = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    solid.apply_scale([0.04, 0.02, 0.06])
    solid.apply_transform(trimesh.transformations.rotation_matrix(0.5, [0.3, 1.0, 0.2], point=[0.01, 0.0, 0.0]))
    return np.asarray(solid.vertices, dtype=np.float64), np.asarray(solid.faces, dtype=np.int64)


def naive_thickness_cm(vertices: np.ndarray, faces: np.ndarray, frame: Frame, samples: int) -> np.ndarray:
    """Oracle: at each of samples x samples rays a pixel, the sum of back minus front crossings."""
    rows, columns = frame.shape
    fractions = (np.arange(samples) + 0.5) / samples
    z = frame.origin_z_m - (np.arange(rows)[:, None] + fractions).ravel() * frame.pixel_spacing_mm[0] / 1e3
    x = frame.origin_x_m + (np.arange(columns)[:, None] + fractions).ravel() * frame.pixel_spacing_mm[1] / 1e3
    rays_z, rays_x = np.meshgrid(z, x, indexing="ij")
    total = np.zeros_like(rays_x)
    for a, b, c in vertices[faces]:
        area = (b[0] - a[0]) * (c[2] - a[2]) - (c[0] - a[0]) * (b[2] - a[2])
        if area == 0:
            continue
        share_b = ((rays_x - a[0]) * (c[2] - a[2]) - (c[0] - a[0]) * (rays_z - a[2])) / area
        share_c = ((b[0] - a[0]) * (rays_z - a[2]) - (rays_x - a[0]) * (b[2] - a[2])) / area
        share_a = 1 - share_b - share_c
        hit = (share_a >= 0) & (share_b >= 0) & (share_c >= 0)
        depth = share_a * a[1] + share_b * b[1] + share_c * c[1]
        total -= np.where(hit, np.sign(area) * depth, 0.0)
    return 100 * total.reshape(rows, samples, columns, samples).mean(axis=(1, 3))


def test_axis_aligned_box_is_exact() -> None:
    # 2.5 columns wide, 1.25 rows high, 30 mm deep.
    vertices, faces = box((-0.06 + 0.010, -0.01, 0.08 - 0.045), (-0.06 + 0.035, 0.02, 0.08 - 0.020))
    expected = np.zeros(SMALL.shape)
    expected[1, 1:4] = [3.0, 3.0, 1.5]
    expected[2, 1:4] = np.array([3.0, 3.0, 1.5]) / 4
    np.testing.assert_allclose(thickness_map_cm(vertices, faces, SMALL), expected, atol=1e-12)


def test_agrees_with_many_rays() -> None:
    vertices, faces = tilted_ellipsoid()
    # Rays converge to the pixel mean slowly, only the outline's pixels differ.
    np.testing.assert_allclose(
        thickness_map_cm(vertices, faces, SMALL), naive_thickness_cm(vertices, faces, SMALL, samples=24), atol=0.01
    )


@pytest.mark.parametrize("depth_m", [0.0, 0.7, -3.0])
def test_volume_is_conserved_wherever_the_body_lies_along_the_beam(depth_m: float) -> None:
    vertices, faces = tilted_ellipsoid()
    vertices = vertices + np.array([0.0, depth_m, 0.0])
    volume_cm3 = thickness_map_cm(vertices, faces, SMALL).sum() * SMALL.pixel_area_cm2
    assert volume_cm3 == pytest.approx(1e6 * mesh.enclosed_volume_m3(vertices, faces), rel=1e-11)


def test_rows_run_from_the_head_and_columns_from_the_patients_right() -> None:
    vertices, faces = box((0.03, 0.0, 0.05), (0.05, 0.01, 0.07))  # up and to the person's left
    row, column = np.argwhere(thickness_map_cm(vertices, faces, SMALL) > 0).mean(axis=0)
    assert row < 3
    assert column > 8


def test_shift_by_whole_pixels_shifts_the_map() -> None:
    vertices, faces = tilted_ellipsoid()
    vertices = vertices * 0.5
    here = thickness_map_cm(vertices, faces, SMALL)
    there = thickness_map_cm(vertices + np.array([0.010, 0.0, -0.020]), faces, SMALL)
    np.testing.assert_allclose(there[1:, 1:], here[:-1, :-1], atol=1e-10)


def test_outside_the_field_is_cut_off_and_changes_nothing_inside() -> None:
    vertices, faces = tilted_ellipsoid()
    vertices = vertices + np.array([0.05, 0.0, 0.06])
    wide = Frame(SMALL.origin_x_m - 0.05, SMALL.origin_z_m + 0.10, SMALL.pixel_spacing_mm, (18, 22))
    np.testing.assert_allclose(
        thickness_map_cm(vertices, faces, SMALL), thickness_map_cm(vertices, faces, wide)[5:13, 5:17], atol=1e-10
    )


def test_groups_are_projected_apart() -> None:
    first, faces = box((-0.03, 0.0, 0.0), (0.0, 0.01, 0.03))
    second = first + np.array([0.015, 0.02, 0.0])
    both, all_faces = np.concatenate([first, second]), np.concatenate([faces, faces + len(first)])
    group = np.repeat([0, 2], len(faces))
    maps = grouped_thickness_maps_cm(both, all_faces, group, 3, SMALL)
    np.testing.assert_array_equal(maps[0], thickness_map_cm(first, faces, SMALL))
    np.testing.assert_array_equal(maps[1], 0.0)
    np.testing.assert_array_equal(maps[2], thickness_map_cm(second, faces, SMALL))


def test_equal_input_gives_equal_bytes() -> None:
    vertices, faces = tilted_ellipsoid()
    assert thickness_map_cm(vertices, faces, SMALL).tobytes() == thickness_map_cm(vertices, faces, SMALL).tobytes()


def test_surface_area_is_conserved() -> None:
    vertices, faces = tilted_ellipsoid()
    area = surface_area_map(vertices, faces, SMALL).sum() * SMALL.pixel_area_cm2 / 1e4
    assert area == pytest.approx(mesh.surface_area_m2(vertices, faces), rel=1e-12)


def test_surface_area_of_faces_along_the_beam_stays_in_their_pixels() -> None:
    vertices, faces = box((-0.055, -0.04, -0.075), (0.055, 0.04, 0.075))
    area = surface_area_map(vertices, faces, SMALL)
    np.testing.assert_allclose(area[2:-2, 2:-2], 2.0)  # front and back only
    # A left-edge pixel: half covered twice, and a 20 x 80 mm strip of the side along the beam.
    assert area[4, 0] == pytest.approx(2 * 0.5 + 20 * 80 / 200)


def test_surface_area_of_an_inclined_plane_is_one_over_the_cosine() -> None:
    angle = np.deg2rad(60)
    corners = np.array([[x, z * np.tan(angle), z] for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    area = surface_area_map(corners, np.array([[0, 1, 2], [0, 2, 3]]), SMALL)
    np.testing.assert_allclose(area, 1 / np.cos(angle))


def test_centre_frame_centres_and_shifts() -> None:
    vertices, _ = box((0.1, 0.0, 1.0), (0.5, 0.2, 2.8))
    frame = centre_frame(vertices)
    z, x = frame.pixel_centres_m()
    assert (z.mean(), x.mean()) == (pytest.approx(1.9), pytest.approx(0.3))
    assert z[0] > z[-1]
    assert x[0] < x[-1]
    low = frame.to_pixels(vertices).min(axis=0)
    shifted = centre_frame(vertices, shift_mm=(6.06, 13.0)).to_pixels(vertices).min(axis=0)
    np.testing.assert_allclose(shifted[:2] - low[:2], [1.0, -1.0])  # one column to the left side, one row to the head


@pytest.mark.parametrize(
    ("size", "shift_mm", "fits"),
    [
        ((0.64, 0.2, 1.92), (0.0, 0.0), True),
        ((0.64, 0.2, 1.92), (5.0, 0.0), False),
        ((0.64, 0.2, 1.92), (0.0, -5.0), False),
        ((0.65, 0.2, 1.7), (0.0, 0.0), False),
        ((0.5, 0.2, 1.93), (0.0, 0.0), False),
    ],
)
def test_one_pixel_must_stay_free(size: tuple[float, float, float], shift_mm: tuple[float, float], fits: bool) -> None:
    vertices, _ = box((0.0, 0.0, 0.0), size)
    if fits:
        centre_frame(vertices, shift_mm)
    else:
        with pytest.raises(BodyDoesNotFit, match=r"expected to fit the 66\.1 x 195\.0 cm field"):
            centre_frame(vertices, shift_mm)
