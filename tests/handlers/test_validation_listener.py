from __future__ import annotations

from typing import Any

import torch
from monai.handlers import ValidationHandler

from dxa_monai.handlers.validation_listener import ValidationListener
from tests.handlers.toy import ToyNetwork, toy_evaluator, toy_trainer


class Tags:
    """A log that takes tags."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def set_tag(self, name: str, value: str) -> None:
        self.tags[name] = value


def _train(listener: Any, logs: list[Any], interval: int = 1) -> tuple[Any, Any]:
    torch.manual_seed(0)
    network = ToyNetwork()
    evaluator = toy_evaluator(network, [])
    handlers = [
        ValidationHandler(interval=interval, validator=evaluator),
        ValidationListener(evaluator, "psnr_db", listener, logs),
    ]
    trainer = toy_trainer(network, handlers, max_epochs=4)
    trainer.run()
    return trainer, evaluator


def test_the_listener_hears_every_validation_and_no_other_epoch() -> None:
    for interval, epochs in ((1, [1, 2, 3, 4]), (2, [2, 4])):
        heard: list[tuple[int, float]] = []
        log = Tags()
        _, evaluator = _train(lambda epoch, value, heard=heard: heard.append((epoch, value)), [log], interval)
        assert [epoch for epoch, _ in heard] == epochs
        assert heard[-1][1] == float(evaluator.state.metrics["psnr_db"])
        assert log.tags == {}


def test_training_ends_after_the_epoch_in_which_the_listener_says_so() -> None:
    log = Tags()
    trainer, evaluator = _train(lambda epoch, value: epoch == 2, [object(), log])
    assert (trainer.state.epoch, evaluator.state.epoch) == (2, 2)
    assert trainer.state.iteration == 2 * trainer.state.epoch_length
    assert log.tags == {"pruned": "after epoch 2"}


def test_nobody_has_to_listen() -> None:
    trainer, _ = _train(None, [])
    assert trainer.state.epoch == 4
