import pytest
import torch
from ignite.engine import Engine

from dxa_monai.handlers.early_stop import EarlyStop


def _early_stop() -> tuple[EarlyStop, Engine, Engine]:
    trainer, evaluator = Engine(lambda engine, batch: None), Engine(lambda engine, batch: None)
    early_stop = EarlyStop(patience=3, score_function=lambda engine: torch.tensor(engine.state.score), trainer=trainer)
    early_stop.attach(evaluator)
    return early_stop, trainer, evaluator


def _validate(evaluator: Engine, score: float) -> None:
    evaluator.state.score = score
    evaluator.run([0])


def test_patience_goes_on_where_it_was() -> None:
    early_stop, trainer, evaluator = _early_stop()
    for score in (0.5, 0.4, 0.3):
        _validate(evaluator, score)
    resumed, resumed_trainer, resumed_evaluator = _early_stop()
    resumed.load_state_dict(early_stop.state_dict())
    assert not resumed_trainer.should_terminate
    _validate(resumed_evaluator, 0.45)  # the third that is not better than 0.5
    assert resumed_trainer.should_terminate
    assert not trainer.should_terminate


def test_a_state_before_the_first_validation() -> None:
    early_stop, _, evaluator = _early_stop()
    early_stop.load_state_dict(_early_stop()[0].state_dict())
    _validate(evaluator, 0.1)
    assert early_stop.state_dict()["best_score"] == pytest.approx(0.1)
