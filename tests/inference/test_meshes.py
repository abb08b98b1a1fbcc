"""Scans and body composition of meshes, with a network that makes the first person's scan of everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dxa_monai.errors import InputError
from dxa_monai.inference.meshes import collect_meshes, predict_meshes, scanner_beside, seed_of_body
from dxa_monai.inference.run_scanner import SCANNER_MODEL_NAME, scanner_of_rows
from dxa_monai.mesh.io import load_mesh
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import write_scanner_model
from dxa_monai.scan.source import ScanSource


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


def test_the_points_of_a_body_do_not_depend_on_the_name_of_its_file(
    people: list[dict[str, Any]], tmp_path: Path
) -> None:
    first, copy = Path(people[0]["mesh"]), tmp_path / "another name.ply"
    copy.write_bytes(first.read_bytes())
    seeds = [seed_of_body(load_mesh(path, "m"), 0) for path in (first, copy)]
    assert seeds[0] == seeds[1] < 2**62
    assert seed_of_body(load_mesh(first, "m"), 1) != seeds[0]
    assert seed_of_body(load_mesh(people[1]["mesh"], "m"), 0) != seeds[0]


def test_faulty_arguments_of_inference_are_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a mesh or a folder with meshes"):
        collect_meshes(checkpoint.parent)
    with pytest.raises(InputError, match="formats: expected some of"):
        predict_meshes([], checkpoint, tmp_path / "out", formats=[".png"])
