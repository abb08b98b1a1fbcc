import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.handlers.training_state import TrainingState
from dxa_monai.loading.loaders import TrainingLoader
from dxa_monai.runs.state_files import newest_state, state_files
from tests.handlers.toy import BATCH, ToyNetwork, toy_data, toy_evaluator


class FrozenFeatures(nn.Module):
    """A loss with frozen weights, as those of VGG, and a buffer that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(3, 3).requires_grad_(False)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (prediction - target).square().mean()


class Training:
    """A toy training, new or resumed, that ends after ``epochs``, or with an error after ``dies_after`` iterations."""

    def __init__(self, folder: Path, epochs: int = 3, dies_after: int = 0, **changes: Any) -> None:
        self.network, self.loss = ToyNetwork(), FrozenFeatures()
        self.evaluator: SupervisedEvaluator = toy_evaluator(self.network, [])
        loader = TrainingLoader(Dataset(toy_data()), batch_size=BATCH, seed=0)
        optimizer = torch.optim.Adam(self.network.parameters(), lr=0.01)
        self.state = TrainingState(
            folder,
            loader,
            self.evaluator,
            changes.pop("parts", {"network": self.network, "optimizer": optimizer}),
            self.loss,
            **({"resume": True, "interval_s": 0.0} | changes),
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=loader,
            network=self.network,
            optimizer=optimizer,
            loss_function=self.loss,
            train_handlers=[self.state],
        )
        self.dies_after = dies_after

    def run(self) -> None:
        from ignite.engine import Events

        @self.trainer.on(Events.ITERATION_STARTED)
        def die(engine: Any) -> None:
            if engine.state.iteration == self.dies_after:
                raise ZeroDivisionError

        self.trainer.run()


@pytest.mark.parametrize("dies_after", range(2, 7))
def test_resumed_after_any_iteration_the_weights_are_those_of_one_training(tmp_path: Path, dies_after: int) -> None:
    whole = Training(tmp_path / "whole")
    whole.run()
    cut = Training(tmp_path / "cut", dies_after=dies_after)
    with pytest.raises(ZeroDivisionError):
        cut.run()
    resumed = Training(tmp_path / "cut")
    assert resumed.state.found
    resumed.run()
    assert torch.equal(resumed.network.offset, whole.network.offset)
    assert resumed.loss.calls == whole.loss.calls == 6
    assert not torch.equal(resumed.network.offset, cut.network.offset)


def _stopped_in_its_second_validation(folder: Path, **changes: Any) -> Training:
    from ignite.engine import Events

    training = Training(folder, **changes)
    training.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: training.evaluator.run())

    def stop(engine: Any) -> None:
        if training.trainer.state.epoch == 2 and engine.state.iteration == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    training.evaluator.add_event_handler(Events.ITERATION_COMPLETED, stop)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            training.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 128 + signal.SIGTERM
    return training


def test_a_short_validation_is_finished_and_nothing_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    training = _stopped_in_its_second_validation(tmp_path, interval_s=3600.0)
    assert training.evaluator.state.iteration == training.evaluator.state.epoch_length > 1
    state = newest_state(tmp_path)
    assert state is not None
    assert state["trainer"]["iteration"] == training.trainer.state.iteration == 4
    assert "stopped after iteration 4; to go on: --resume True" in caplog.text


@pytest.mark.parametrize(("interval_s", "kept"), [(3600.0, "nothing is saved yet"), (0.0, "saved is iteration 3")])
def test_a_long_validation_is_broken_off_and_what_is_kept_is_told(
    interval_s: float, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dxa_monai.handlers.training_state.VALIDATION_S", 0.0)
    training = _stopped_in_its_second_validation(tmp_path, interval_s=interval_s)
    assert training.evaluator.state.iteration == 1
    assert f"stopped during a validation; {kept}; to go on: --resume True" in caplog.text
    assert bool(state_files(tmp_path)) == (interval_s == 0.0)


def test_a_state_is_saved_only_when_it_is_time(tmp_path: Path) -> None:
    training = Training(tmp_path, interval_s=3600.0)
    training.run()
    assert not state_files(tmp_path)
    assert not Training(tmp_path).state.found


def test_a_training_that_is_run_again_for_more_epochs_saves_each_state_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, saved = Training(tmp_path, epochs=1), []
    monkeypatch.setattr(training.state, "save", lambda engine: saved.append(engine.state.iteration))
    for epochs in (1, 2, 3):
        training.trainer.state.max_epochs = epochs
        training.run()
    assert saved == [1, 2, 3, 4, 5, 6]


def test_frozen_weights_are_not_saved(tmp_path: Path) -> None:
    Training(tmp_path).run()
    state = newest_state(tmp_path)
    assert state is not None
    assert set(state["loss"]) == {"calls"}


def test_a_training_that_was_over_is_not_gone_on_with(tmp_path: Path) -> None:
    first = Training(tmp_path, epochs=9)
    first.trainer.state.max_epochs = 9

    from ignite.engine import Events

    first.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    # registered before the state's own, as a validation's early stop is
    first.run()
    resumed = Training(tmp_path, epochs=9)
    resumed.run()
    assert resumed.trainer.state.iteration == first.trainer.state.iteration == 4
    assert torch.equal(resumed.network.offset, first.network.offset)


def test_the_gradient_scaler_and_the_best_metric_go_on(tmp_path: Path) -> None:
    first = Training(tmp_path)
    first.trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    first.evaluator.state.best_metric, first.evaluator.state.best_metric_epoch = torch.tensor(31.5), 2
    first.trainer.state.iteration = 2
    first.state.save(first.trainer)

    resumed = Training(tmp_path)
    resumed.trainer.scaler = torch.amp.GradScaler("cpu")
    resumed.state.start(resumed.trainer)
    assert resumed.trainer.scaler.get_scale() == 2.0**10
    assert (resumed.evaluator.state.best_metric, resumed.evaluator.state.best_metric_epoch) == (31.5, 2)


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    Training(tmp_path).run()
    other = Training(tmp_path, parts={"network": nn.Linear(2, 2)})
    with pytest.raises(InputError, match="expected the state of a training of 2 iterations an epoch with network, got"):
        other.state.start(other.trainer)
    other = Training(tmp_path)
    other.state.parts["network"] = nn.Linear(2, 2)
    with pytest.raises(InputError, match="expected the state of this training, got 'Error"):
        other.state.start(other.trainer)
