import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import trimesh
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.networks.checkpoint import load_pseudo_dxa, load_vae
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.splits import read_split, split_by_subject, write_split
from tests.bundles.tiny import PSEUDO_DXA, bundle_files, config_folder, refusal

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

MESH = {"unit": "m"}


def _files(*names: str) -> list[str]:
    return bundle_files("pseudo_dxa", *names)


def _train(output_dir: Path, manifest: Path, clouds: Path, **override: Any) -> None:
    run(
        config_file=_files("train.json", "preset_small.json"),
        bundle_root=str(output_dir.parent),
        manifest=str(manifest),
        clouds_dir=str(clouds),
        output_dir=str(output_dir),
        **(PSEUDO_DXA | override),
    )


@pytest.fixture(scope="module")
def trained(
    mesh_pairs: Path, clouds: Path, trained_arms: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run folder whose generator came from a VAE and was never set free."""
    folder = tmp_path_factory.mktemp("pseudo_dxa") / "dxa"
    _train(
        folder,
        mesh_pairs,
        clouds,
        arm="dxa",
        generator=str(trained_arms["dxa_masked"] / "best.pt"),
        frozen_epochs=2,
        latent_weight=0.1,
        composition_weight=0.1,
    )
    return folder


def test_run_folder_tells_what_was_trained_and_how(trained: Path, clouds: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert (record["arm"], record["generator_frozen_epochs"]) == ("dxa", 2)
    assert set(record["loss"]) == {"pixel_l1", "kl", "composition", "latent"}
    assert "tensors loaded" in record["initialisation"]
    assert np.isfinite(json.loads((trained / "finished.json").read_text())["best_validation_psnr_db"])
    log = pd.read_csv(trained / "metrics.csv")
    for name in ("train/loss", "train/loss_latent", "train/loss_composition", "validation/psnr_db"):
        assert np.isfinite(log[name].iloc[-1])
    assert (trained / "scanner_model.json").is_file()
    # 20 people, five of them with two scans: those of training and validation, a file each
    people = {row["subject_id"] for part in ("train", "validation") for row in read_split(trained)[part]}
    assert len(list(clouds.glob("*.npy"))) >= len(people)


def test_generator_stays_the_pretrained_one_while_frozen(trained: Path, trained_arms: dict[str, Path]) -> None:
    network, vae = load_pseudo_dxa(trained / "best.pt"), load_vae(trained_arms["dxa_masked"] / "best.pt")
    for name, weight in vae.generator.state_dict().items():
        torch.testing.assert_close(network.generator.state_dict()[name], weight, rtol=0, atol=0)
    torch.testing.assert_close(network.mean_image, vae.mean_image)


def test_random_generator_is_never_frozen_and_alike(
    mesh_pairs: Path, clouds: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    vae = str(trained_arms["no_dxa"] / "best.pt")
    _train(tmp_path / "random", mesh_pairs, clouds, architecture_of=vae, frozen_epochs=2)
    record = json.loads((tmp_path / "random" / "run.json").read_text())
    assert (record["generator"], record["generator_frozen_epochs"]) == ("random", 0)
    generator = load_pseudo_dxa(tmp_path / "random" / "last.pt").generator
    assert {name: weight.shape for name, weight in generator.state_dict().items()} == {
        name: weight.shape for name, weight in load_vae(vae).generator.state_dict().items()
    }
    assert generator.to_scan.weight.abs().max() > 0  # zero at the start: it was trained


def test_scans_without_a_mesh_are_refused(
    mesh_pairs: Path, clouds: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    rows = read_manifest(mesh_pairs)
    del rows[3]["mesh"]
    write_manifest(rows, mesh_pairs.parent / "no_mesh.csv")
    told = refusal(
        lambda: _train(
            tmp_path / "run",
            mesh_pairs.parent / "no_mesh.csv",
            clouds,
            generator=str(trained_arms["no_dxa"] / "best.pt"),
        )
    )
    assert f"column mesh for every scan, got none for scan '{rows[3]['scan_id']}' (1 of {len(rows)}" in told
    assert not (tmp_path / "run").exists()


def test_people_of_the_pretraining_are_refused(
    mesh_pairs: Path, clouds: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    rows = [row | {"subject_id": row["subject_id"].removeprefix("Q")} for row in read_manifest(mesh_pairs)]
    write_manifest(rows, mesh_pairs.parent / "same_people.csv")
    told = refusal(
        lambda: _train(
            tmp_path / "run",
            mesh_pairs.parent / "same_people.csv",
            clouds,
            generator=str(trained_arms["no_dxa"] / "best.pt"),
        )
    )
    assert "pretrained on other people" in told
    assert not (tmp_path / "run").exists()


def test_random_generator_needs_an_architecture(mesh_pairs: Path, clouds: Path, tmp_path: Path) -> None:
    assert "architecture_of: expected the checkpoint" in refusal(lambda: _train(tmp_path / "run", mesh_pairs, clouds))
    assert not (tmp_path / "run").exists()


def test_evaluation_writes_image_quality_with_baselines(
    trained: Path, mesh_pairs: Path, clouds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(
        config_file=_files("evaluate.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        manifest=str(mesh_pairs),
        clouds_dir=str(clouds),
        arms={"dxa": str(trained / "best.pt")},
        output_dir=str(tmp_path / "tables"),
        points=64,
        workers=1,
    )
    table = pd.read_csv(tmp_path / "tables" / "image_quality.csv").set_index("arm")
    assert list(table.index) == ["training_mean", "ridge_shape_to_image", "gaussian_process_shape_to_image", "dxa"]
    assert (table["aligned_psnr_db"] >= table["psnr_db"]).all()
    held_out = read_split(trained, read_manifest(mesh_pairs))["test"]
    quality = pd.read_csv(tmp_path / "tables" / "image_quality_per_scan.csv")
    assert set(quality["scan_id"]) == {row["scan_id"] for row in held_out}
    assert set(pd.read_csv(tmp_path / "tables" / "image_quality_differences.csv")["minus_arm"]) == set(table.index[:3])
    for name in ("figure_3.png", "people.png"):
        assert (tmp_path / "tables" / name).stat().st_size > 10_000
    assert "No body composition: a whole body was found in none" in capsys.readouterr().out  # bars are nobody
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("pseudo_dxa").experiment_id])
    assert np.isfinite(tracked.data.metrics["dxa/aligned_psnr_db"])


def _compare(root: Path, manifest: Path, clouds: Path, arms: dict[str, Any], **settings: Any) -> Path:
    """Folder of the comparison's tables."""
    tiny = {name: value for name, value in PSEUDO_DXA.items() if name != "points"} | {
        "max_epochs": 1,
        "log_model": False,
    }
    run(
        config_file=_files("compare.json", "mlflow_evaluation.json"),
        bundle_root=str(root),
        config_dir=str(config_folder("pseudo_dxa")),
        manifest=str(manifest),
        output_dir=str(root / "out"),
        clouds_dir=str(clouds),
        arms=arms,
        points=64,
        pairs=0,
        workers=2,
        **({"overrides": tiny} | settings),
    )
    return root / "out" / "evaluation"


def test_one_command_compares_arms_and_seeds(
    trained_arms: dict[str, Path], mesh_pairs: Path, clouds: Path, tmp_path: Path
) -> None:
    for seed in (0, 1):
        shutil.copytree(trained_arms["no_dxa"], tmp_path / f"no_dxa-seed{seed}")
    arms = {
        "random": "random",
        "no_dxa": {"generator": str(tmp_path / "no_dxa-seed{seed}" / "best.pt"), "composition_weight": 0.2},
    }
    tables = _compare(tmp_path, mesh_pairs, clouds, arms, seeds=[0, 1])
    table = pd.read_csv(tables / "image_quality.csv").set_index("arm")
    assert list(table.index) == [
        "training_mean",
        "ridge_shape_to_image",
        "gaussian_process_shape_to_image",
        "random",
        "no_dxa",
    ]
    assert table.loc["no_dxa", "seeds"] == 2
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("pseudo_dxa").experiment_id])
    (parent,) = [each for each in runs if each.info.run_name.startswith("comparison")]
    below = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    (evaluation,) = [each for each in below if "arm" not in each.data.params]
    assert evaluation.info.run_name.startswith("generation")
    children = [each for each in below if each is not evaluation]
    assert {(each.data.params["arm"], each.data.params["seed"]) for each in children} == {
        (arm, seed) for arm in arms for seed in "01"
    }
    assert {each.info.status for each in runs} == {"FINISHED"}
    for each in children:
        if each.data.params["arm"] == "no_dxa":
            assert f"-seed{each.data.params['seed']}/" in each.data.params["generator"]
            assert each.data.params["composition_weight"] == "0.2"

    # what is finished is not trained again
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("best.pt")}
    _compare(tmp_path, mesh_pairs, clouds, arms, seeds=[0, 1])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("best.pt")} == before


def test_arms_differ_in_the_start_of_the_generator_alone(
    trained_arms: dict[str, Path], mesh_pairs: Path, clouds: Path, tmp_path: Path
) -> None:
    """The name of an arm chose its loss: three arms of the default comparison were trained with three losses."""
    names = ("random", "no_dxa", "dxa", "dxa_masked")
    arms = {name: str(trained_arms["no_dxa"] / "best.pt") for name in names} | {"random": "random"}
    _compare(tmp_path, mesh_pairs, clouds, arms, seeds=[0], composition=False)
    records = {name: json.loads((tmp_path / "out" / f"{name}-seed0" / "run.json").read_text()) for name in names}
    start = {"arm", "generator", "generator_frozen_epochs", "initialisation"}
    same = [{key: value for key, value in record.items() if key not in start} for record in records.values()]
    assert all(record == same[0] for record in same)
    assert set(same[0]["loss"]) == {"pixel_l1", "kl"}
    # three names, one start: the networks are the same
    bests = [load_pseudo_dxa(tmp_path / "out" / f"{name}-seed0" / "last.pt").state_dict() for name in names[1:]]
    for other in bests[1:]:
        assert all(torch.equal(tensor, other[name]) for name, tensor in bests[0].items())


def test_tables_are_of_the_people_whom_a_given_split_holds_out(
    trained_arms: dict[str, Path], mesh_pairs: Path, clouds: Path, tmp_path: Path
) -> None:
    other = split_by_subject(read_manifest(mesh_pairs), seed=5)
    split_file = write_split(other, tmp_path)
    arms = {"no_dxa": str(trained_arms["no_dxa"] / "best.pt")}
    tables = _compare(tmp_path, mesh_pairs, clouds, arms, seeds=[0], composition=False, split_file=str(split_file))
    evaluated = set(pd.read_csv(tables / "image_quality_per_scan.csv")["scan_id"])
    assert evaluated == {row["scan_id"] for row in other["test"]}


def test_comparison_refuses_generators_that_differ(
    trained_arms: dict[str, Path], mesh_pairs: Path, clouds: Path, tmp_path: Path
) -> None:
    from dxa_monai.networks.checkpoint import save_network
    from dxa_monai.networks.vae import DXAVAE

    architecture = load_vae(trained_arms["no_dxa"] / "best.pt").architecture() | {"latent_channels": 3}
    save_network(DXAVAE(**architecture), tmp_path / "other.pt")
    arms = {"no_dxa": str(trained_arms["no_dxa"] / "best.pt"), "dxa": str(tmp_path / "other.pt")}
    told = refusal(lambda: _compare(tmp_path, mesh_pairs, clouds, arms, seeds=[0]))
    assert "got another latent_channels" in told
    assert not (tmp_path / "out").exists()


def test_a_quarantined_mesh_costs_only_its_scans(
    trained: Path, mesh_pairs: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    rows = read_manifest(mesh_pairs)
    for row in rows:
        for column in ("scan", "mesh"):
            path = tmp_path / "data" / column / Path(row[column]).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Path(row[column]).read_bytes())
            row[column] = str(path)
    write_manifest(rows, tmp_path / "data" / "manifest.csv")
    victim = rows[0]["subject_id"]
    Path(rows[0]["mesh"]).write_text("ply\nnothing\n")
    _train(
        tmp_path / "run",
        tmp_path / "data" / "manifest.csv",
        tmp_path / "clouds",
        max_epochs=1,
        generator=str(trained_arms["no_dxa"] / "best.pt"),
        bad_scans="quarantine",
        max_bad_share=0.3,
        latent_weight=0.0,
    )
    listed = pd.read_csv(tmp_path / "run" / "quarantine.csv")
    assert set(listed["subject_id"]) == {victim}
    assert set(listed["path"]) == {rows[0]["mesh"]}
    kept = pd.read_csv(tmp_path / "run" / "split.csv")
    whole = pd.read_csv(trained / "split.csv")
    pd.testing.assert_frame_equal(kept, whole[whole["subject_id"] != victim].reset_index(drop=True))


def test_inference_reads_every_format_and_goes_on_after_a_bad_mesh(
    trained: Path, coarse_body: BodyMesh, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meshes" / "more").mkdir(parents=True)
    surface = trimesh.Trimesh(coarse_body.vertices_m, coarse_body.faces, process=False)
    for name in ("a.ply", "b.obj", "more/c.stl", "d.glb"):
        surface.export(tmp_path / "meshes" / name)
    (tmp_path / "meshes" / "broken.ply").write_text("ply\nnothing\n")
    told = refusal(
        lambda: run(
            config_file=_files("inference.json"),
            input=str(tmp_path / "meshes"),
            output_dir=str(tmp_path / "out"),
            checkpoint=str(trained / "best.pt"),
            points=64,
            formats=[".npy", ".nii.gz"],
        )
    )
    assert "broken.ply" in capsys.readouterr().err
    assert "expected" in told
    scans = {path.name: load_scan(path).counts for path in (tmp_path / "out" / "scans").iterdir()}
    assert set(scans) == {f"{name}{ending}" for name in "abcd" for ending in (".npy", ".nii.gz")}
    np.testing.assert_array_equal(scans["a.npy"], scans["a.nii.gz"])
    # the same surface from another format: other points by its other name, the same body
    assert np.abs(scans["a.npy"].astype(float) - scans["c.npy"]).mean() < 30
    assert (tmp_path / "out" / "pictures" / "c.png").is_file()
    table = pd.read_csv(tmp_path / "out" / "body_composition.csv")
    assert set(table["scan_id"]) == set("abcd")


def test_metadata_belongs_to_the_bundle() -> None:
    metadata = json.loads((config_folder("pseudo_dxa") / "metadata.json").read_text())
    assert metadata["name"] == "pseudo_dxa"
    assert metadata["version"] in metadata["changelog"]
    assert metadata["network_data_format"]["inputs"]["image"]["format"] == "points"
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 6


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_every_preset_names_what_the_training_config_has(preset: str) -> None:
    train = ConfigParser()
    train.read_config(_files("train.json"))
    for key in json.loads((config_folder("pseudo_dxa") / f"preset_{preset}.json").read_text()):
        holder, _, name = key.partition("#")
        assert holder in train.config
        if name:
            assert holder == "features" or name.split("#")[0] in train.config[holder]
