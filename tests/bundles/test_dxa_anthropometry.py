import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.evaluation.measures import BASELINES
from dxa_monai.networks.checkpoint import load_regressor
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import BODY_MEASURES, first_pairs
from dxa_monai.scan.splits import read_split, split_by_subject, write_split
from tests.bundles.tiny import ANTHROPOMETRY, bundle_files, config_folder, refusal

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]


def _files(*names: str) -> list[str]:
    return bundle_files("dxa_anthropometry", *names)


def _train(output_dir: Path, manifest: Path, **override: Any) -> None:
    run(
        config_file=_files("train.json", "preset_small.json"),
        bundle_root=str(output_dir.parent),
        manifest=str(manifest),
        output_dir=str(output_dir),
        **(ANTHROPOMETRY | override),
    )


@pytest.fixture(scope="module")
def trained(measured_pairs: Path, trained_arms: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, trained from a VAE."""
    folder = tmp_path_factory.mktemp("anthropometry") / "no_dxa"
    _train(
        folder, measured_pairs, arm="no_dxa", initial_weights=str(trained_arms["no_dxa"] / "best.pt"), training_pairs=12
    )
    return folder


def test_run_folder_tells_where_the_trunk_comes_from(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert (record["arm"], record["trunk"], record["training_pairs"]) == ("no_dxa", "fine_tuned", 12)
    assert "tensors loaded" in record["initialisation"]
    assert np.isfinite(json.loads((trained / "finished.json").read_text())["best_validation_mean_r2"])
    log = pd.read_csv(trained / "metrics.csv")
    assert np.isfinite(log[["train/loss", "validation/mean_r2"]].to_numpy()).all()


def test_statistics_of_the_training_pairs_lie_in_the_checkpoint_alone(trained: Path, measured_pairs: Path) -> None:
    network = load_regressor(trained / "best.pt")
    rows = read_manifest(measured_pairs)
    chosen = first_pairs(read_split(trained, rows)["train"], 12, seed=0)
    volumes = [row["total_volume_l"] for row in chosen]
    place = network.measures.index("total_volume_l")
    assert float(network.measure_mean[place]) == pytest.approx(np.mean(volumes))
    assert float(network.measure_standard_deviation[place]) == pytest.approx(np.std(volumes, ddof=1))
    text = "".join(path.read_text() for path in trained.glob("*.json")) + (trained / "metrics.csv").read_text()
    assert "measure_mean" not in text


def test_evaluation_writes_measures_of_held_out_people(trained: Path, measured_pairs: Path, tmp_path: Path) -> None:
    run(
        config_file=_files("evaluate.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        manifest=str(measured_pairs),
        arms={"no_dxa": str(trained / "best.pt")},
        output_dir=str(tmp_path / "table"),
    )
    table = pd.read_csv(tmp_path / "table" / "measures.csv")
    assert list(dict.fromkeys(table["arm"])) == [*BASELINES, "no_dxa"]
    assert set(table["measure"]) == {*BODY_MEASURES, "mean_of_measures"}
    held_out = read_split(trained, read_manifest(measured_pairs))["test"]
    predictions = pd.read_csv(tmp_path / "table" / "measures_per_scan.csv")
    assert set(predictions["scan_id"]) == {row["scan_id"] for row in held_out}
    assert (tmp_path / "table" / "scatter.png").is_file()
    assert (tmp_path / "table" / "bland_altman.png").is_file()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_anthropometry").experiment_id])
    assert np.isfinite(tracked.data.metrics["no_dxa_fine_tuned/total_volume_l_rmse"])


def test_inference_gives_every_scan_its_measures_with_units(
    trained: Path, measured_pairs: Path, tmp_path: Path
) -> None:
    run(
        config_file=_files("inference.json"),
        input=str(measured_pairs.parent / "scans"),
        output_dir=str(tmp_path),
        checkpoint=str(trained / "best.pt"),
    )
    table = pd.read_csv(tmp_path / "anthropometry.csv")
    assert list(table.columns) == ["scan_id", "scan", *BODY_MEASURES]
    assert len(table) == len(read_manifest(measured_pairs))
    assert np.isfinite(table[list(BODY_MEASURES)].to_numpy()).all()
    run(
        config_file=_files("inference.json"),
        input=str(measured_pairs),
        output_dir=str(tmp_path / "manifest"),
        checkpoint=str(trained / "best.pt"),
    )
    named = pd.read_csv(tmp_path / "manifest" / "anthropometry.csv", dtype={"subject_id": str})
    assert list(named.columns) == ["subject_id", "scan_id", "scan", *BODY_MEASURES]
    owners = {row["scan_id"]: row["subject_id"] for row in read_manifest(measured_pairs)}
    assert dict(zip(named["scan_id"], named["subject_id"], strict=True)) == owners


def test_people_of_the_pretraining_are_refused(
    trained_arms: dict[str, Path], measured_pairs: Path, bar_cohort: Path, tmp_path: Path
) -> None:
    rows = [row | {"subject_id": row["subject_id"].removeprefix("Q")} for row in read_manifest(measured_pairs)]
    write_manifest(rows, measured_pairs.parent / "same_people.csv")
    told = refusal(
        lambda: _train(
            tmp_path / "run",
            measured_pairs.parent / "same_people.csv",
            initial_weights=str(trained_arms["no_dxa"] / "best.pt"),
        )
    )
    assert "pretrained on other people" in told
    assert "(20 in all)" in told
    assert not (tmp_path / "run").exists()


def test_another_trunk_is_refused_before_the_run_begins(
    trained_arms: dict[str, Path], measured_pairs: Path, tmp_path: Path
) -> None:
    told = refusal(
        lambda: _train(
            tmp_path / "run",
            measured_pairs,
            initial_weights=str(trained_arms["no_dxa"] / "best.pt"),
            **{"network_def#growth_rate": 3},
        )
    )
    assert "expected the" in told
    assert "block_config, growth_rate" in told
    assert not (tmp_path / "run" / "run.json").exists()


def _compare(root: Path, manifest: Path, arms: dict[str, Any], **settings: Any) -> Path:
    """Folder of the comparison's tables."""
    run(
        config_file=_files("compare.json", "mlflow_evaluation.json"),
        bundle_root=str(root),
        config_dir=str(config_folder("dxa_anthropometry")),
        manifest=str(manifest),
        output_dir=str(root / "out"),
        arms=arms,
        pairs=0,
        **({"overrides": ANTHROPOMETRY | {"log_model": False}} | settings),
    )
    return root / "out" / "evaluation"


def test_one_command_compares_arms_seeds_and_sizes(
    trained_arms: dict[str, Path], measured_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # every training seed of an arm has a pretraining of its own
    for arm, folder in trained_arms.items():
        for seed in (0, 1):
            shutil.copytree(folder, tmp_path / f"{arm}-seed{seed}")
    arms = {"random": "random", "imagenet": "imagenet"} | {
        arm: str(tmp_path / (arm + "-seed{seed}") / "best.pt") for arm in trained_arms
    }

    tables = _compare(tmp_path, measured_pairs, arms, seeds=[0, 1], sizes=[8, 500])
    # ImageNet's DenseNet-121 does not fit the tiny trunk (and cannot be downloaded in a test), and there are not 500
    # pairs: told, not hidden
    told = capsys.readouterr().out
    assert "imagenet: skipped" in told
    assert "500_pairs: left out" in told
    table = pd.read_csv(tables / "measures.csv").set_index(["arm", "trunk"])
    assert isinstance(table.loc["imagenet", "skipped"].iloc[0], str)
    trained = {"random", "no_dxa", "dxa_masked"}
    assert {arm for arm, trunk in table.index if trunk == "frozen"} == trained
    assert {arm for arm, trunk in table.index if trunk == "fine_tuned"} == trained
    assert set(table.loc["no_dxa", "seeds"]) == {2}
    curve = pd.read_csv(tables / "learning_curve.csv")
    assert set(curve["training_pairs"]) == {8, len(read_split(tmp_path / "out/random-frozen-seed0")["train"])}
    assert set(pd.read_csv(tables / "measures_differences.csv")["minus_arm"]) >= {"training_mean", "random"}

    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dxa_anthropometry").experiment_id])
    (parent,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    below = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    children = [each for each in below if "arm" in each.data.params]
    assert len(children) == 2 * 3 * 3
    assert len(below) == len(children) + 1
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert {each.data.params["arm"] for each in children} == trained
    for each in children:
        if each.data.params["arm"] != "random":
            assert f"-seed{each.data.params['seed']}/" in each.data.params["initial_weights"]

    # what is finished is not trained again
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("best.pt")}
    _compare(tmp_path, measured_pairs, arms, seeds=[0, 1], sizes=[8, 500])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("best.pt")} == before


def test_a_training_without_a_best_network_says_so(
    measured_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With one person for validation R2 is no number: it named a best.pt that was not there."""
    parts = split_by_subject(read_manifest(measured_pairs))
    parts = {name: rows[:1] if name == "validation" else rows for name, rows in parts.items()}
    manifest = measured_pairs.with_name("one_validation_scan.csv")
    write_manifest([row for rows in parts.values() for row in rows], manifest)
    split_file = write_split(parts, tmp_path)
    _train(tmp_path / "run", manifest, split_file=str(split_file), max_epochs=1)
    last = capsys.readouterr().out.splitlines()[-1]
    assert "no network became the best one, because mean_r2 of the validation people was never a number" in last
    assert f"{tmp_path}/run/last.pt is the last one" in last
    assert not (tmp_path / "run" / "best.pt").exists()
    assert json.loads((tmp_path / "run" / "finished.json").read_text())["best_validation_mean_r2"] is None


def test_tables_are_of_the_people_whom_a_given_split_holds_out(measured_pairs: Path, tmp_path: Path) -> None:
    """The trainings followed the file, and the tables split anew: people trained on counted as held out."""
    rows = read_manifest(measured_pairs)
    other = split_by_subject(rows, seed=5)
    assert {row["scan_id"] for row in other["test"]} != {row["scan_id"] for row in split_by_subject(rows)["test"]}
    split_file = write_split(other, tmp_path)
    tables = _compare(
        tmp_path,
        measured_pairs,
        {"random": "random"},
        seeds=[0],
        sizes=[],
        frozen=False,
        overrides=ANTHROPOMETRY | {"split_file": str(split_file), "max_epochs": 1, "log_model": False},
    )
    evaluated = set(pd.read_csv(tables / "measures_per_scan.csv")["scan_id"])
    assert evaluated == {row["scan_id"] for row in other["test"]}
    assert not evaluated & {row["scan_id"] for row in read_split(tmp_path / "out" / "random-seed0")["train"]}


def test_baselines_predict_the_measures_that_the_networks_were_trained_for(
    measured_pairs: Path, tmp_path: Path
) -> None:
    """They predicted the paper's fifteen, and the waist of one arm was compared with the bicep of another."""
    wanted = ["waist_circumference_cm", "total_volume_l"]
    rows = [
        {name: value for name, value in row.items() if name not in BODY_MEASURES or name in wanted}
        for row in read_manifest(measured_pairs)
    ]
    manifest = measured_pairs.parent / "two_measures.csv"
    write_manifest(rows, manifest)
    tables = _compare(
        tmp_path,
        manifest,
        {"random": "random"},
        seeds=[0],
        sizes=[],
        frozen=False,
        overrides=ANTHROPOMETRY | {"measures": wanted, "max_epochs": 1, "log_model": False},
    )
    table = pd.read_csv(tables / "measures.csv")
    for arm in (*BASELINES, "random"):
        assert set(table.loc[table["arm"] == arm, "measure"]) == {*wanted, "mean_of_measures"}
    per_scan = pd.read_csv(tables / "measures_per_scan.csv").set_index(["arm", "scan_id", "measure"])
    for row in rows:
        for name in wanted:
            if ("random", row["scan_id"], name) in per_scan.index:
                assert per_scan.loc[("random", row["scan_id"], name), "truth"] == pytest.approx(row[name], rel=1e-5)


def test_a_misspelt_setting_of_a_comparison_is_refused_before_anything_is_trained(
    measured_pairs: Path, tmp_path: Path
) -> None:
    told = refusal(
        lambda: _compare(tmp_path, measured_pairs, {"random": "random"}, overrides={"learning_rat": 0.1}, sizes=[])
    )
    assert "learning_rat: expected a setting of" in told
    assert not (tmp_path / "out").exists()


def test_metadata_belongs_to_the_bundle() -> None:
    metadata = json.loads((config_folder("dxa_anthropometry") / "metadata.json").read_text())
    assert metadata["name"] == "dxa_anthropometry"
    assert metadata["version"] in metadata["changelog"]


def test_metadata_lists_the_measures_of_the_released_network() -> None:
    """A measure that is added to the list comes into the metadata with the first weights that were trained on it."""
    bundle = config_folder("dxa_anthropometry").parent
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    described = tuple(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    released = load_regressor(bundle / "models" / "model.pt").measures
    assert described == released, "write the measures of models/model.pt into channel_def, num_channels as many"
    assert set(released) <= set(BODY_MEASURES), "the list in dxa_monai/scan/measures.py lacks measures of the network"


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_every_preset_names_what_the_training_config_has(preset: str) -> None:
    train = ConfigParser()
    train.read_config(_files("train.json"))
    constructor = {"block_config", "growth_rate", "pooled_shape", "dropout", "init_features"}
    for key in json.loads((config_folder("dxa_anthropometry") / f"preset_{preset}.json").read_text()):
        holder, _, name = key.partition("#")
        assert holder in train.config
        if name:
            assert holder == "network_def"
            assert name in constructor
