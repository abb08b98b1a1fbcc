"""Scans and body composition of meshes, with a network that makes the first person's scan of everybody."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dxa_monai.errors import InputError
from dxa_monai.inference.meshes import (
    MAPS_NAME,
    SHAPE_COLUMNS,
    SHAPES_NAME,
    collect_meshes,
    predict_body,
    predict_meshes,
    scanner_beside,
)
from dxa_monai.inference.run_scanner import SCANNER_MODEL_NAME, scanner_of_rows
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.checkpoint import load_pseudo_dxa, save_network
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import write_scanner_model
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.trunk_parts import TRUNK_PARTS
from tests.mesh.shapes import file_bytes


@pytest.fixture
def checkpoint(first_scan_of_everybody: PseudoDXA, tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    save_network(first_scan_of_everybody, tmp_path / "run" / "best.pt")
    return tmp_path / "run" / "best.pt"


def test_inference_measures_composition_with_the_training_scanner(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scanner_beside(checkpoint) is None
    write_scanner_model(scanner_of_rows(people, ScanSource()), checkpoint.parent / SCANNER_MODEL_NAME)
    folder = Path(people[0]["mesh"]).parent
    rows = collect_meshes(folder)
    assert [row["scan_id"] for row in rows] == [str(index) for index in range(7)]
    table = predict_meshes(
        rows[:2], checkpoint, tmp_path, points=64, scanner_model=scanner_beside(checkpoint), pictures=False
    )
    measured = pd.read_csv(table)
    assert len(measured) == 2
    # the network makes the first person's scan of everybody
    assert measured["total_fat_g"].to_numpy() == pytest.approx(people[0]["total_fat_g"], rel=0.1)
    assert capsys.readouterr().out.count("unit m taken from the height") == 2
    shapes = pd.read_csv(tmp_path / SHAPES_NAME)
    assert list(shapes.columns) == ["scan_id", *SHAPE_COLUMNS]
    assert (shapes["holes_percent"] == 0.0).all()


def test_a_mesh_with_a_hole_or_that_leans_is_used_and_told(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = load_mesh(people[0]["mesh"], "m")
    centres = body.vertices_m[body.faces].mean(axis=1)
    back = (np.abs(centres[:, 0]) < 0.1) & (np.abs(centres[:, 2] - 1.1) < 0.1) & (centres[:, 1] > 0.0)
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.9986, 0.0523], [0.0, -0.0523, 0.9986]])
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / "holed.ply").write_bytes(file_bytes(replace(body, faces=body.faces[~back]), "ply"))
    leant = replace(body, vertices_m=body.vertices_m @ turn)
    (tmp_path / "meshes" / "leant.ply").write_bytes(file_bytes(leant, "ply"))
    predict_meshes(collect_meshes(tmp_path / "meshes"), checkpoint, tmp_path / "out", points=64, pictures=False)
    told = capsys.readouterr().err
    assert re.search(r"holed: holes of \d\.\d% of its surface: .*\(--mesh#repair True\)\.", told)
    assert re.search(r"leant: leans forwards by \d\.\d degrees: .*\.", told)
    shapes = pd.read_csv(tmp_path / "out" / SHAPES_NAME).set_index("scan_id")
    assert shapes.loc["holed", "holes_percent"] > 0.5
    assert shapes.loc["leant", "lean_degrees"] > 2.0


def test_maps_are_written_beside_the_scan_and_labelled_as_such(
    people: list[dict[str, Any]], first_maps_of_everybody: PseudoDXA, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "run" / "best.pt"
    checkpoint.parent.mkdir()
    save_network(first_maps_of_everybody, checkpoint)
    rows = collect_meshes(Path(people[0]["mesh"]).parent)[:2]
    table = predict_meshes(rows, checkpoint, tmp_path / "out", points=64, pictures=False)
    of_maps, of_scan = pd.read_csv(tmp_path / "out" / MAPS_NAME), pd.read_csv(table)
    assert list(of_maps["scan_id"].astype(str)) == ["0", "1"]
    of_no_region = {name for name in of_scan if name.startswith(TRUNK_PARTS)}  # no lines are drawn on a map
    assert {name for name in of_scan if name.endswith(("_g", "_cm2"))} - of_no_region <= set(of_maps)
    maps = np.load(tmp_path / "out" / "materials" / "1.npy")
    assert maps.shape == (3, 150, 109)
    for index, name in enumerate(("total_fat_g", "total_lean_g", "total_bmc_g")):
        assert of_maps[name].iloc[1] == pytest.approx(people[0][name], rel=0.1)
        assert maps[index].sum() * pixel_area_cm2() == pytest.approx(of_maps[name].iloc[1], rel=1e-3)
    assert "Body composition by the maps, without an image" in capsys.readouterr().out


def test_a_manifest_tells_meshes_of_one_name_apart_and_says_whose_they_are(
    people: list[dict[str, Any]], first_maps_of_everybody: PseudoDXA, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run" / "best.pt"
    checkpoint.parent.mkdir()
    save_network(first_maps_of_everybody, checkpoint)
    lines = ["subject_id,scan_id,mesh,height_cm"]
    for place, visit in enumerate(("first", "second")):
        (tmp_path / visit).mkdir()
        shutil.copyfile(people[place]["mesh"], tmp_path / visit / "body.ply")
        lines.append(f"P{place},{visit},{visit}/body.ply,{170 + place}")
    (tmp_path / "meshes.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match="expected a file name of its own for every scan"):
        collect_meshes(tmp_path)
    rows = collect_meshes(tmp_path / "meshes.csv")
    table = pd.read_csv(predict_meshes(rows, checkpoint, tmp_path / "out", points=64, pictures=False))
    of_maps = pd.read_csv(tmp_path / "out" / MAPS_NAME)
    for each in (table, of_maps):
        assert list(zip(each["subject_id"], each["scan_id"], strict=True)) == [("P0", "first"), ("P1", "second")]
    expected = table["total_fat_g"] / 1e3 / np.square([1.70, 1.71])
    assert table["fat_mass_index_kg_m2"].to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-4)
    (tmp_path / "meshes.csv").write_text("subject_id,scan\nP0,a.npy\n")
    with pytest.raises(InputError, match=r"expected a column mesh, got subject_id, scan\."):
        collect_meshes(tmp_path / "meshes.csv")


def test_a_network_without_maps_writes_none(people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path) -> None:
    predict_meshes(collect_meshes(people[0]["mesh"]), checkpoint, tmp_path / "out", points=64, pictures=False)
    assert not (tmp_path / "out" / MAPS_NAME).exists()
    assert not (tmp_path / "out" / "materials").exists()


def test_a_body_has_the_same_numbers_under_another_name(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path
) -> None:
    first, copy = Path(people[0]["mesh"]), tmp_path / "meshes" / "another name.ply"
    copy.parent.mkdir()
    copy.write_bytes(first.read_bytes())
    rows = [{"mesh": str(path), "scan": str(path), "scan_id": path.stem} for path in (first, copy)]
    scanner = scanner_beside(checkpoint)
    predict_meshes(rows, checkpoint, tmp_path / "out", points=64, scanner_model=scanner, pictures=False)
    scans = [(tmp_path / "out" / "scans" / f"{row['scan_id']}.npy").read_bytes() for row in rows]
    assert scans[0] == scans[1]


def test_the_scan_is_the_mean_over_draws_of_points(checkpoint: Path, people: list[dict[str, Any]]) -> None:
    network, body = load_pseudo_dxa(checkpoint), centred(load_mesh(people[0]["mesh"], "m"))
    both = predict_body(network, body, 64, seed=3, draws=2)
    alone = [predict_body(network, body, 64, seed=3 + draw).image for draw in range(2)]
    np.testing.assert_allclose(both.image, (alone[0] + alone[1]) / 2.0, atol=1e-6)
    assert math.isnan(both.unlikeness)  # a network without a shape path cannot tell


def test_faulty_arguments_of_inference_are_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a mesh or a folder with meshes"):
        collect_meshes(checkpoint.parent)
    with pytest.raises(InputError, match="formats: expected some of"):
        predict_meshes([], checkpoint, tmp_path / "out", formats=[".png"])


def test_a_measured_scan_is_not_replaced_by_a_predicted_one(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path
) -> None:
    rows = collect_meshes(Path(people[0]["mesh"]).parent)[:2]
    measured = tmp_path / "pairs" / "scans" / f"{rows[1]['scan_id']}.npy"
    measured.parent.mkdir(parents=True)
    measured.write_bytes(b"measured")
    with pytest.raises(InputError, match=r"scans/1\.npy: expected no such file, or one that this command made"):
        predict_meshes(rows, checkpoint, tmp_path / "pairs", points=64, pictures=False)
    assert [path.name for path in (tmp_path / "pairs").rglob("*") if path.is_file()] == ["1.npy"]
    assert measured.read_bytes() == b"measured"


def test_the_air_of_a_predicted_scan_is_no_sign_of_another_zero(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path
) -> None:
    """It is measured with the zero of the training scans, and what the network makes of air is not held against it."""
    rows = [{"mesh": people[0]["mesh"], "scan": people[0]["mesh"], "scan_id": "one"}]
    scanner = scanner_beside(checkpoint)
    table = predict_meshes(rows, checkpoint, tmp_path / "out", points=64, scanner_model=scanner, pictures=False)
    flags = str(pd.read_csv(table)["flags"].iloc[0])
    assert "zero_mismatch" not in flags
    assert "scanner_mismatch" not in flags
    report = json.loads((tmp_path / "out" / "one.json").read_text())
    assert report["zero"]["source"] == "declared"
