"""Tables of scans predicted from bodies, with a network that knows nothing but one person's scan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arms import ArmEvaluation
from dxa_monai.evaluation.generation import GenerationTask
from dxa_monai.evaluation.predictors import IMAGE_PROCESS_ARM, IMAGE_RIDGE_ARM, MEAN_ARM
from dxa_monai.evaluation.scans import ANOTHER_VISIT, COMPOSITION_PROCESS_ARM, COMPOSITION_RIDGE_ARM, MAPS, ORIGINAL
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from tests.evaluation.run_folders import manifest_in, run_folder, split_in_order

MESH = {"unit": "m"}


def _evaluate(
    rows: Sequence[dict[str, Any]], training: int, network: PseudoDXA, folder: Path, composition: bool = True
) -> dict[str, Path]:
    """The first people are those of the training, the next one is for validation."""
    manifest = manifest_in(folder, rows)
    path = run_folder(folder / "run", split_in_order(rows, training, 1), network)
    task = GenerationTask(folder / "points", points=64, mesh=MESH, composition=composition)
    return ArmEvaluation(task, manifest, folder / "out", {"net": path}).run()


def test_evaluation_writes_both_tables_with_all_baselines(
    people: list[dict[str, Any]],
    first_scan_of_everybody: PseudoDXA,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = _evaluate(people, 3, first_scan_of_everybody, tmp_path)
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {path.name for path in files.values()}
    table = pd.read_csv(files["composition"])
    assert list(dict.fromkeys(table[table["reference"] == "scan"]["arm"])) == [
        MEAN_ARM,
        COMPOSITION_RIDGE_ARM,
        COMPOSITION_PROCESS_ARM,
        IMAGE_RIDGE_ARM,
        IMAGE_PROCESS_ARM,
        "net",
    ]
    assert ORIGINAL in set(table[table["reference"] == "truth"]["arm"])
    assert list(pd.read_csv(files["image_quality"])["arm"]) == [MEAN_ARM, IMAGE_RIDGE_ARM, IMAGE_PROCESS_ARM, "net"]
    told = capsys.readouterr().out
    assert "Body composition against the truth" in told
    assert "Rigid alignment of" in told
    # nobody has two scans
    assert "repeated_scans" not in files
    for figure in ("figure_3", "people"):
        assert files[figure].read_bytes().startswith(b"\x89PNG")


def test_a_network_with_maps_is_judged_by_its_scan_and_by_its_maps(
    people: list[dict[str, Any]], first_maps_of_everybody: PseudoDXA, tmp_path: Path
) -> None:
    files = _evaluate(people, 3, first_maps_of_everybody, tmp_path)
    per_scan = pd.read_csv(files["composition_per_scan"])
    fat = per_scan[(per_scan["measure"] == "total_fat_g") & (per_scan["reference"] == "truth")]
    # the scan is measured in the regions of the person it is to be; of the maps nothing but the first person's is read
    assert len(fat[fat["arm"] == "net"]) == len(fat[fat["arm"] == f"{MAPS}net"]) == 3
    of_maps = fat.loc[fat["arm"] == f"{MAPS}net", "predicted"].to_numpy()
    assert of_maps == pytest.approx(people[0]["total_fat_g"], rel=0.1)
    assert f"{MAPS}net" not in set(pd.read_csv(files["image_quality"])["arm"])
    differences = pd.read_csv(files["composition_differences"])
    assert COMPOSITION_RIDGE_ARM in set(differences.loc[differences["arm"] == f"{MAPS}net", "minus_arm"])
    with pytest.raises(InputError, match="expected names of trained arms, got 'maps_of_net', which names a baseline"):
        GenerationTask(tmp_path).complete({"maps_of_net": {"generator": "a.pt"}})


def test_without_one_topology_a_line_tells_that_the_ridge_is_left_out(
    people: list[dict[str, Any]],
    first_scan_of_everybody: PseudoDXA,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "other.obj"
    mesh = trimesh.load(people[4]["mesh"], process=False)
    trimesh.Trimesh(mesh.vertices, mesh.faces[::-1], process=False).export(other)
    rows = [people[4] | {"mesh": str(other)}, people[3], people[0], *people[1:3]]
    files = _evaluate(rows, 2, first_scan_of_everybody, tmp_path, composition=False)
    assert list(pd.read_csv(files["image_quality"])["arm"]) == [MEAN_ARM, "net"]
    assert "No ridge regression from shape:" in capsys.readouterr().out
    assert "composition" not in files


def test_another_visit_stands_beside_the_arms_for_people_who_have_one(
    people: list[dict[str, Any]],
    first_scan_of_everybody: PseudoDXA,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [*people[:5], people[5] | {"subject_id": "B4"}, people[6]]
    files = _evaluate(rows, 3, first_scan_of_everybody, tmp_path, composition=False)
    table = pd.read_csv(files["repeated_scans"]).set_index("arm")
    assert list(table.index) == [MEAN_ARM, IMAGE_RIDGE_ARM, IMAGE_PROCESS_ARM, "net", ANOTHER_VISIT]
    assert set(table["scans"]) == {2}
    assert set(table["people"]) == {1}
    assert ANOTHER_VISIT not in set(pd.read_csv(files["image_quality"])["arm"])
    assert "another scan of theirs as the prediction" in capsys.readouterr().out


def test_rows_without_a_mesh_are_refused(
    people: list[dict[str, Any]], first_scan_of_everybody: PseudoDXA, tmp_path: Path
) -> None:
    lacking = [{name: value for name, value in row.items() if name != "mesh"} for row in people[:1]]
    with pytest.raises(InputError, match="mesh"):
        _evaluate([*lacking, *people[1:]], 3, first_scan_of_everybody, tmp_path)
    assert not (tmp_path / "out").exists()


def test_random_generators_take_the_architecture_of_the_first_that_is_trained() -> None:
    arms = {"random": {"generator": "random"}, "dxa": {"generator": "a.pt", "x": 1}, "no_dxa": {"generator": "b.pt"}}
    completed = GenerationTask("points").complete(arms)
    assert completed == arms | {"random": {"generator": "random", "architecture_of": "a.pt"}}
    assert list(completed) == list(arms)
    told = GenerationTask("points", architecture_of="c.pt").complete(arms)
    assert told["random"]["architecture_of"] == "c.pt"
    own = GenerationTask("points").complete(arms | {"random": {"generator": "random", "architecture_of": "d.pt"}})
    assert own["random"]["architecture_of"] == "d.pt"


def test_arms_without_a_start_or_an_architecture_are_refused() -> None:
    with pytest.raises(InputError, match="expected where the generator of 'dxa' starts from, got none"):
        GenerationTask("points").complete({"random": {"generator": "random"}, "dxa": {}})
    with pytest.raises(InputError, match="architecture_of: expected the checkpoint of a DXA-VAE"):
        GenerationTask("points").complete({"random": {"generator": "random"}})
