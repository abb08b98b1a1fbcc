"""``search.json`` of the bundles: real trainings, by real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from monai.bundle import ConfigParser, run

from dxa_monai.experiments.search_space import check_ids, read_space
from dxa_monai.networks.checkpoint import load_vae
from dxa_monai.scan.io import load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.splits import split_by_subject
from tests.bundles.tiny import VAE, bundle_files, config_folder

pytestmark = pytest.mark.usefixtures("forked_workers")

BUNDLES = ("dxa_vae", "dxa_anthropometry", "pseudo_dxa")
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "batch_size": {"choices": [2, 4]},
    "network_def#latent_channels": {"low": 1, "high": 3},
}
FIXED = {name: value for name, value in VAE.items() if name not in SPACE}


@pytest.fixture
def cohort(bar_cohort: Path, tmp_path: Path) -> Path:
    """Folder of a cohort whose held-out people's scans cannot be read."""
    rows = read_manifest(bar_cohort)
    held_out = {row["scan_id"] for row in split_by_subject(rows, seed=0)["test"]}
    folder = tmp_path / "data"
    for row in rows:
        scan, row["scan"] = load_scan(row["scan"]), f"{row['scan_id']}.npy"
        save_scan(scan, folder / row["scan"])
        if row["scan_id"] in held_out:
            (folder / row["scan"]).write_bytes(b"nobody may look at me")
    write_manifest(rows, folder / "manifest.csv")
    return folder


def _search(root: Path, cohort: Path, **settings: Any) -> pd.DataFrame:
    run(
        config_file=bundle_files("dxa_vae", "search.json", "mlflow_evaluation.json"),
        bundle_root=str(root),
        config_dir=str(config_folder("dxa_vae")),
        dataset_dir=str(cohort),
        output_dir=str(root / "out"),
        space=SPACE,
        overrides=FIXED,
        **settings,
    )
    return pd.read_csv(root / "out" / "trials.csv")


def _assert_whole(table: pd.DataFrame, root: Path) -> None:
    """Values are those that the trainings recorded, and every trial is a child run of the search."""
    for _, trial in table.iterrows():
        folder = root / "out" / "trials" / f"{trial['trial']:04d}"
        log = pd.read_csv(folder / "metrics.csv")
        assert len(log) == trial["epochs"]
        assert log["validation/psnr_db"].max() == pytest.approx(trial["psnr_db"], rel=1e-6)
    complete = table[table["state"] == "complete"].set_index("trial")
    best = complete["psnr_db"].idxmax()
    network = load_vae(root / "out" / "trials" / f"{best:04d}" / "best.pt")
    overrides = json.loads((root / "out" / "best.json").read_text())
    assert network.architecture()["latent_channels"] == overrides["network_def#latent_channels"]
    assert overrides["learning_rate"] == pytest.approx(complete.loc[best, "learning_rate"], rel=1e-6)
    assert FIXED.items() <= overrides.items()

    client = MlflowClient(tracking_uri=f"sqlite:///{root}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("dxa_vae").experiment_id])
    parents = {each.info.run_id for each in runs if each.info.run_name.startswith("search")}
    children = [each for each in runs if each.data.tags.get("mlflow.parentRunId") in parents]
    assert {int(each.data.params["trial"]) for each in children} == set(table["trial"])
    assert {each.info.status for each in runs} == {"FINISHED"}
    assert "searched.network_def.latent_channels" in children[0].data.params
    pruned = {int(each.data.params["trial"]) for each in children if "pruned" in each.data.tags}
    assert pruned == set(table.loc[table["state"] == "pruned", "trial"])


def test_two_trials_by_one_command_that_never_looks_at_the_people_held_out(cohort: Path, tmp_path: Path) -> None:
    # the second trial is pruned if it is behind the first after its first epoch
    table = _search(tmp_path, cohort, trials=2, workers=1, pruning={"startup_trials": 1, "from_epoch": 1})
    assert table.loc[0, "state"] == "complete"
    _assert_whole(table, tmp_path)


@pytest.mark.slow
def test_six_trials_in_two_processes_go_on_where_they_ended(cohort: Path, tmp_path: Path) -> None:
    pruning = {"startup_trials": 1, "from_epoch": 1}
    first = _search(tmp_path, cohort, trials=3, workers=2, pruning=pruning)
    table = _search(tmp_path, cohort, trials=6, workers=2, pruning=pruning)
    assert len(table) == 6
    assert set(table["state"]) <= {"complete", "pruned"}
    pd.testing.assert_frame_equal(table[:3], first, check_dtype=False)
    _assert_whole(table, tmp_path)


def test_best_settings_serve_as_overrides_and_as_overlay(tmp_path: Path) -> None:
    best = {"learning_rate": 0.003, "network_def#latent_channels": 16}
    (tmp_path / "best.json").write_text(json.dumps(best))
    compare = ConfigParser()
    compare.read_config(bundle_files("dxa_vae", "compare.json"))
    compare.update({"overrides": f"%{tmp_path}/best.json"})
    assert compare.get_parsed_content("overrides") == best
    train = ConfigParser()
    train.read_config([*bundle_files("dxa_vae", "train.json", "preset_small.json"), str(tmp_path / "best.json")])
    assert train["network_def#latent_channels"] == 16


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_space_of_a_bundle_names_settings_of_its_training(bundle: str) -> None:
    configs = config_folder(bundle)
    search = json.loads((configs / "search.json").read_text())
    files = [str(configs / name) for name in ("train.json", "preset_small.json", "search_trial.json")]
    check_ids(files, search["overrides"], read_space(search["space"]))
    training = ConfigParser()
    training.read_config(files)
    assert training["train#handlers"][-1]["metric_name"] == search["metric"]
    assert list(training["validate#key_metric"]) == [search["metric"]]
    assert 1 <= search["pruning"]["from_epoch"] < training["max_epochs"]
