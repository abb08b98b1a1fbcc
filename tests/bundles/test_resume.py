"""A training that is killed and resumed, again and again, ends as one that was left alone."""

import json
import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from dxa_monai.runs.state_files import FOLDER, newest_state, state_files
from dxa_monai.scan.io import load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.splits import split_by_subject
from tests.bundles.processes import run_and_kill, training_process
from tests.bundles.tiny import ANTHROPOMETRY, PSEUDO_DXA, VAE, bundle_files

pytestmark = pytest.mark.long

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RESULTS = ("best.pt", "last.pt", "metrics.csv", "split.csv", "finished.json")
FAST: dict[str, Any] = {"resume": True, "save_every_s": 0, "batch_size": 4, "learning_rate": 1e-2}


def _settings(bundle: str, root: Path, manifest: Path, vae: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "dxa_vae": VAE | {"arm": "no_dxa", "max_epochs": 5, "warm_up_epochs": 4},
        "dxa_anthropometry": ANTHROPOMETRY
        | {"arm": "no_dxa", "initial_weights": str(vae), "max_epochs": 8, "steps_per_epoch": 3, "patience": 3},
        "pseudo_dxa": PSEUDO_DXA
        | {
            "arm": "no_dxa",
            "generator": str(vae),
            "max_epochs": 4,
            "frozen_epochs": 2,
            "clouds_dir": str(root / "clouds"),
        }
        | {"warm_up_epochs": 9, "latent_weight": 0.1, "mesh": {"unit": "m"}},
    }[bundle]
    return settings | FAST | {"bundle_root": str(root), "manifest": str(manifest)}


@pytest.mark.parametrize("kills_asked", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize("bundle", ["dxa_vae", "dxa_anthropometry", "pseudo_dxa"])
def test_killed_at_random_moments_a_training_ends_bit_for_bit_as_if_it_had_not_been(
    bundle: str,
    kills_asked: int,
    bar_cohort: Path,
    measured_pairs: Path,
    mesh_pairs: Path,
    trained_arms: dict[str, Path],
    tmp_path: Path,
) -> None:
    manifest = {"dxa_vae": bar_cohort, "dxa_anthropometry": measured_pairs, "pseudo_dxa": mesh_pairs}[bundle]
    settings = _settings(bundle, tmp_path, manifest, trained_arms["no_dxa"] / "best.pt") | {"log_model": False}
    files = bundle_files(bundle, "train.json", "preset_small.json", "mlflow.json")
    whole = tmp_path / "whole"
    # other workers, the same batches
    _finish(files, settings | {"output_dir": str(whole), "num_workers": 1}, tmp_path / "log")

    moments = random.Random(0)
    kills, resumed = 0, 0
    for attempt in range(3 * kills_asked):
        folder = tmp_path / f"cut{attempt}"
        while kills < kills_asked and not (folder / "finished.json").exists():
            process = training_process(files, settings | {"output_dir": str(folder)}, tmp_path / "log")
            resumed += bool(state_files(folder))
            # a moment in steps, not in seconds: the machine may be busy now and idle later
            reached = partial(_has_done, folder, _steps_done(folder) + moments.randrange(5))
            killed = run_and_kill(process, reached, moments.uniform(0, 0.2), SIGNALS[kills % len(SIGNALS)])
            kills += killed
            if killed and (folder / "finished.json").exists():  # in its last moment: what is left is to tidy up
                _has_results(folder, whole)
                shutil.rmtree(folder)
        if not (folder / "finished.json").exists():
            _finish(files, settings | {"output_dir": str(folder)}, tmp_path / "log")
        _has_results(folder, whole)
        assert not (folder / FOLDER).exists()
        assert not list(folder.rglob(".*.partial*"))
        if kills == kills_asked:
            break
    assert kills == kills_asked
    assert resumed > 0
    _check_tracking(tmp_path, bundle)


def test_a_full_disk_ends_the_training_in_one_sentence_and_leaves_the_last_state(
    bar_cohort: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    settings = _settings("dxa_vae", tmp_path, bar_cohort, trained_arms["no_dxa"] / "best.pt")
    settings |= {"output_dir": str(tmp_path / "cut")}
    files, log = bundle_files("dxa_vae", "train.json", "preset_small.json"), tmp_path / "log"
    process = training_process(files, settings, log)
    process.start()
    while len(state_files(tmp_path / "cut")) < 2:
        assert process.is_alive(), log.read_text()[-2000:]
        time.sleep(0.01)
    process.kill()
    process.join()
    before = {path: path.read_bytes() for path in state_files(tmp_path / "cut")}

    log.write_text("")
    process = training_process(files, settings, log, largest_file_bytes=100_000)
    process.start()
    process.join()
    assert process.exitcode == 1
    assert log.read_text().splitlines()[-1].startswith(f"error: {tmp_path}/cut/resume/iteration_")
    assert "expected room to write it, got 'File too large'" in log.read_text()
    assert {path: path.read_bytes() for path in state_files(tmp_path / "cut")} == before
    assert not list((tmp_path / "cut").rglob(".*.partial*"))

    _finish(files, settings, log)
    _finish(files, settings | {"output_dir": str(tmp_path / "whole")}, log)
    _has_results(tmp_path / "cut", tmp_path / "whole")


def test_a_scan_left_out_is_left_out_of_the_resumed_run_too(
    bar_cohort: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    rows = read_manifest(bar_cohort)
    for row in rows:
        scan, row["scan"] = load_scan(row["scan"]), f"{row['scan_id']}.npy"
        save_scan(scan, tmp_path / "data" / row["scan"])
    write_manifest(rows, tmp_path / "data" / "manifest.csv")
    bad = split_by_subject(rows, seed=0)["train"][1]["scan"]
    (tmp_path / "data" / bad).write_bytes(b"torn")
    settings = _settings("dxa_vae", tmp_path, tmp_path / "data" / "manifest.csv", trained_arms["no_dxa"] / "best.pt")
    settings |= {"bad_scans": "quarantine", "max_bad_share": 0.2}
    files, log = bundle_files("dxa_vae", "train.json", "preset_small.json"), tmp_path / "log"
    process = training_process(files, settings | {"output_dir": str(tmp_path / "cut")}, log)
    assert run_and_kill(process, partial(_has_done, tmp_path / "cut", 2), 0.0, signal.SIGKILL)
    for folder in ("cut", "whole"):
        _finish(files, settings | {"output_dir": str(tmp_path / folder)}, log)
    _has_results(tmp_path / "cut", tmp_path / "whole")
    assert bad in (tmp_path / "cut" / "quarantine.csv").read_text()
    assert Path(bad).stem not in (tmp_path / "cut" / "split.csv").read_text()


def test_a_discriminator_goes_on_with_its_optimizer_bit_for_bit(
    bar_cohort: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    settings = _settings("dxa_vae", tmp_path, bar_cohort, trained_arms["no_dxa"] / "best.pt")
    settings |= {"arm": "published_code", "max_epochs": 2, "warm_up_epochs": 0, "raw_views_per_step": 1}
    settings |= {"loss_def#terms#adversarial#loss#learning_rate": 1e-2}
    files, log = bundle_files("dxa_vae", "train.json", "preset_small.json", "arm_published_code.json"), tmp_path / "log"
    process = training_process(files, settings | {"output_dir": str(tmp_path / "cut")}, log)
    assert run_and_kill(process, partial(_has_done, tmp_path / "cut", 3), 0.0, signal.SIGKILL)
    saved = newest_state(tmp_path / "cut")
    assert saved is not None
    assert len(saved["loss"]["losses.adversarial._extra_state"]["state"]) > 0
    for folder in ("cut", "whole"):
        _finish(files, settings | {"output_dir": str(tmp_path / folder)}, log)
    _has_results(tmp_path / "cut", tmp_path / "whole")


def test_an_interrupted_run_is_not_overwritten_nor_resumed_with_other_settings(
    bar_cohort: Path, trained_arms: dict[str, Path], tmp_path: Path
) -> None:
    settings = _settings("dxa_vae", tmp_path, bar_cohort, trained_arms["no_dxa"] / "best.pt")
    settings |= {"output_dir": str(tmp_path / "cut")}
    files, log = bundle_files("dxa_vae", "train.json", "preset_small.json"), tmp_path / "log"
    process = training_process(files, settings, log)
    process.start()
    while not state_files(tmp_path / "cut"):
        assert process.is_alive(), log.read_text()[-2000:]
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    assert "to go on: --resume True" in log.read_text()

    for changed, words in (
        ({"resume": False}, "cut: expected a folder without an interrupted run, got one"),
        ({"batch_size": 5}, "run.json: expected to go on with batch_size 4, got 5"),
    ):
        process = training_process(files, settings | changed, log)
        process.start()
        process.join()
        assert process.exitcode == 1
        assert words in log.read_text().splitlines()[-1]


def _has_results(folder: Path, whole: Path) -> None:
    for name in RESULTS:
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), f"{folder.name}/{name}"


def _steps_done(folder: Path) -> int:
    """Steps until the newest state of a run."""
    newest = state_files(folder)[:1]
    return int(newest[0].stem.split("_")[1]) if newest else 0


def _has_done(folder: Path, steps: int) -> bool:
    return _steps_done(folder) >= steps


def _finish(files: list[str], settings: dict[str, Any], log: Path) -> None:
    process = training_process(files, settings, log)
    process.start()
    process.join()
    assert process.exitcode == 0, log.read_text()[-2000:]


def _check_tracking(root: Path, bundle: str) -> None:
    """Each folder has one MLflow run, FINISHED, with each epoch's metrics once."""
    client = MlflowClient(f"sqlite:///{root}/runs/mlflow.db")
    experiment = client.get_experiment_by_name(bundle)
    assert experiment is not None
    for note in root.glob("cut*/mlflow_run.json"):
        run = client.get_run(json.loads(note.read_text())["run_id"])
        assert run.info.status == "FINISHED"
        steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")]
        assert steps == sorted(set(steps))
        assert steps[-1] == len((note.parent / "metrics.csv").read_text().splitlines()) - 1
