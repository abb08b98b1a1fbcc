from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, set_track_meta

from dxa_monai.errors import InputError
from dxa_monai.mesh.checks import DEFECTS
from dxa_monai.transforms import mesh_points
from dxa_monai.transforms.mesh_points import LoadMeshPointsd


@pytest.fixture
def egg(tmp_path: Path) -> Path:
    """An ellipsoid as tall as a person, far from the origin, in millimetres with y up."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=1.0)
    mesh.apply_scale([300.0, 850.0, 200.0])
    mesh.apply_translation([5000.0, 200.0, -900.0])
    mesh.export(tmp_path / "egg.ply")
    return tmp_path / "egg.ply"


def loader(**arguments: object) -> LoadMeshPointsd:
    defaults: dict = {"keys": "mesh", "count": 200, "unit": "mm", "up_axis": "y", "accept": DEFECTS}
    return LoadMeshPointsd(**{**defaults, **arguments})


def test_points_are_centred_in_metres_with_unit_normals(egg: Path) -> None:
    sample = loader(count=3000)({"mesh": str(egg), "age_years": 30})
    image = sample["mesh"]
    assert isinstance(image, MetaTensor)
    assert (image.shape, image.dtype) == ((7, 3000), torch.float32)
    assert sample["age_years"] == 30
    np.testing.assert_allclose(image[:3].amin(dim=1), [-0.3, -0.2, 0.0], atol=0.02)
    np.testing.assert_allclose(image[:3].amax(dim=1), [0.3, 0.2, 1.7], atol=0.02)
    np.testing.assert_allclose(image[3:6].norm(dim=0), 1.0, atol=1e-5)
    from_centre = image[:3] - torch.tensor([[0.0], [0.0], [0.85]])
    assert ((from_centre * image[3:6]).sum(dim=0) > 0.0).all()
    mesh = trimesh.load(egg, process=False)
    assert float(image[6].sum()) == pytest.approx(mesh.area / 1e6, rel=0.01)
    assert image.meta["filename_or_obj"] == str(egg)
    assert image.meta["height_m"] == pytest.approx(1.7, abs=1e-3)
    assert (image.meta["unit"], image.meta["mends"]) == ("mm", "")


def test_evaluation_always_draws_the_same_points(egg: Path) -> None:
    transform = loader()
    first = transform({"mesh": egg})["mesh"]
    assert torch.equal(first, transform({"mesh": egg})["mesh"])
    assert torch.equal(first, loader().set_random_state(5)({"mesh": str(egg)})["mesh"])
    assert not torch.equal(first, loader(seed=1)({"mesh": egg})["mesh"])
    other = egg.with_name("other.ply")
    other.write_bytes(egg.read_bytes())
    assert torch.equal(first, transform({"mesh": other})["mesh"])  # a body is the same under another name
    moved = egg.parent / "elsewhere" / egg.name
    moved.parent.mkdir()
    moved.write_bytes(egg.read_bytes())
    assert torch.equal(first, transform({"mesh": moved})["mesh"])


def test_training_draws_new_points_that_follow_from_the_random_state(egg: Path) -> None:
    transform = loader(resample=True).set_random_state(3)
    first, second = transform({"mesh": egg})["mesh"], transform({"mesh": egg})["mesh"]
    assert not torch.equal(first, second)
    again = loader(resample=True).set_random_state(3)
    assert torch.equal(first, again({"mesh": egg})["mesh"])
    assert torch.equal(second, again({"mesh": egg})["mesh"])


def test_a_cached_dataset_still_draws_new_points(egg: Path) -> None:
    dataset = CacheDataset([{"mesh": str(egg)}], loader(resample=True), progress=False)
    assert not torch.equal(dataset[0]["mesh"], dataset[0]["mesh"])


def test_batches_are_collated(egg: Path) -> None:
    dataset = Dataset([{"mesh": str(egg)}] * 3, loader(resample=True))
    batch = next(iter(DataLoader(dataset, batch_size=3)))["mesh"]
    assert batch.shape == (3, 7, 200)
    assert not torch.equal(batch[0], batch[1])


def test_fixed_vertices_are_the_same_places_on_every_body(egg: Path) -> None:
    image = loader(fixed_vertices=True)({"mesh": egg})["mesh"]
    assert image.shape == (7, 129)
    again = loader(fixed_vertices=True, fixed_step=1)({"mesh": egg})["mesh"]
    assert torch.equal(image[:6], again[:6, ::5])
    torch.testing.assert_close(image[6].sum(), again[6].sum())
    with pytest.raises(InputError, match="fixed topology of 13718 vertices, got 642"):
        loader(fixed_vertices=True, vertex_count=13718)({"mesh": egg})


def test_noise_moves_the_points_only(egg: Path) -> None:
    plain = loader(count=5000)({"mesh": egg})["mesh"]
    noisy = loader(count=5000, noise_mm=3.0)({"mesh": egg})["mesh"]
    assert torch.equal(plain[3:], noisy[3:])
    assert (noisy[:3] - plain[:3]).std().item() == pytest.approx(0.003, rel=0.05)


def test_a_cached_mesh_is_read_once_and_the_oldest_is_dropped(egg: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = mesh_points.load_mesh
    monkeypatch.setattr(
        mesh_points, "load_mesh", lambda path, *rest, **named: read.append(path) or real(path, *rest, **named)
    )
    other = egg.with_name("other.ply")
    other.write_bytes(egg.read_bytes())
    cached = loader(cache_size=1)
    first = cached({"mesh": egg})["mesh"]
    assert torch.equal(first, cached({"mesh": egg})["mesh"])
    assert torch.equal(first, loader()({"mesh": egg})["mesh"])
    assert read == [str(egg)] * 2
    for path in (other, egg):
        cached({"mesh": path})
    assert read[2:] == [str(other), str(egg)]


def test_what_is_inferred_or_mended_is_printed_once(egg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mesh = trimesh.load(egg, process=False)
    mesh.invert()
    mesh.export(egg)
    transform = loader(unit=None, repair=True)
    mended = transform({"mesh": egg})["mesh"]
    transform({"mesh": egg})
    assert mended.meta["mends"] == "turned the surface outwards"
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2
    assert "unit mm taken from the height" in printed[0]
    assert printed[1] == f"{egg}: mended: turned the surface outwards."


def test_what_cannot_be_a_person_is_refused(egg: Path) -> None:
    with pytest.raises(InputError, match="accept it with accept="):
        loader(accept=())({"mesh": egg})


def test_without_metadata_a_plain_tensor_comes(egg: Path) -> None:
    set_track_meta(False)
    try:
        assert type(loader()({"mesh": egg})["mesh"]) is torch.Tensor
    finally:
        set_track_meta(True)


@pytest.mark.parametrize("argument", [{"count": 0}, {"fixed_step": 0}, {"noise_mm": -1.0}, {"cache_size": -1}])
def test_numbers_out_of_range_are_refused(argument: dict) -> None:
    with pytest.raises(InputError, match=f"{next(iter(argument))}: expected at least"):
        loader(**argument)


def test_missing_keys_are_passed_over_on_request() -> None:
    assert loader(allow_missing_keys=True)({"other": 1}) == {"other": 1}
    with pytest.raises(KeyError):
        loader()({"other": 1})
