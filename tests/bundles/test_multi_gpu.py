"""Two processes train as one does at the same global batch; on CPUs, over gloo."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from dxa_monai.runs.state_files import state_files
from tests.bundles.processes import training_process
from tests.bundles.tiny import ANTHROPOMETRY, PSEUDO_DXA, VAE, bundle_files

pytestmark = pytest.mark.long

COMMON: dict[str, Any] = {"batch_size": 4, "learning_rate": 3e-3, "max_epochs": 3, "num_workers": 0}
SETTINGS: dict[str, dict[str, Any]] = {
    "dxa_vae": VAE | COMMON | {"loss_def#terms#composition#balanced": True, "loss_def#balance_every": 1},
    "dxa_anthropometry": ANTHROPOMETRY | COMMON | {"steps_per_epoch": 3},
    "pseudo_dxa": PSEUDO_DXA | COMMON | {"mesh": {"unit": "m"}, "latent_weight": 0.1, "frozen_epochs": 1},
}
RTOL = 2e-3
"""Of losses and metrics after some steps: sums in another order, carried on by the training."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(bundle: str, settings: dict[str, Any], log: Path, processes: int) -> list[Any]:
    arm = ["arm_composition.json"] if bundle == "dxa_vae" else []
    names = ["train.json", *arm, "preset_small.json"] + (["multi_gpu_train.json"] if processes > 1 else [])
    port = _free_port()
    started = []
    for rank in range(processes):
        environment = {
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            **{"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)},
            **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
        }
        process = training_process(
            bundle_files(bundle, *names),
            settings,
            log.with_suffix(f".{rank}"),
            environment=environment if processes > 1 else {},
        )
        process.start()
        started.append(process)
    return started


def _finish(bundle: str, settings: dict[str, Any], log: Path, processes: int) -> pd.DataFrame:
    for rank, process in enumerate(_start(bundle, settings, log, processes)):
        process.join(300)
        assert process.exitcode == 0, log.with_suffix(f".{rank}").read_text()[-3000:]
    return pd.read_csv(Path(settings["output_dir"]) / "metrics.csv")


@pytest.fixture
def settings(
    request: pytest.FixtureRequest,
    bar_cohort: Path,
    measured_pairs: Path,
    mesh_pairs: Path,
    trained_arms: dict[str, Path],
    tmp_path: Path,
) -> dict[str, Any]:
    bundle = request.node.callspec.params["bundle"]
    manifest = {"dxa_vae": bar_cohort, "dxa_anthropometry": measured_pairs, "pseudo_dxa": mesh_pairs}[bundle]
    chosen = SETTINGS[bundle] | {"bundle_root": str(tmp_path), "manifest": str(manifest)}
    if bundle == "pseudo_dxa":
        chosen |= {"generator": str(trained_arms["no_dxa"] / "best.pt"), "clouds_dir": str(tmp_path / "clouds")}
    return chosen


def _assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert list(one.columns) == list(other.columns)
    np.testing.assert_allclose(one.to_numpy(), other.to_numpy(), rtol=RTOL)


@pytest.mark.parametrize("bundle", SETTINGS)
def test_two_processes_have_the_loss_curve_of_one_and_write_once(
    bundle: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    single = _finish(bundle, settings | {"output_dir": str(one)}, tmp_path / "log", processes=1)
    double = _finish(bundle, settings | {"output_dir": str(two)}, tmp_path / "log2", processes=2)
    assert len(single) == COMMON["max_epochs"]
    assert single["train/loss"].nunique() == len(single)
    _assert_same(single, double)
    assert sorted(path.name for path in two.iterdir()) == sorted(path.name for path in one.iterdir())
    weights, others = (torch.load(folder / "last.pt", weights_only=True)["state"] for folder in (one, two))
    for name, values in weights.items():
        torch.testing.assert_close(values, others[name], rtol=0.02, atol=2e-3, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("bundle", ["dxa_anthropometry"])
def test_torchrun_trains_and_tracks_one_run(bundle: str, settings: dict[str, Any], tmp_path: Path) -> None:
    files = bundle_files(bundle, "train.json", "preset_small.json", "mlflow.json", "multi_gpu_train.json")
    settings = settings | {"log_model": False}
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "monai.bundle", "run", "--config_file", str(files), *options]
    result = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "run")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name(bundle)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "train/loss")) == COMMON["max_epochs"]

    refused = subprocess.run(
        [*command, "--output_dir", str(tmp_path / "odd"), "--batch_size", "5"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode != 0
    assert "error: batch_size: expected a multiple of the 2 processes, got 5." in refused.stderr


@pytest.mark.parametrize("bundle", ["dxa_anthropometry"])
@pytest.mark.parametrize(("first", "second"), [(2, 1), (1, 2)])
def test_a_training_is_resumed_by_another_number_of_processes(
    bundle: str, first: int, second: int, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings = settings | {"max_epochs": 6, "resume": True, "save_every_s": 0}
    whole = _finish(bundle, settings | {"output_dir": str(tmp_path / "whole")}, tmp_path / "log", processes=1)
    cut = settings | {"output_dir": str(tmp_path / "cut")}
    started = _start(bundle, cut, tmp_path / "log1", processes=first)
    deadline = time.monotonic() + 120
    while not state_files(tmp_path / "cut"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for process in started:
        process.terminate()
    for process in started:
        process.join(60)
        assert process.exitcode == 128 + signal.SIGTERM
    assert not (tmp_path / "cut" / "finished.json").exists()
    _assert_same(whole, _finish(bundle, cut, tmp_path / "log2", processes=second))
