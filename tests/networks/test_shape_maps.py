from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred, point_cloud, sample_points, with_areas
from dxa_monai.networks.shape_maps import ShapeMaps
from dxa_monai.networks.shape_path import ShapePath
from dxa_monai.training.shape_fit import fit_codes, fit_shape_components
from tests.mesh.shapes import body, box, moved


def cloud(mesh: BodyMesh, count: int = 60_000, seed: int = 0) -> torch.Tensor:
    return point_cloud(centred(mesh), count, torch.Generator().manual_seed(seed))[None]


def maps_of(vectors: torch.Tensor, maps: ShapeMaps) -> torch.Tensor:
    return vectors[0, :-1].unflatten(0, maps.shape)


def test_a_box_is_as_thick_as_it_is_and_its_middle_is_its_middle() -> None:
    """0.5 wide, 0.3 deep, 1.7 high."""
    maps = ShapeMaps(0.05)
    vectors = maps(cloud(box()))
    thickness, moment = maps_of(vectors, maps)[:2]
    inside = thickness[4:30, 18:23]
    np.testing.assert_allclose(inside.mean(), 0.3, rtol=0.002)
    np.testing.assert_allclose(inside, 0.3, rtol=0.05)
    assert thickness[:, :10].abs().max() < 1e-6
    np.testing.assert_allclose((moment / thickness)[4:30, 18:23], 0.0, atol=0.005)
    np.testing.assert_allclose(thickness.sum() * 0.05**2, 0.5 * 0.3 * 1.7, rtol=0.01)  # the volume
    np.testing.assert_allclose(vectors[0, -1], 1.7, rtol=1e-3)


def test_bodies_of_one_shape_are_alike_in_the_scaled_maps_alone() -> None:
    maps = ShapeMaps(0.05)
    large, small = (maps(cloud(moved(box(), scale=scale))) for scale in (1.0, 0.8))
    plain, scaled = (maps_of(large - small, maps)[part].abs().max() for part in (slice(0, 2), slice(2, 4)))
    assert scaled < 0.01 * plain
    assert float(small[0, -1] / large[0, -1]) == pytest.approx(0.8, rel=1e-4)


def test_the_mesh_and_the_draw_do_not_matter() -> None:
    plain = trimesh.creation.icosphere(subdivisions=4, radius=0.85)
    uneven = plain.subdivide(face_index=np.flatnonzero(plain.triangles_center[:, 0] > 0.0))
    maps = ShapeMaps(0.1)
    drawn = sample_points(centred(body(plain)), 60_000, torch.Generator().manual_seed(0))
    random = maps(with_areas(*drawn, float(plain.area))[None])
    first, finer, again = (maps(cloud(body(mesh), seed=seed)) for mesh, seed in ((plain, 0), (uneven, 0), (plain, 1)))
    assert (finer - first).norm() < 0.003 * first.norm()
    assert (again - first).norm() < 1e-5 * first.norm()
    assert 0.003 < (random - first).norm() / first.norm() < 0.03


def test_mirrored_vectors_are_those_of_the_mirrored_body() -> None:
    maps = ShapeMaps(0.05)
    points = torch.cat([cloud(box()), cloud(moved(box(), scale=0.5))], dim=2)
    points[:, 0, 60_000:] += 0.6
    mirrored = points.clone()
    mirrored[:, [0, 3]] *= -1.0
    torch.testing.assert_close(maps(mirrored), maps.mirrored(maps(points)), rtol=1e-3, atol=1e-3)


def people(count: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [
        cloud(box((0.4 + 0.2 * rng.random(), 0.2 + 0.1 * rng.random(), 1.5 + 0.4 * rng.random())), 8000, index)
        for index in range(count)
    ]


def test_codes_follow_from_shape_and_what_is_unlike_is_told() -> None:
    path = ShapePath(6, 2)
    bodies = people(40)
    vectors = torch.cat([path.maps(each) for each in bodies])
    volume = np.array([float((each[0, 1] * each[0, 4] * each[0, 6]).sum()) for each in bodies])
    codes = np.stack([volume, -volume], axis=1)
    names = [f"p{i}" for i in range(40)]
    fit_codes(path, fit_shape_components(path, vectors[None], names), np.concatenate([codes, codes]))
    others = people(10, seed=1)
    true = [float((each[0, 1] * each[0, 4] * each[0, 6]).sum()) for each in others]
    predicted = torch.cat([path(each) for each in others])
    assert np.corrcoef(predicted[:, 0].numpy(), true)[0, 1] > 0.8
    torch.testing.assert_close(predicted[:, 1], -predicted[:, 0], rtol=1e-3, atol=1e-4)
    like = max(float(path.unlikeness(each)) for each in others)
    wide = cloud(box((1.4, 0.2, 1.7)), 4000)
    assert like < 1.5
    assert float(path.unlikeness(wide)) > 1.3


def test_a_body_and_its_mirror_image_have_mirrored_answers() -> None:
    """Of codes that are opposite on both sides, a body that is alike on both has none."""
    path = ShapePath(6, 1)
    vectors = torch.cat([path.maps(each) for each in people(24)])
    side = np.linspace(-1.0, 1.0, 24)[:, None]
    names = [f"p{i}" for i in range(24)]
    fit_codes(path, fit_shape_components(path, vectors[None], names), np.concatenate([side, -side]))
    assert abs(float(path(people(1, seed=2)[0]))) < 0.2


def test_too_few_bodies_and_impossible_sizes_are_refused() -> None:
    path = ShapePath(6, 1)
    vectors = torch.cat([path.maps(each) for each in people(3)])
    with pytest.raises(InputError, match="expected more than 3 scans for 6 components of shape, got 3"):
        fit_shape_components(path, vectors[None], ["a", "b", "c"])
    with pytest.raises(InputError, match="shape_components: expected at least one component and one code"):
        ShapePath(4, 0)
    with pytest.raises(InputError, match="cell_m: expected a size in metres"):
        ShapeMaps(0.0)
