"""Tables 4 and 5 and inference on real (simulated) people, with a network that knows nothing but their mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh

from dxa_monai.errors import InputError
from dxa_monai.evaluation.mesh_inference import collect_meshes, predict_meshes, scanner_beside, write_training_scanner
from dxa_monai.evaluation.predicted_scans import (
    COMPOSITION_RIDGE_ARM,
    IMAGE_RIDGE_ARM,
    MEAN_ARM,
    baseline_predictors,
    composition_from_shape,
    evaluate_scans,
    network_predictor,
    quality_of_another_visit,
)
from dxa_monai.evaluation.pseudo_dxa import evaluate_pseudo_dxa
from dxa_monai.evaluation.reconstructed_composition import MEASURES, ORIGINAL, raw_image
from dxa_monai.evaluation.shape_baselines import load_shapes
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.transforms.point_clouds import draw_point_clouds
from tests.bodies import simulated_people

MESH = {"unit": "m"}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return simulated_people(tmp_path_factory.mktemp("people"), 6)


@pytest.fixture(scope="module")
def checkpoint(people: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that makes the first person's scan of everybody (its last layer is zero)."""
    network = PseudoDXA(
        {
            "kind": "pointnet2",
            "levels": [{"centres": 8, "radii_m": [0.5], "neighbours": [4], "channels": [[4]]}],
            "global_channels": [4],
            "head_channels": [],
        },
        latent_channels=1,
        generator_channels=(2, 2, 2),
        generator_kernel_sizes=(1,),
        generator_dense_shape=(38, 28),
    )
    network.set_normalisation(raw_image(people[0])[0], 0.05)
    folder = tmp_path_factory.mktemp("network")
    save_network(network, folder / "best.pt")
    return folder / "best.pt"


def test_perfect_predictions_are_perfect_in_both_tables(people: list[dict[str, Any]]) -> None:
    held_out = people[:2]
    predictors = {
        ("exact", 0): lambda rows: torch.cat([raw_image(row) for row in rows]),
        ("first", 0): lambda rows: raw_image(people[0]).expand(len(rows), -1, -1, -1),
    }
    quality, measured = evaluate_scans(held_out, predictors, ScannerModel())
    exact = quality[quality["arm"] == "exact"]
    assert np.isinf(exact["psnr_db"]).all()
    assert (exact["shift_rows_mm"] == 0.0).all()
    other = quality[(quality["arm"] == "first") & (quality["subject_id"] == "B1")].iloc[0]
    assert other["aligned_psnr_db"] > other["psnr_db"]
    wide = measured.set_index(["arm", "scan_id"])
    for scan_id in ("B0-1", "B1-1"):
        for name in MEASURES:
            assert wide.loc[("exact", scan_id), name] == pytest.approx(wide.loc[(ORIGINAL, scan_id), name])
    assert wide.loc[(ORIGINAL, "B0-1"), "true_total_fat_g"] == people[0]["total_fat_g"]
    assert wide.loc[("first", "B1-1"), "total_mass_g"] != pytest.approx(
        wide.loc[(ORIGINAL, "B1-1"), "total_mass_g"], rel=1e-3
    )


def test_another_visit_stands_for_the_prediction_where_there_is_one(people: list[dict[str, Any]]) -> None:
    same = [people[0], people[1] | {"subject_id": "B0"}, people[2]]
    quality = quality_of_another_visit(same).set_index("scan_id")
    assert list(quality.index) == ["B0-1", "B1-1"]
    assert quality.loc["B0-1", "psnr_db"] == pytest.approx(quality.loc["B1-1", "psnr_db"])
    expected = -10 * torch.log10((raw_image(people[0]) - raw_image(people[1])).square().mean())
    assert quality.loc["B0-1", "psnr_db"] == pytest.approx(expected.item(), abs=1e-3)
    assert len(quality_of_another_visit(people)) == 0


def test_baselines_learn_from_the_training_people_alone(people: list[dict[str, Any]]) -> None:
    training, held_out = people[:5], people[5:]
    shapes = load_shapes(people, MESH)
    predictors = baseline_predictors(training, shapes)
    mean = torch.cat([raw_image(row) for row in training]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(predictors[MEAN_ARM, 0](held_out), mean, atol=1e-5, rtol=0)
    assert predictors[IMAGE_RIDGE_ARM, 0](held_out).shape == mean.shape
    composition = composition_from_shape(training, held_out, ScannerModel(), shapes)
    assert {name: values.shape for name, values in composition.items()} == {
        MEAN_ARM: (1, len(MEASURES)),
        COMPOSITION_RIDGE_ARM: (1, len(MEASURES)),
    }


def test_without_one_topology_a_line_tells_that_the_ridge_is_left_out(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.obj"
    mesh = trimesh.load(people[4]["mesh"], process=False)
    trimesh.Trimesh(mesh.vertices, mesh.faces[::-1], process=False).export(other)
    files = evaluate_pseudo_dxa(
        [people[4] | {"mesh": str(other)}, people[3]],
        people[1:3],
        {"net": checkpoint},
        tmp_path / "out",
        tmp_path / "points",
        points=64,
        mesh=MESH,
        composition=False,
    )
    assert list(pd.read_csv(files["table_4"])["arm"]) == [MEAN_ARM, "net"]
    assert "No ridge regression from shape:" in capsys.readouterr().out


def test_network_sees_the_points_of_each_row(people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    class Recorder(PseudoDXA):
        def predict(self, points: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
            seen.append(points)
            return points.new_zeros(len(points), 6, 150, 109)

    rows = draw_point_clouds(people[:2], tmp_path, MESH, count=100)
    network_predictor(Recorder({"kind": "pointnet2"}, 6, (150, 109), 2), 64)(rows)
    for cloud, row in zip(seen[0], rows, strict=True):
        np.testing.assert_array_equal(cloud.numpy(), np.load(row["points"])[:, :64])


def test_evaluation_writes_both_tables_with_all_baselines(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = evaluate_pseudo_dxa(
        people[3:], people[:3], {"net": checkpoint}, tmp_path / "out", tmp_path / "points", points=64, mesh=MESH
    )
    table = pd.read_csv(files["table_5"])
    assert list(dict.fromkeys(table[table["reference"] == "scan"]["arm"])) == [
        MEAN_ARM,
        COMPOSITION_RIDGE_ARM,
        IMAGE_RIDGE_ARM,
        "net",
    ]
    assert ORIGINAL in set(table[table["reference"] == "truth"]["arm"])
    assert list(pd.read_csv(files["table_4"])["arm"]) == [MEAN_ARM, IMAGE_RIDGE_ARM, "net"]
    told = capsys.readouterr().out
    assert "Body composition against the truth" in told
    assert "Rigid alignment of" in told
    with pytest.raises(InputError, match="names a baseline"):
        evaluate_pseudo_dxa(people[3:], people[:3], {MEAN_ARM: checkpoint}, tmp_path / "x", tmp_path / "points")


def test_inference_measures_composition_with_the_training_scanner(
    people: list[dict[str, Any]], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scanner_beside(checkpoint) is None
    write_training_scanner(checkpoint.parent, people)
    folder = Path(people[0]["mesh"]).parent
    rows = collect_meshes(folder)
    assert [row["scan_id"] for row in rows] == [str(index) for index in range(6)]
    table = predict_meshes(
        rows[:2], checkpoint, tmp_path, points=64, scanner_model=scanner_beside(checkpoint), pictures=False
    )
    measured = pd.read_csv(table)
    assert len(measured) == 2
    # the network makes the first person's scan of everybody
    assert measured["total_fat_g"].to_numpy() == pytest.approx(people[0]["total_fat_g"], rel=0.1)
    assert capsys.readouterr().out.count("unit m taken from the height") == 2


def test_faulty_arguments_of_inference_are_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a mesh or a folder with meshes"):
        collect_meshes(tmp_path)
    with pytest.raises(InputError, match="formats: expected some of"):
        predict_meshes([], checkpoint, tmp_path / "out", formats=[".png"])
