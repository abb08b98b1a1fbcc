from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from monai.bundle import run

from dxa_monai.errors import describe_user_error
from dxa_monai.losses.landmarks import LandmarkLoss
from dxa_monai.networks.checkpoint import load_landmark_network
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import write_manifest
from tests.analysis.cohort import cohort_manifest, cohort_rows

BUNDLE = Path(__file__).parents[2] / "bundles" / "dxa_body_composition"


def _config(*names: str) -> list[str]:
    return [str(BUNDLE / "configs" / name) for name in names]


def test_phantom_in_model_out_and_the_model_serves_inference(tmp_path: Path) -> None:
    phantom = StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0))
    save_scan(RawScan(unit_to_counts(np.moveaxis(phantom.numpy(), 0, -1))), tmp_path / "phantom.npy")
    model = tmp_path / "model.json"
    run(config_file=_config("calibrate.json"), phantom_scan=str(tmp_path / "phantom.npy"), output=str(model))
    assert read_scanner_model(model).source == "phantom"
    scan = cohort_rows()[0]
    run(
        config_file=_config("inference.json"),
        input=scan["scan"],
        output_dir=str(tmp_path / "out"),
        scanner_model=str(model),
        pictures=False,
    )
    (row,) = csv.DictReader((tmp_path / "out" / "body_composition.csv").open())
    assert (row["scan_id"], row["scanner"]) == (scan["scan_id"], "phantom")
    assert float(row["total_mass_g"]) == pytest.approx(1000.0 * scan["mass_kg"], rel=0.01)
    assert not list((tmp_path / "out").glob("*.png"))


def test_the_command_line_tells_bad_scans_and_exits_with_1(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    good = Path(cohort_rows()[0]["scan"])
    (scans / "good.npy").write_bytes(good.read_bytes())
    (scans / "bad.npy").write_bytes(good.read_bytes()[:1000])
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", _config("inference.json")[0]]
    arguments = ["--input", str(scans), "--output_dir", str(tmp_path / "out")]
    done = subprocess.run(command + arguments, capture_output=True, text=True, cwd=BUNDLE.parents[1])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "bad.npy: expected a whole .npy file" in done.stderr
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {
        "body_composition.csv",
        "good.json",
        "good.png",
        "landmarks",
        "scanner_model.json",
    }


def test_a_quarantined_scan_costs_only_itself(tmp_path: Path) -> None:
    good = Path(cohort_rows()[0]["scan"]).read_bytes()
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "good.npy").write_bytes(good)
    (tmp_path / "scans" / "bad.npy").write_bytes(good[:1000])
    run(
        config_file=_config("inference.json"),
        input=str(tmp_path / "scans"),
        output_dir=str(tmp_path / "out"),
        pictures=False,
        bad_scans="quarantine",
        max_bad_share=0.5,
    )
    (row,) = pd.read_csv(tmp_path / "out" / "quarantine.csv").to_dict("records")
    assert (row["scan_id"], row["part"]) == ("bad", "inference")
    assert "expected a whole .npy file" in row["reason"]
    assert (tmp_path / "out" / "good.json").is_file()


def test_evaluation_is_tracked(tmp_path: Path) -> None:
    run(
        config_file=_config("evaluate.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        dataset_dir=str(cohort_manifest().parent),
        output_dir=str(tmp_path / "out"),
        scanners=1,
        calibrations=["phantom"],
        workers=0,
        resamples=20,
    )
    table = pd.read_csv(tmp_path / "out" / "agreement.csv").set_index(["group", "measure"])
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_body_composition").experiment_id])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["scans"] == "4"
    expected = table.loc[("all", "total_fat_g"), "rmse"]
    assert tracked.data.metrics["phantom/total_fat_g_rmse"] == pytest.approx(expected, rel=1e-4)


def test_effects_of_the_scanner_are_evaluated_and_tracked(tmp_path: Path) -> None:
    run(
        config_file=_config("scanner_effects.json", "mlflow_evaluation.json"),
        bundle_root=str(tmp_path),
        dataset_dir=str(cohort_manifest().parent),
        output_dir=str(tmp_path / "out"),
        people=2,
        scanners=1,
        calibrations=["phantom"],
        effects=["dead_column"],
        workers=0,
    )
    (row,) = pd.read_csv(tmp_path / "out" / "scanner_effects.csv").to_dict("records")
    assert (row["effect"], row["calibration"], row["scans"], row["told_share"]) == ("dead_column", "phantom", 2, 1.0)
    assert (tmp_path / "out" / "scanner_effects.png").is_file()
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/runs/mlflow.db")
    (tracked,) = client.search_runs([client.get_experiment_by_name("dxa_body_composition").experiment_id])
    assert tracked.data.params["effects"] == "['dead_column']"
    assert sum(tracked.data.metrics.values()) == 1


def test_an_unknown_effect_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps the error, the sentence is what counts
        run(
            config_file=_config("scanner_effects.json"),
            dataset_dir=str(cohort_manifest().parent),
            output_dir=str(tmp_path / "out"),
            effects=["gravity"],
        )
    sentence = describe_user_error(caught.value)
    assert sentence is not None
    assert "effects: expected some of none, table, " in sentence


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - MONAI wraps the error, the sentence is what counts
        run(
            config_file=_config("evaluate.json"),
            dataset_dir=str(tmp_path / "nowhere"),
            output_dir=str(tmp_path / "out"),
        )
    sentence = describe_user_error(caught.value)
    assert sentence is not None
    assert "manifest.csv: expected a CSV file, got no such file" in sentence


def test_metadata_belongs_to_the_bundle() -> None:
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    assert metadata["name"] == BUNDLE.name
    assert metadata["version"] in metadata["changelog"]
    assert (BUNDLE / "LICENSE").read_text() == (BUNDLE.parents[1] / "LICENSE").read_text()


def _seven_people(folder: Path) -> Path:
    """As few as can be split: one scan under seven names."""
    rows = []
    for number in range(7):
        row = cohort_rows()[0]
        own = {name: shutil.copy(row[name], folder / f"P{number}_{Path(row[name]).name}") for name in ("scan", "truth")}
        rows.append(row | own | {"subject_id": f"P{number}", "scan_id": f"P{number}_V1"})
    write_manifest(rows, folder / "seven.csv")
    return folder / "seven.csv"


def _train_landmarks(folder: Path, **override: Any) -> None:
    run(
        config_file=_config("train_landmarks.json"),
        manifest=str(_seven_people(folder.parent)),
        output_dir=str(folder),
        batch_size=2,
        steps_per_epoch=2,
        **{"network_def#features": [2] * 6, "device": "cpu"} | override,
    )


def test_a_network_of_landmarks_is_trained_evaluated_and_used_by_a_command_each(tmp_path: Path) -> None:
    _train_landmarks(tmp_path / "run", max_epochs=2)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["arm"], record["initialisation"]) == ("landmarks", "random")
    log = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert np.isfinite(log["train/loss"]).all()
    network = str(tmp_path / "run" / "last.pt")
    run(
        config_file=_config("evaluate_landmarks.json"),
        manifest=str(_seven_people(tmp_path)),
        landmark_network=network,
        output_dir=str(tmp_path / "table"),
        scanners=1,
        copies=0,
        resamples=10,
    )
    table = pd.read_csv(tmp_path / "table" / "landmarks.csv").set_index(["group", "finder"])
    assert table.loc[("adults", "rules"), "found_percent"] == 100.0
    assert table.loc[("adults", "network"), "found_percent"] == 0.0
    scan = cohort_rows()[0]["scan"]
    arguments = {"input": scan, "pictures": False, "landmark_network": network, "calibration": "nominal"}
    run(config_file=_config("inference.json"), output_dir=str(tmp_path / "rules"), **arguments)
    with pytest.raises(RuntimeError) as caught:
        run(
            config_file=_config("inference.json"),
            output_dir=str(tmp_path / "network"),
            landmark_finder="network",
            **arguments,
        )
    assert "the network does not see all landmarks in the field" in str(describe_user_error(caught.value))


def test_a_training_of_landmarks_goes_on_as_if_it_had_not_been_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"max_epochs": 2, "save_every_s": 0}
    _train_landmarks(tmp_path / "whole", **settings)
    loss, steps = LandmarkLoss.forward, []

    def interrupted(*arguments: Any) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LandmarkLoss, "forward", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            _train_landmarks(tmp_path / "parts", **settings)
    _train_landmarks(tmp_path / "parts", resume=True, **settings)
    whole, parts = (load_landmark_network(tmp_path / name / "last.pt").state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
