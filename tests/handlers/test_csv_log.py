from pathlib import Path

import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from monai.handlers import ValidationHandler
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.handlers.csv_log import CsvLog
from dxa_monai.handlers.epoch_metrics import LogEpochMetrics
from dxa_monai.handlers.loss_terms import LossTerms
from tests.handlers.toy import ToyNetwork, toy_evaluator, toy_trainer


def test_one_row_an_epoch_with_training_and_validation(tmp_path: Path) -> None:
    log, network, loss = CsvLog(tmp_path / "run" / "metrics.csv"), ToyNetwork(), nn.MSELoss()
    evaluator = toy_evaluator(network, [LogEpochMetrics("validation", [log])])
    handlers = [LogEpochMetrics("train", [log]), LossTerms(loss), ValidationHandler(2, evaluator)]
    trainer = toy_trainer(network, handlers, max_epochs=4, loss=loss)
    trainer.run()
    table = pd.read_csv(tmp_path / "run" / "metrics.csv", index_col="epoch")
    assert list(table.index) == [1, 2, 3, 4]
    assert list(table.columns) == ["train/loss", "validation/psnr_db"]
    assert table["train/loss"].is_monotonic_decreasing
    assert table["validation/psnr_db"].notna().tolist() == [False, True, False, True]
    assert table["validation/psnr_db"][4] == pytest.approx(evaluator.state.metrics["psnr_db"], rel=1e-6)


def test_every_step_leaves_a_whole_file(tmp_path: Path) -> None:
    log = CsvLog(tmp_path / "metrics.csv")
    for epoch in (1, 2):
        log.log_metrics({"a": epoch, "b": float("nan")}, epoch)
        assert pd.read_csv(log.path).epoch.tolist() == list(range(1, epoch + 1))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_resumed_run_keeps_earlier_epochs_and_a_new_run_does_not(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = CsvLog(path)
    for epoch in (1, 2, 3):
        log.log_metrics({"a": 10.0 * epoch}, epoch)
    CsvLog(path).log_metrics({"a": 21.0, "b": 1.0}, 2)
    assert pd.read_csv(path).a.tolist() == [10.0, 21.0]
    CsvLog(path).log_metrics({"a": 5.0}, 1)
    assert pd.read_csv(path).a.tolist() == [5.0]


def test_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder that can be written to"):
        CsvLog(tmp_path / "file" / "metrics.csv").log_metrics({"a": 1.0}, 1)


def test_only_single_numbers_are_handed_on(tmp_path: Path) -> None:
    engine = Engine(lambda engine, batch: None)
    log = CsvLog(tmp_path / "metrics.csv")
    LogEpochMetrics("train", [log]).attach(engine)
    engine.state.metrics = {"a": torch.tensor([2.0]), "b": 3, "c": torch.zeros(2), "d": "text"}
    engine.run([0], max_epochs=1)
    assert pd.read_csv(log.path).to_dict("list") == {"epoch": [1], "train/a": [2.0], "train/b": [3.0]}
