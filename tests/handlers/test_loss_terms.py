from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from dxa_monai.handlers.loss_terms import LossTerms
from tests.handlers.toy import ToyNetwork, toy_data, toy_trainer


class TwoTerms(nn.Module):
    """Mean absolute and squared error; the second term is off in the first epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[int] = []
        self.terms: dict[str, torch.Tensor] = {}

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.terms = {"l1": (prediction - target).abs().mean()}
        if self.epochs[-1] > 1:
            self.terms["l2"] = (prediction - target).square().mean()
        return sum(self.terms.values())


class Recorder:
    """What a handler of EPOCH_COMPLETED finds."""

    def __init__(self) -> None:
        self.metrics: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: self.metrics.append(dict(engine.state.metrics)))


def frozen_network() -> ToyNetwork:
    """A network that does not learn, so that the means over an epoch are known: errors of scan k are 0.1 (k + 1)."""
    network = ToyNetwork()
    network.offset.data.fill_(0.0)
    return network


@pytest.mark.parametrize("terms_first", [True, False])
def test_means_over_the_scans_of_the_epoch_in_any_order_of_handlers(terms_first: bool) -> None:
    loss, recorder = TwoTerms(), Recorder()
    handlers = [LossTerms(loss), recorder]
    trainer = toy_trainer(frozen_network(), handlers if terms_first else handlers[::-1], loss=loss)
    for parameter_group in trainer.optimizer.param_groups:
        parameter_group["lr"] = 0.0
    rows = toy_data()
    for index, row in enumerate(rows):
        row["label"] = row["image"] + 0.1 * (index + 1)
    trainer.data_loader.dataset.data = rows
    trainer.run()

    errors = torch.arange(1, 11) * 0.1
    first, second = recorder.metrics
    assert loss.epochs == [1, 2]
    assert first == pytest.approx({"loss": errors.mean().item(), "loss_l1": errors.mean().item()}, rel=1e-5)
    assert second["loss_l2"] == pytest.approx(errors.square().mean().item(), rel=1e-5)
    assert second["loss"] == pytest.approx((errors + errors.square()).mean().item(), rel=1e-5)


def test_a_term_that_is_dropped_leaves_the_metrics() -> None:
    class Fading(TwoTerms):
        def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            value = (prediction - target).abs().mean()
            self.terms = {"early": value} if self.epochs[-1] == 1 else {"late": value}
            return value

    loss, recorder = Fading(), Recorder()
    toy_trainer(ToyNetwork(), [LossTerms(loss), recorder], loss=loss).run()
    assert [set(metrics) for metrics in recorder.metrics] == [{"loss", "loss_early"}, {"loss", "loss_late"}]


def test_a_loss_without_terms_is_averaged() -> None:
    recorder, loss = Recorder(), nn.MSELoss()
    toy_trainer(ToyNetwork(), [LossTerms(loss), recorder], loss=loss).run()
    assert recorder.metrics[1]["loss"] < recorder.metrics[0]["loss"]
