import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.errors import describe_user_error
from dxa_monai.evaluation.anthropometry_comparison import compare_arms
from dxa_monai.evaluation.measure_baselines import BASELINES
from dxa_monai.networks.checkpoint import load_regressor
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import BODY_MEASURES, PAPER_MEASURES, first_pairs
from dxa_monai.scan.splits import read_split
from tests.bundles.tiny import ANTHROPOMETRY, bundle_files, config_folder


def _files(*names: str) -> list[str]:
    return bundle_files("dxa_anthropometry", *names)


def _sentence(action: Any) -> str:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps the error, the sentence is what counts
        action()
    sentence = describe_user_error(caught.value)
    assert sentence is not None, caught.value
    return sentence


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


def test_evaluation_writes_table_3_of_held_out_people(trained: Path, measured_pairs: Path, tmp_path: Path) -> None:
    run(
        config_file=_files("evaluate.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        manifest=str(measured_pairs),
        arms={"no_dxa": str(trained / "best.pt")},
        output_dir=str(tmp_path / "table"),
    )
    table = pd.read_csv(tmp_path / "table" / "table_3.csv")
    assert list(dict.fromkeys(table["arm"])) == [*BASELINES, "no_dxa"]
    assert set(table["measure"]) == {*PAPER_MEASURES, "mean_of_measures"}
    held_out = read_split(trained, read_manifest(measured_pairs))["test"]
    predictions = pd.read_csv(tmp_path / "table" / "predictions.csv")
    assert set(predictions["scan_id"]) == {row["scan_id"] for row in held_out}
    assert (tmp_path / "table" / "scatter.png").is_file()
    assert (tmp_path / "table" / "bland_altman.png").is_file()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_anthropometry").experiment_id])
    assert np.isfinite(tracked.data.metrics["no_dxa_trained/total_volume_l_rmse"])


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
    assert list(table.columns) == ["scan_id", "scan", *PAPER_MEASURES]
    assert len(table) == len(read_manifest(measured_pairs))
    assert np.isfinite(table[list(PAPER_MEASURES)].to_numpy()).all()


def test_people_of_the_pretraining_are_refused(
    trained_arms: dict[str, Path], measured_pairs: Path, bar_cohort: Path, tmp_path: Path
) -> None:
    rows = [row | {"subject_id": row["subject_id"].removeprefix("Q")} for row in read_manifest(measured_pairs)]
    write_manifest(rows, measured_pairs.parent / "same_people.csv")
    told = _sentence(
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
    told = _sentence(
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
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def compare() -> dict[str, Path]:
        return compare_arms(
            _files("train.json", "preset_small.json", "mlflow.json"),
            measured_pairs,
            arms,
            tmp_path / "out",
            seeds=[0, 1],
            sizes=[8],
            overrides=ANTHROPOMETRY,
            tracking_uri=uri,
        )

    files = compare()
    # ImageNet's DenseNet-121 does not fit the tiny trunk (and cannot be downloaded in a test): told, not hidden
    assert "imagenet: skipped" in capsys.readouterr().out
    table = pd.read_csv(files["table_3"]).set_index(["arm", "trunk"])
    assert isinstance(table.loc["imagenet", "skipped"].iloc[0], str)
    trained = {"random", "no_dxa", "dxa_masked"}
    assert {arm for arm, trunk in table.index if trunk == "frozen"} == trained
    assert {arm for arm, trunk in table.index if trunk == "fine_tuned"} == trained
    assert set(table.loc["no_dxa", "seeds"]) == {2}
    curve = pd.read_csv(files["learning_curve"])
    assert set(curve["training_pairs"]) == {8, len(read_split(tmp_path / "out/runs/random-frozen-20-seed0")["train"])}
    assert set(pd.read_csv(files["differences"])["minus_arm"]) >= {"training_mean", "random"}

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("dxa_anthropometry").experiment_id])
    (parent,) = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    children = [each for each in runs if each.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 2 * 3 * 3
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert {each.data.params["arm"] for each in children} == trained
    for each in children:
        if each.data.params["arm"] != "random":
            assert f"-seed{each.data.params['seed']}/" in each.data.params["initial_weights"]

    # what is finished is not trained again
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("best.pt")}
    compare()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("best.pt")} == before


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
