import socket
from pathlib import Path

import pandas as pd

from tests.bundles.processes import training_process
from tests.bundles.tiny import VAE, bundle_files


def test_a_training_goes_on_without_its_server_and_says_where_its_log_lies(bar_cohort: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:  # a port at which nobody answers
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
        settings = VAE | {
            "arm": "no_dxa",
            "log_model": False,
            "bundle_root": str(tmp_path),
            "manifest": str(bar_cohort),
        }
        settings |= {"output_dir": str(tmp_path / "run"), "tracking_uri": uri}
        files = bundle_files("dxa_vae", "train.json", "preset_small.json", "mlflow.json")
        process = training_process(files, settings, tmp_path / "log")
        process.start()
        process.join(200)
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 0, log[-2000:]
    assert f"MLflow at {uri}" in log
    assert f"tracking is off from here, the work goes on, and its log is {tmp_path}/run/metrics.csv" in log
    assert len(pd.read_csv(tmp_path / "run" / "metrics.csv")) == VAE["max_epochs"]
    assert (tmp_path / "run" / "finished.json").exists()
