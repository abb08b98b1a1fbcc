"""A mesh-to-scan network's start: regression from shape, placed scans, images that hold what scans hold."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from dxa_monai.errors import InputError
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred, point_cloud
from dxa_monai.metrics.rigid_alignment import align_rigidly, inverse_move, moved_rigidly
from dxa_monai.networks.checkpoint import compact_checkpoint, load_pseudo_dxa, save_network
from dxa_monai.networks.generator_weights import network_like
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.shape_maps import CELL_M
from dxa_monai.networks.shape_path import ShapePath
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.training import shape_fit
from dxa_monai.training.composition_matching import CompositionMatching, MatchBestNetwork
from dxa_monai.training.data import BodyData
from dxa_monai.training.shape_fit import fit_codes, fit_shape_components, shape_vectors
from dxa_monai.training.start import GeneratorStart
from dxa_monai.transforms.point_clouds import load_cloud
from dxa_monai.transforms.standing_postures import in_another_posture
from tests.bodies import simulated_people
from tests.training.test_start import network as small_vae

ENCODER: dict[str, Any] = {
    "kind": "pointnet2",
    "points": 64,
    "levels": [{"centres": 8, "radii_m": [0.5], "neighbours": [4], "channels": [[4]]}],
    "global_channels": [4],
    "head_channels": [],
}


def network(**changes: Any) -> PseudoDXA:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "latent_channels": 1,
        "linear_channels": 1,
        "linear_directions": 2,
        "generator_channels": (2, 2, 2),
        "generator_kernel_sizes": (1,),
        "generator_dense_shape": (38, 28),
        "shape_components": 4,
    }
    return PseudoDXA(ENCODER, **(arguments | changes)).eval()


@pytest.fixture(scope="module")
def data(mesh_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> BodyData:
    folder = tmp_path_factory.mktemp("shape")
    return BodyData(manifest=mesh_pairs, output_dir=folder, clouds_dir=folder / "points", mesh={"unit": "m"})


def test_it_starts_at_the_regression_and_moves_training_scans_alone(data: BodyData) -> None:
    made = network()
    start = GeneratorStart(made, data, placed=1)
    start.prepare()
    told = start.as_dict()["shape_path"]
    assert told["placed"] == 1
    assert all(np.isfinite(list(told["moved_sd"].values())))
    assert bool(made.linear_path.components.any())
    cloud = torch.stack([torch.from_numpy(np.load(item["image"])) for item in data.training[:2]])
    with torch.no_grad():
        output = made(cloud)
        # the encoder adds nothing yet: the codes are those of the regression
        torch.testing.assert_close(output.mu.flatten(1)[:, :20], made.shape_path(cloud), rtol=1e-4, atol=1e-4)
    assert any(item["moved"].any() for item in data.training)
    assert not any(item["moved"].any() for item in data.validation)


def test_other_postures_of_a_body_belong_to_its_scan(
    data: BodyData, coarse_body: BodyMesh, caplog: pytest.LogCaptureFixture
) -> None:
    """What is told of a body, here how wide it is, hardly depends on how it stands."""
    rng = np.random.default_rng(0)
    sizes = rng.normal(1.0, 0.05, (40, 3))
    bodies = [centred(replace(coarse_body, vertices_m=coarse_body.vertices_m * size)) for size in sizes]
    clouds = [point_cloud(body, 2048, torch.Generator().manual_seed(0)) for body in bodies]
    drawn = np.random.RandomState(0)
    wrong = []
    for postures in (0, 4):
        path = ShapePath(20, 1)
        training = [clouds[:30], *([in_another_posture(each, drawn) for each in clouds[:30]] for _ in range(postures))]
        vectors = torch.stack([shape_vectors(path, each) for each in training])
        inputs = fit_shape_components(path, vectors, [f"p{index}" for index in range(30)])
        assert inputs.rows.shape == (2 * (1 + postures) * 30, 20)
        fit_codes(path, inputs, np.tile(sizes[:30, 0], 2)[:, None])
        told = torch.cat([path(in_another_posture(cloud, drawn)[None]) for cloud in clouds[30:]])
        wrong.append(float(np.abs(told[:, 0].numpy() - sizes[30:, 0]).mean()))
    assert wrong[1] < 0.4 * wrong[0]
    start = GeneratorStart(network(), data, postures=1)
    start.prepare()
    assert start.as_dict()["postures"] == 1
    assert "keep an arm" not in caplog.text
    with pytest.raises(InputError, match="postures: expected a number from 0, got -1"):
        GeneratorStart(network(), data, postures=-1)


def test_many_bodies_have_nearly_the_components_of_the_exact_method(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = torch.randn(60, 500, generator=torch.Generator().manual_seed(0)) * 0.8 ** torch.arange(500)
    found = []
    for most in (60, 59):
        monkeypatch.setattr(shape_fit, "_MOST_EXACT", most)
        found.append(shape_fit._components(bodies, 12))
    exact, randomised = (components.T @ components for components in found)
    assert (exact - randomised).norm() < 1e-3 * exact.norm()
    assert not torch.equal(found[0], found[1])


def test_shape_may_be_seen_in_coarser_maps(data: BodyData, tmp_path: Path) -> None:
    made = network(shape_cell_m=0.06)
    GeneratorStart(made, data).prepare()
    save_network(made, tmp_path / "coarse.pt")
    loaded = load_pseudo_dxa(tmp_path / "coarse.pt")
    assert loaded.shape_path is not None
    assert loaded.shape_path.maps.cell_m == 0.06
    cloud = load_cloud(data.clouds_of(data.training_rows)[0])[None]
    assert torch.equal(loaded.predict(cloud), made.predict(cloud))
    assert network().architecture()["shape_cell_m"] == CELL_M
    content = {"architecture": network().architecture(), "state": network().state_dict(), "extra": {}}
    del content["architecture"]["shape_cell_m"]  # as before there was a choice
    torch.save(content, tmp_path / "old.pt")
    old = load_pseudo_dxa(tmp_path / "old.pt")
    assert old.shape_path is not None
    assert old.shape_path.maps.cell_m == CELL_M


def test_the_order_of_points_hardly_matters_and_too_few_rows_are_refused(data: BodyData) -> None:
    made = network()
    GeneratorStart(made, data).prepare()
    cloud = torch.from_numpy(np.load(data.training[0]["image"]))[None]
    shuffled = cloud[:, :, torch.randperm(cloud.shape[2], generator=torch.Generator().manual_seed(0))]
    assert made.shape_path is not None
    torch.testing.assert_close(made.shape_path(shuffled), made.shape_path(cloud), rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match="expected 7 rows"):
        made(cloud[:, :6])
    with pytest.raises(InputError, match="placed: expected a number from 0, got -1"):
        GeneratorStart(made, data, placed=-1)


def test_a_vae_without_a_linear_path_leaves_no_shape_path(tmp_path: Path) -> None:
    for channels in (0, 2):
        save_network(small_vae(linear_channels=channels), tmp_path / f"{channels}.pt")
        assert (network_like(tmp_path / f"{channels}.pt", ENCODER, 5).shape_path is None) == (channels == 0)


def test_a_move_and_its_inverse_cancel() -> None:
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij")
    scan = torch.exp(-((rows - 30.0) ** 2 / 250.0 + (columns - 22.0) ** 2 / 80.0)).expand(1, 6, -1, -1)
    moved = torch.tensor([[20.0, -14.0, 5.0]])
    back = moved_rigidly(moved_rigidly(scan, moved), inverse_move(moved))
    assert (back - scan).abs().max() < 0.02
    found = align_rigidly(scan, moved_rigidly(scan, moved)).moved
    torch.testing.assert_close(found, moved, rtol=0, atol=1.0)


def test_networks_without_maps_go_on_and_maps_are_refused_of_them(data: BodyData, tmp_path: Path) -> None:
    made = network()
    content = {"architecture": made.architecture(), "state": made.state_dict(), "extra": {}}
    del content["architecture"]["material_components"]  # as before 0.9
    torch.save(content, tmp_path / "old.pt")
    old = load_pseudo_dxa(tmp_path / "old.pt")
    cloud = torch.from_numpy(np.load(data.clouds_of(data.training_rows)[0]["points"]))[None]
    assert old.predict(cloud).shape == (1, 6, 150, 109)
    with pytest.raises(InputError, match=r"network: expected one with maps of materials \(material_components\)"):
        old.materials(cloud)
    with pytest.raises(InputError, match="points: expected 7 rows"):
        network(material_components=2).materials(cloud[:, :6])


@pytest.fixture(scope="module")
def whole_people(tmp_path_factory: pytest.TempPathFactory) -> BodyData:
    """Twelve with whole bodies in their scans, all for training."""
    folder = tmp_path_factory.mktemp("whole")
    rows = simulated_people(folder / "people", 12)
    data = BodyData(manifest=folder / "none.csv", output_dir=folder, clouds_dir=folder / "points")
    data.__dict__ |= {"rows": rows, "training_rows": rows}  # unsplit
    return data


def test_images_come_to_hold_what_the_scans_hold(whole_people: BodyData) -> None:
    data, rows = whole_people, whole_people.training_rows
    made = network()
    GeneratorStart(made, data).prepare()
    path = made.shape_path
    assert path is not None
    vectors = shape_vectors(path, [torch.from_numpy(np.load(row["points"])) for row in data.clouds_of(rows)])
    scans = data.source.images(rows)
    with torch.no_grad():
        codes = made.linear_path.encode(made.normalised(scans)).double().numpy()
    people = [str(row["subject_id"]) for row in rows]
    inputs = fit_shape_components(path, vectors[None], people)
    fit = fit_codes(path, inputs, np.concatenate([codes, codes]))
    scanner = scanner_of_rows(rows, data.source, None)
    matching = CompositionMatching(made, data, scanner, torch.zeros(12, 3), codes, fit.left_out[:12], inputs)
    told = matching.at_the_start()
    before, after = (np.abs(list(told[f"missing_{when}"].values())).sum() for when in ("before", "after"))
    assert after < before


def test_a_compact_checkpoint_makes_the_same_images_and_maps(whole_people: BodyData, tmp_path: Path) -> None:
    data = whole_people
    made = network(latent_channels=2, linear_channels=1, material_components=3)
    start = GeneratorStart(made, data)
    start.prepare()
    told = start.as_dict()["shape_path"]["materials"]
    assert 0.0 < told["share_of_maps"] <= 1.0
    save_network(made, tmp_path / "whole.pt")
    compact_checkpoint(tmp_path / "whole.pt", tmp_path / "compact.pt")
    whole, compact = (load_pseudo_dxa(tmp_path / f"{name}.pt") for name in ("whole", "compact"))
    cloud = torch.from_numpy(np.load(data.clouds_of(data.training_rows)[0]["points"]))[None]
    assert whole.shape_path is not None
    assert compact.shape_path is not None
    torch.testing.assert_close(compact.shape_path(cloud), whole.shape_path(cloud), rtol=0.05, atol=0.05)
    torch.testing.assert_close(
        compact.shape_path.unlikeness(cloud), whole.shape_path.unlikeness(cloud), rtol=0.05, atol=0
    )
    (maps, sums), (rough_maps, rough_sums) = whole.materials(cloud), compact.materials(cloud)
    torch.testing.assert_close(maps, made.materials(cloud)[0], rtol=0, atol=0)
    torch.testing.assert_close(rough_maps, maps, rtol=0.02, atol=0.02 * float(maps.max()))
    torch.testing.assert_close(rough_sums, sums, rtol=0.01, atol=1.0)
    # a body weighs as much as its regions, also where the components are rounded
    torch.testing.assert_close(
        rough_maps.sum(dim=(2, 3)) * pixel_area_cm2(), rough_sums[:, :-2, :3].sum(dim=1), rtol=1e-4, atol=0.1
    )
    # the last fifth of twenty components of scans is left out
    assert not compact.linear_path.components[16:].any()
    assert compact.linear_path.components[:16].flatten(1).any(dim=1).all()
    assert (tmp_path / "compact.pt").stat().st_size < 0.5 * (tmp_path / "whole.pt").stat().st_size


def test_the_best_network_of_a_training_is_matched_again(whole_people: BodyData, tmp_path: Path) -> None:
    """Training is mimicked by darker images, which hold too little."""
    made = network()
    start = GeneratorStart(made, whole_people, match_composition=True)
    start.prepare()
    assert start.matching is not None
    with torch.no_grad():
        made.generator.to_scan.bias -= 0.02
    save_network(made, tmp_path / "best.pt", epoch=3)
    cloud = torch.from_numpy(np.load(whole_people.clouds_of(whole_people.training_rows)[0]["points"]))[None]
    before = load_pseudo_dxa(tmp_path / "best.pt").predict(cloud)
    MatchBestNetwork(start, tmp_path)(Engine(lambda engine, batch: None))
    told = torch.load(tmp_path / "best.pt", weights_only=True)["extra"]
    assert told["epoch"] == 3
    written = (tmp_path / "best.pt").read_bytes()
    MatchBestNetwork(start, tmp_path)(Engine(lambda engine, batch: None))  # of a run that was stopped right after it
    assert (tmp_path / "best.pt").read_bytes() == written
    missing = {name: np.abs(list(told["composition"][name].values())).max() for name in told["composition"]}
    assert missing["missing_after"] < 0.3 * missing["missing_before"]
    assert not torch.allclose(load_pseudo_dxa(tmp_path / "best.pt").predict(cloud), before, atol=1e-4)


def test_without_matched_composition_the_best_network_is_left_as_it_is(whole_people: BodyData, tmp_path: Path) -> None:
    made = network()
    start = GeneratorStart(made, whole_people)
    start.prepare()
    save_network(made, tmp_path / "best.pt")
    written = (tmp_path / "best.pt").read_bytes()
    MatchBestNetwork(start, tmp_path)(Engine(lambda engine, batch: None))
    assert (tmp_path / "best.pt").read_bytes() == written


def test_too_few_scans_for_the_components_of_shape_are_told_before_anything_is_written(whole_people: BodyData) -> None:
    scans = len(whole_people.training_rows)
    start = GeneratorStart(network(shape_components=2 * scans), whole_people)
    data = copy(whole_people)
    data.__dict__["whole_split"] = {"train": whole_people.training_rows}
    start.data = data
    for step in (start.check, start.prepare):
        with pytest.raises(
            InputError, match=rf"expected more than {scans} scans for {2 * scans} components of shape, g"
        ):
            step()


def test_a_change_of_codes_that_does_not_help_is_left(whole_people: BodyData, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the analysis hardly answers: steps then go the wrong way, or far too far."""
    made = network()
    start = GeneratorStart(made, whole_people, match_composition=True)
    start.prepare()
    assert start.matching is not None
    assert made.shape_path is not None
    wrong = -1e3 * np.eye(2)
    monkeypatch.setattr(CompositionMatching, "_answered", lambda self, images, made: wrong)
    before = {name: tensor.clone() for name, tensor in made.shape_path.state_dict().items()}
    told = start.matching.at_the_start()
    assert told["missing_after"] == told["missing_before"]
    for name, tensor in made.shape_path.state_dict().items():
        assert tensor.equal(before[name])
