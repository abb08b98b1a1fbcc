"""A server that is out of reach, from the start or on the way: training goes on and one sentence says so."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.handlers import ValidationHandler

from dxa_monai.errors import InputError
from dxa_monai.handlers.best_checkpoint import BestNetworkSaver
from dxa_monai.handlers.csv_log import CsvLog
from dxa_monai.handlers.epoch_metrics import LogEpochMetrics
from dxa_monai.handlers.mlflow_run import MLflowRun
from dxa_monai.tracking.server import (
    ANSWER_SECONDS,
    RETRIES,
    TIMEOUT,
    check_tracking_uri,
    little_patience,
    reason_of,
    without_password,
)
from dxa_monai.tracking.tracked_run import mlflow_run
from tests.handlers.mlflow_server import loopback_server, stop
from tests.handlers.toy import ToyNetwork, toy_evaluator, toy_trainer

REFUSING = "http://127.0.0.1:9"
"""Port 9 (discard) of this machine: nothing listens there."""


class At:
    """Does something at the end of an epoch."""

    def __init__(self, epoch: int, action: Callable[[], None]) -> None:
        self.epoch, self.action = epoch, action

    def log_metrics(self, metrics: object, step: int) -> None:
        if step == self.epoch:
            self.action()


def train(uri: str, folder: Path, on_the_way: At | None = None) -> ToyNetwork:
    """Four epochs, as the bundles train."""
    tracking = MLflowRun(uri, "e", "n", artifacts=[folder / "metrics.csv"], local_log=folder / "metrics.csv")
    logs = [CsvLog(folder / "metrics.csv"), *([on_the_way] if on_the_way else []), tracking]
    network = ToyNetwork()
    saver = BestNetworkSaver(network, folder, "psnr_db")
    evaluator = toy_evaluator(network, [saver, LogEpochMetrics("validation", logs)])
    toy_trainer(network, [tracking, ValidationHandler(1, evaluator)], max_epochs=4).run()
    return network


def sentence(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "\n" not in record.getMessage()
    return record.getMessage()


@pytest.fixture
def untracked(tmp_path: Path) -> dict[str, torch.Tensor]:
    train("", tmp_path / "untracked")
    return torch.load(tmp_path / "untracked" / "best.pt", weights_only=True)["state"]


def assert_trained(folder: Path, untracked: dict[str, torch.Tensor]) -> None:
    assert (folder / "metrics.csv").read_text().count("\n") == 5
    best = torch.load(folder / "best.pt", weights_only=True)["state"]
    assert all(torch.equal(best[name], value) for name, value in untracked.items())


@pytest.mark.parametrize(
    ("mode", "reason"), [("refuse", "connection refused"), ("error", "500"), ("hang", "no answer in time")]
)
def test_out_of_reach_at_the_start(
    mode: str,
    reason: str,
    tmp_path: Path,
    untracked: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(TIMEOUT, "1")
    with loopback_server("", mode) as server:
        train(REFUSING if mode == "refuse" else server.uri, tmp_path / "run")
        # asked once, not again each epoch
        assert len(server.calls) <= 2
    assert_trained(tmp_path / "run", untracked)
    told = sentence(caplog)
    assert reason in told
    assert told.endswith(f"tracking is off from here, the work goes on, and its log is {tmp_path}/run/metrics.csv")


@pytest.mark.parametrize(
    ("fail", "reason"), [("refuse", "connection refused"), ("error", "500"), ("hang", "no answer in time")]
)
def test_lost_on_the_way(
    fail: str,
    reason: str,
    tmp_path: Path,
    untracked: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(TIMEOUT, "1")
    with loopback_server(tmp_path.as_uri()) as server:

        def lose() -> None:
            if fail == "refuse":
                stop(server)
            server.mode = fail

        train(server.uri, tmp_path / "run", At(2, lose))
    assert {step for name, step in server.metrics if name == "validation/psnr_db"} == {1}
    assert_trained(tmp_path / "run", untracked)
    told = sentence(caplog)
    assert reason in told
    assert told.endswith(f"its log is {tmp_path}/run/metrics.csv")


def test_back_before_the_end_it_gets_what_it_missed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with loopback_server((tmp_path / "artifacts").as_uri()) as server:
        with mlflow_run(server.uri, "e", "n") as run:
            for step in range(1, 5):
                if step == 2:
                    server.mode = "error"
                run.log_metrics({"a": float(step)}, step)
            server.mode = "up"
        assert {step: value for (_, step), value in server.metrics.items()} == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}
        assert server.status == "FINISHED"
    assert "500" in sentence(caplog)


def test_a_command_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "table.csv").touch()
    with mlflow_run(REFUSING, "e", "n", local_log=tmp_path) as run:
        run.log_metrics({"a": 1.0})
        run.log_artifact(tmp_path / "table.csv")
    assert sentence(caplog).endswith(f"its log is {tmp_path}")


def test_files_that_cannot_be_sent_do_not_stop_the_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "table.csv").touch()
    (tmp_path / "a_file").touch()
    with loopback_server(f"file://{tmp_path}/a_file/below") as server:
        with mlflow_run(server.uri, "e", "n") as run:
            run.log_artifact(tmp_path / "table.csv")
            run.log_metrics({"a": 1.0}, 1)
        assert server.metrics == {("a", 1): 1.0}
        assert server.status == "FINISHED"
    assert "table.csv" in sentence(caplog)


@pytest.mark.parametrize(
    "uri",
    [
        "mlruns",
        "/tmp/mlruns",
        "file:///tmp/mlruns",
        "ftp://host/mlflow",
        "sqlite://mlflow.db",
        "sqlite:///",
        "sqlite:///tmp/",
        "http://",
        "http:///mlflow",
        "http://host:port",
        "http://host:99999",
        "https//host",
        "http://a host",
    ],
)
def test_an_address_that_cannot_be_right_is_refused_before_training(uri: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tracking_uri: expected sqlite:///path/mlflow\.db or .*, got") as caught:
        MLflowRun(uri, "e", "n")
    assert "\n" not in str(caught.value)
    MLflowRun(uri, "e", "n", enabled=False)


@pytest.mark.parametrize(
    "uri", ["", "http://127.0.0.1:5000", "https://user:word@host/mlflow", "postgresql+psycopg2://u:p@host/db"]
)
def test_addresses_that_can_be_right(uri: str) -> None:
    check_tracking_uri(uri)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        check_tracking_uri(f"sqlite:///{tmp_path}")


def test_passwords_are_not_shown() -> None:
    assert without_password("https://anna:s3cret@host/x") == "https://anna:***@host/x"
    assert without_password("http://host:5000/x@y") == "http://host:5000/x@y"
    with pytest.raises(InputError) as caught:
        check_tracking_uri("ftp://anna:s3cret@host/x")
    assert "s3cret" not in str(caught.value)


def test_patience_is_little_and_the_users_own_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RETRIES, raising=False)
    monkeypatch.setenv(TIMEOUT, "33")
    with little_patience():
        assert (os.environ[RETRIES], os.environ[TIMEOUT]) == ("0", "33")
    assert RETRIES not in os.environ
    assert os.environ[TIMEOUT] == "33"
    assert ANSWER_SECONDS <= 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Max retries exceeded (Caused by NameResolutionError(\"Failed to resolve 'x.invalid'\"))", "its name"),
        ("Read timed out. (read timeout=5)", "no answer in time"),
        ("request failed with error code 503 != 200", "503"),
        ("first line\nsecond line", "first line"),
        ("", "ValueError"),
    ],
)
def test_reasons_are_a_few_words(text: str, words: str) -> None:
    assert words in reason_of(ValueError(text))
    assert "\n" not in reason_of(ValueError(text))
