import pytest
from ignite.engine import Engine

from dxa_monai.handlers.progress import TrainingProgress


def _trainer(fail: bool = False) -> Engine:
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics["psnr_db"] = 31.25

    def step(engine: Engine, batch: int) -> None:
        engine.state.metrics["loss"] = 0.5
        if fail and engine.state.iteration == 3:
            raise ZeroDivisionError

    trainer = Engine(step)
    TrainingProgress("no_dxa", evaluator, "psnr_db").attach(trainer)
    return trainer


def test_bar_covers_all_epochs_and_shows_loss_and_metric(capsys: pytest.CaptureFixture[str]) -> None:
    _trainer().run(range(4), max_epochs=2)
    shown = capsys.readouterr().err
    assert "no_dxa: 100%" in shown
    assert "8/8" in shown
    assert "epoch=2/2, loss=0.5, psnr_db=31.25" in shown


def test_exception_goes_on() -> None:
    with pytest.raises(ZeroDivisionError):
        _trainer(fail=True).run(range(4), max_epochs=2)
