import ast
import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.networks.checkpoint import load_vae, save_network
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.io import load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.splits import read_split, split_by_subject
from dxa_monai.tracking.run_note import NOTE_NAME, read_note
from tests.bundles.tiny import VAE, bundle_files, config_folder, refusal
from tests.scan.examples import SEGMENTS_EXCHANGED, exchanged_copies


def _train(output_dir: Path, dataset_dir: Path, *overlays: str, **override: Any) -> None:
    run(
        config_file=bundle_files("dxa_vae", "train.json", "preset_small.json", *overlays),
        bundle_root=str(output_dir.parent),
        dataset_dir=str(dataset_dir),
        output_dir=str(output_dir),
        **(VAE | override),
    )


def test_run_folder_tells_what_was_run_on_whom(trained_arms: dict[str, Path], bar_cohort: Path) -> None:
    for arm, folder in trained_arms.items():
        record = json.loads((folder / "run.json").read_text())
        assert (record["arm"], record["preset"], record["backbone"]) == (arm, "small", "random")
        assert (record["people"], record["scans"]) == (20, 25)
        rows = read_manifest(bar_cohort)
        assert read_split(folder, rows) == split_by_subject(rows, seed=0)
        assert np.isfinite(json.loads((folder / "finished.json").read_text())["best_validation_psnr_db"])


def test_both_arms_share_data_start_and_pixels_and_differ_in_the_loss(trained_arms: dict[str, Path]) -> None:
    logs = {arm: pd.read_csv(folder / "metrics.csv", index_col="epoch") for arm, folder in trained_arms.items()}
    # Epoch 1 is pixel warm-up: with one seed the arms take the very same steps until the perceptual terms come in.
    first = {arm: log.loc[1, ["train/loss_pixel_l1", "validation/psnr_db"]].tolist() for arm, log in logs.items()}
    assert first["no_dxa"] == first["dxa_masked"]
    assert "train/loss_calibrated_perceptual" in logs["dxa_masked"]
    assert "train/loss_calibrated_perceptual" not in logs["no_dxa"]
    means = [load_vae(folder / "best.pt").mean_image for folder in trained_arms.values()]
    assert means[0].equal(means[1])


def test_runs_are_tracked_and_finished(trained_arms: dict[str, Path]) -> None:
    root = trained_arms["no_dxa"].parent
    client = MlflowClient(tracking_uri=f"sqlite:///{root}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dxa_vae").experiment_id])
    by_arm = {tracked.data.params["arm"]: tracked for tracked in runs if "arm" in tracked.data.params}
    assert set(by_arm) == set(trained_arms)
    for tracked in by_arm.values():
        assert tracked.info.status == "FINISHED"
        best = tracked.data.metrics["best_validation_psnr_db"]
        assert tracked.data.tags["mlflow.note.content"].startswith(f"Best validation/psnr_db {best:.4g}, after epoch ")
        assert tracked.data.params["dataset_hash"] == by_arm["no_dxa"].data.params["dataset_hash"]
        assert len(client.get_metric_history(tracked.info.run_id, "validation/psnr_db")) == VAE["max_epochs"]
        artifacts = {artifact.path for artifact in client.list_artifacts(tracked.info.run_id)}
        of_best = {"model", "validation.png"}
        assert artifacts - of_best == {"run.json", "config.json", "split.csv", "metrics.csv", "best.pt"}
        assert artifacts & of_best == (of_best if tracked.data.params["arm"] == "no_dxa" else set())


def test_the_snippet_of_mlflow_loads_the_best_network(trained_arms: dict[str, Path]) -> None:
    folder = trained_arms["no_dxa"]
    run_id = read_note(folder / NOTE_NAME).run_id
    mlflow.set_tracking_uri(f"sqlite:///{folder.parent}/runs/mlflow.db")
    model = mlflow.pytorch.load_model(f"runs:/{run_id}/model")
    scans = torch.rand(3, 6, 150, 109)
    assert model(scans).equal(load_vae(folder / "best.pt").reconstruct(scans))


def test_evaluation_writes_table_1_of_held_out_people(
    trained_arms: dict[str, Path], bar_cohort: Path, tmp_path: Path
) -> None:
    run(
        config_file=bundle_files("dxa_vae", "evaluate.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        dataset_dir=str(bar_cohort.parent),
        arms={arm: str(folder / "best.pt") for arm, folder in trained_arms.items()},
        output_dir=str(tmp_path / "table"),
        components=5,
    )
    table = pd.read_csv(tmp_path / "table" / "image_quality.csv")
    assert list(table["arm"]) == ["training_mean", "principal_components_5", "no_dxa", "dxa_masked"]
    held_out = read_split(trained_arms["no_dxa"], read_manifest(bar_cohort))["test"]
    assert set(table["scans"]) == {len(held_out)}
    per_scan = pd.read_csv(tmp_path / "table" / "image_quality_per_scan.csv")
    assert set(per_scan["scan_id"]) == {row["scan_id"] for row in held_out}
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_vae").experiment_id])
    assert tracked.data.metrics["no_dxa/psnr_db"] == pytest.approx(
        table.set_index("arm").loc["no_dxa", "psnr_db"], 1e-4
    )


@pytest.mark.parametrize("source", ["folder", "manifest"])
def test_inference_writes_a_reconstruction_and_a_code_for_every_scan(
    trained_arms: dict[str, Path], bar_cohort: Path, tmp_path: Path, source: str
) -> None:
    run(
        config_file=bundle_files("dxa_vae", "inference.json"),
        input=str(bar_cohort.parent if source == "folder" else bar_cohort),
        output_dir=str(tmp_path),
        checkpoint=str(trained_arms["no_dxa"] / "best.pt"),
    )
    for row in read_manifest(bar_cohort):
        scan = load_scan(tmp_path / "reconstructions" / "scans" / f"{row['scan_id']}.npy")
        assert scan.counts.shape == (150, 109, 6)
        assert np.load(tmp_path / "latents" / "scans" / f"{row['scan_id']}.npz")["mu"].shape == (2, 5, 4)


def test_the_published_lists_of_paths_serve_as_split(bar_cohort: Path, tmp_path: Path) -> None:
    split = split_by_subject(read_manifest(bar_cohort), seed=1)
    lists = []
    for name, rows in split.items():
        lists.append(str(tmp_path / f"{name}.csv"))
        Path(lists[-1]).write_text("".join(f"{row['scan']}\n" for row in rows))
        # The lists lie in the data folder, since paths may not leave it.
        lists[-1] = str(Path(lists[-1]).rename(bar_cohort.parent / f"{name}.csv"))
    _train(tmp_path / "run", tmp_path, max_epochs=1, path_lists=lists)
    used = read_split(tmp_path / "run")
    assert {name: [row["scan_id"] for row in rows] for name, rows in used.items()} == {
        name: [row["scan_id"] for row in rows] for name, rows in split.items()
    }


def test_finished_run_is_not_overwritten(trained_arms: dict[str, Path], bar_cohort: Path) -> None:
    folder = trained_arms["no_dxa"]
    before = (folder / "best.pt").read_bytes()
    assert "expected a folder without a finished run" in refusal(lambda: _train(folder, bar_cohort.parent))
    assert (folder / "best.pt").read_bytes() == before


def test_nan_stops_the_run_names_the_scans_and_saves_no_network(bar_cohort: Path, tmp_path: Path) -> None:
    sentence = refusal(
        lambda: _train(
            tmp_path / "run",
            bar_cohort.parent,
            "mlflow.json",
            **{"loss_def#terms#pixel_l1#weight": float("inf"), "batch_size": 2},
        )
    )
    assert "epoch 1, iteration 1: expected a finite loss, got" in sentence
    assert "from scans P" in sentence
    assert not list((tmp_path / "run").glob("*.pt"))
    assert not (tmp_path / "run" / "finished.json").exists()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_vae").experiment_id])
    assert tracked.info.status == "FAILED"


def _broken_cohort(folder: Path, bar_cohort: Path, damage: str) -> None:
    """A copy of the cohort with one fault."""
    rows = read_manifest(bar_cohort)
    for row in rows:
        scan = load_scan(row["scan"])
        row["scan"] = f"{row['scan_id']}.npy"
        save_scan(scan, folder / row["scan"])
    write_manifest(rows, folder / "manifest.csv")
    victim = folder / "P03-1.npy"
    if damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:1000])
    elif damage == "shape":
        np.save(victim, np.zeros((109, 150, 6), dtype=np.uint16))
    elif damage == "range":
        np.save(victim, np.load(victim) + np.uint16(16383))
    elif damage == "swapped":
        np.save(victim, np.load(victim)[..., [1, 0, 3, 2, 5, 4]])
    elif damage == "column":
        manifest = folder / "manifest.csv"
        manifest.write_text(manifest.read_text().replace("subject_id", "person", 1))
    elif damage == "outside":
        manifest = folder / "manifest.csv"
        manifest.write_text(manifest.read_text().replace("P03-1.npy", "../P03-1.npy", 1))


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        ("truncated", ["P03-1.npy", "expected a whole .npy file"]),
        ("shape", ["P03-1.npy", "expected counts of shape (150, 109, 6), got (109, 150, 6)"]),
        ("range", ["P03-1.npy", "expected counts in 0..16383, got"]),
        ("swapped", ["P03-1.npy", "expected low energy to attenuate more than high energy"]),
        ("column", ["manifest.csv", "subject_id"]),
        ("outside", ["manifest.csv", "expected a scan inside the data folder"]),
    ],
)
def test_bad_data_end_training_in_onerefusal(bar_cohort: Path, tmp_path: Path, damage: str, parts: list[str]) -> None:
    _broken_cohort(tmp_path / "data", bar_cohort, damage)
    sentence = refusal(lambda: _train(tmp_path / "run", tmp_path / "data"))
    for part in parts:
        assert part in sentence
    assert not list((tmp_path / "run").glob("*.pt"))


def test_a_quarantined_scan_costs_only_itself(trained_arms: dict[str, Path], bar_cohort: Path, tmp_path: Path) -> None:
    _broken_cohort(tmp_path / "data", bar_cohort, "truncated")
    settings = {"bad_scans": "quarantine", "max_bad_share": 0.1}
    _train(tmp_path / "run", tmp_path / "data", max_epochs=1, **settings)
    whole = {row["scan_id"]: row["split"] for row in _rows(trained_arms["no_dxa"] / "split.csv")}
    kept = {row["scan_id"]: row["split"] for row in _rows(tmp_path / "run" / "split.csv")}
    (bad,) = _rows(tmp_path / "run" / "quarantine.csv")
    assert (bad["scan_id"], bad["part"]) == ("P03-1", whole.pop("P03-1"))
    assert "expected a whole .npy file" in bad["reason"]
    assert kept == whole
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["left_out"], record["scans"]) == (1, len(kept))
    out = tmp_path / "out"
    run(
        config_file=bundle_files("dxa_vae", "inference.json"),
        input=str(tmp_path / "data" / "manifest.csv"),
        output_dir=str(out),
        checkpoint=str(trained_arms["no_dxa"] / "best.pt"),
        **settings,
    )
    assert {path.stem for path in (out / "reconstructions").iterdir()} == set(kept)
    assert [row["scan_id"] for row in _rows(out / "quarantine.csv")] == ["P03-1"]
    sentence = refusal(lambda: _train(tmp_path / "strict", tmp_path / "data", bad_scans="quarantine"))
    assert "strict/quarantine.csv: expected at most 2 %" in sentence


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_arm_by_name_alone_is_refused_before_anything_is_written(bar_cohort: Path, tmp_path: Path) -> None:
    """It chose the loss once; now it is a label, and the loss would be another than the label says."""
    sentence = refusal(lambda: _train(tmp_path / "run", bar_cohort.parent, arm="dxa_masked"))
    assert re.match(r"arm: expected the overlay \S+configs/arm_dxa_masked\.json after train\.json", sentence)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arm", "changed", "words"),
    [
        ("energy_ratio", {"loss_def#terms#energy_ratio": "$None"}, "energy_ratio: expected EnergyRatioLoss as"),
        ("dxa", {"loss_def#terms#calibrated_perceptual": "$None"}, "expected CalibratedPerceptualLoss as"),
        ("composition", {"loss_def#terms#composition#loss": {"_target_": "torch.nn.L1Loss"}}, "got L1Loss; read"),
        ("published_code", {"augmentation": []}, "expected RandFieldGeometryd of image, RandShuffledBoxesd of image"),
        ("published_code", {"loss_def#terms#kl": {"_target_": "dxa_monai.losses.weighted.Term"}}, "kl: expected none"),
    ],
)
def test_an_arm_that_lacks_a_part_is_refused_before_anything_is_written(
    arm: str, changed: dict[str, Any], words: str, bar_cohort: Path, tmp_path: Path
) -> None:
    """A preset that is read after the arm, or a setting, may take away what its name says."""
    sentence = refusal(lambda: _train(tmp_path / "run", bar_cohort.parent, f"arm_{arm}.json", **changed))
    assert words in sentence
    assert f"which makes the arm '{arm}'" in sentence
    assert not (tmp_path / "run").exists()


def test_the_arm_of_the_public_code_has_no_kl_and_leaves_its_target_where_it_was(
    bar_cohort: Path, tmp_path: Path
) -> None:
    _train(tmp_path / "run", bar_cohort.parent, "arm_published_code.json", raw_views_per_step=1, ramp_epochs=1)
    loss = json.loads((tmp_path / "run" / "run.json").read_text())["loss"]
    assert sorted(loss) == ["adversarial", "calibrated_perceptual", "pixel_l1", "raw_perceptual"]
    assert loss["adversarial"]["weight"] == 500.0
    assert loss["adversarial"]["discriminator_learning_rate"] == 5e-7
    log = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert np.isfinite(log["train/loss_adversarial_discriminator"].iloc[-1])

    parser = ConfigParser()
    parser.read_config(bundle_files("dxa_vae", "train.json", "preset_small.json", "arm_published_code.json"))
    parser.update({"dataset_dir": str(bar_cohort.parent), "output_dir": str(tmp_path / "other"), **VAE})
    item = parser.get_parsed_content("train#dataset")[0]
    (row,) = (row for row in read_manifest(bar_cohort) if row["scan_id"] == item["scan_id"])
    clean = np.moveaxis(load_scan(row["scan"]).counts, -1, 0) / 16383.0
    np.testing.assert_allclose(np.asarray(item["label"]), clean, atol=1e-6)
    assert float(np.abs(np.asarray(item["image"]) - clean).max()) > 0.01


@pytest.mark.parametrize(
    ("name", "instead"),
    [("perceptual_arm", "an overlay"), ("loss_def#pixel_weight", "loss_def#terms#NAME#weight")],
)
def test_an_id_of_an_earlier_version_is_told_with_what_replaced_it(
    name: str, instead: str, bar_cohort: Path, tmp_path: Path
) -> None:
    sentence = refusal(lambda: _train(tmp_path / "run", bar_cohort.parent, **{name: 1.0}))
    assert instead in sentence
    assert "since 0.5.0" in sentence
    assert not (tmp_path / "run").exists()


def test_the_energies_ratio_is_an_arm_that_the_record_names(bar_cohort: Path, tmp_path: Path) -> None:
    """The worked example of docs/extending.md."""
    _train(tmp_path / "run", bar_cohort.parent, "arm_energy_ratio.json", max_epochs=1)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["arm"] == "energy_ratio"
    assert record["loss"]["energy_ratio"]["loss"] == "dxa_monai.losses.energy_ratio.EnergyRatioLoss"
    assert record["loss"]["energy_ratio"]["window"] == 0.07
    log = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert np.isfinite(log["train/loss_energy_ratio"]).all()


def test_a_training_ends_with_the_command_that_evaluates_it(
    bar_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _train(tmp_path / "it's mine", bar_cohort.parent, max_epochs=1)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    start = "next, on the people held out: python -m monai.bundle run "
    assert line.startswith(start)
    words = shlex.split(line.removeprefix(start))
    given = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert ast.literal_eval(given["arms"]) == {"no_dxa": str(tmp_path / "it's mine" / "best.pt")}
    run(**given | {"arms": ast.literal_eval(given["arms"])}, components=5, composition=False)
    table = pd.read_csv(Path(given["output_dir"]) / "image_quality.csv")
    assert "no_dxa" in list(table["arm"])


def test_another_optimizer_is_an_overlay(bar_cohort: Path, tmp_path: Path) -> None:
    _train(tmp_path / "run", bar_cohort.parent, "optimizer_muon.json", max_epochs=2)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["learning_rate"] == 0.015
    log = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert np.isfinite(log["train/loss"]).all()
    assert log["train/loss"].iloc[-1] < log["train/loss"].iloc[0]


def test_scans_in_a_declared_order_are_evaluated_as_they_were_trained_on(bar_cohort: Path, tmp_path: Path) -> None:
    """Statistics, baselines and tables opened the files past the reader: the mean image had exchanged segments."""
    rows = read_manifest(bar_cohort)
    (tmp_path / "data").mkdir()
    copies = exchanged_copies(rows, tmp_path / "data")
    write_manifest(copies, tmp_path / "data" / "manifest.csv")
    declared = {"reader#channels": list(SEGMENTS_EXCHANGED)}
    _train(tmp_path / "plain", bar_cohort.parent, max_epochs=1)
    _train(tmp_path / "declared", tmp_path / "data", max_epochs=1, **declared)
    networks = [load_vae(tmp_path / name / "best.pt").state_dict() for name in ("plain", "declared")]
    assert all(tensor.equal(networks[1][name]) for name, tensor in networks[0].items())

    tables = []
    for name, folder in (("plain", bar_cohort.parent), ("declared", tmp_path / "data")):
        run(
            config_file=bundle_files("dxa_vae", "evaluate.json"),
            bundle_root=str(tmp_path),
            dataset_dir=str(folder),
            arms={"arm": str(tmp_path / name / "best.pt")},
            output_dir=str(tmp_path / f"{name}_tables"),
            components=5,
            composition=False,
        )
        tables.append(pd.read_csv(tmp_path / f"{name}_tables" / "image_quality.csv"))
    pd.testing.assert_frame_equal(*tables)

    told = refusal(
        lambda: run(
            config_file=bundle_files("dxa_vae", "inference.json"),
            input=str(tmp_path / "data"),
            output_dir=str(tmp_path / "inference"),
            checkpoint=str(tmp_path / "declared" / "best.pt"),
        )
    )
    assert "expected the order of the channels to be declared (--reader#channels)" in told


def test_checkpoint_of_another_architecture_is_refused(bar_cohort: Path, tmp_path: Path) -> None:
    small = {key.removeprefix("network_def#"): value for key, value in VAE.items() if key.startswith("network_def#")}
    save_network(DXAVAE(**small), tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(content[: len(content) // 2])
    sentence = refusal(
        lambda: run(
            config_file=bundle_files("dxa_vae", "inference.json"),
            input=str(bar_cohort),
            output_dir=str(tmp_path / "out"),
            checkpoint=str(tmp_path / "b.pt"),
        )
    )
    assert "b.pt: expected a whole file of network weights" in sentence
    assert not (tmp_path / "out").exists()


def test_command_line_reports_a_mistake_in_onerefusal(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "monai.bundle",
        "run",
        "--config_file",
        str(config_folder("dxa_vae") / "train.json"),
    ]
    arguments = [
        "--manifest",
        str(tmp_path / "none.csv"),
        "--output_dir",
        str(tmp_path / "run"),
        "--backbone",
        "random",
    ]
    result = subprocess.run(
        command + arguments, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"error: {tmp_path / 'none.csv'}: expected")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("preset", ["preset_small.json", "preset_medium.json", "preset_paper.json"])
def test_every_preset_names_what_the_training_config_has(preset: str) -> None:
    config = ConfigParser.load_config_file(config_folder("dxa_vae") / "train.json")
    overlay = ConfigParser.load_config_file(config_folder("dxa_vae") / preset)
    parser = ConfigParser(config)
    for key in overlay:
        section = key.split("#")[0]
        assert section in parser, f"{preset} sets {key}, which train.json does not have"
