import pytest
import torch
from monai.handlers import StatsHandler
from torch import nn

from dxa_monai.errors import TrainingError
from dxa_monai.handlers.finite_loss import StopOnNonFinite
from tests.handlers.toy import ToyNetwork, toy_trainer


def test_names_epoch_iteration_and_scans() -> None:
    trainer = toy_trainer(ToyNetwork(), [StopOnNonFinite()], bad_scan=5)
    with pytest.raises(
        TrainingError, match=r"epoch 1, iteration 2: .* finite loss, got nan from scans scan4, .*scan7\."
    ):
        trainer.run()


@pytest.mark.parametrize("handlers", [[StopOnNonFinite()], [StatsHandler(), StopOnNonFinite()]])
def test_weights_are_those_before_the_bad_batch(handlers: list[object]) -> None:
    network, reference = ToyNetwork(), ToyNetwork()
    with pytest.raises(TrainingError):
        toy_trainer(network, handlers, bad_scan=9).run()
    with pytest.raises(TrainingError):
        toy_trainer(reference, [StopOnNonFinite()], bad_scan=9, max_epochs=1).run()
    assert torch.isfinite(network.offset).all()
    assert network.offset.abs().max() > 0
    assert torch.equal(network.offset, reference.offset)


def test_infinite_loss_stops_too() -> None:
    trainer = toy_trainer(ToyNetwork(), [StopOnNonFinite()], loss=lambda prediction, _: prediction.sum() / 0.0)
    with pytest.raises(TrainingError, match="got inf"):
        trainer.run()


def test_finite_loss_goes_on() -> None:
    trainer = toy_trainer(ToyNetwork(), [StopOnNonFinite(check_gradients=True)])
    trainer.run()
    assert trainer.state.epoch == 2


def test_bad_gradient_of_a_good_loss() -> None:
    def loss(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        # sqrt has an infinite slope at zero
        return nn.functional.mse_loss(prediction, target) + torch.sqrt((prediction - prediction.detach()).abs()).sum()

    network = ToyNetwork()
    with pytest.raises(TrainingError, match="finite gradient"):
        toy_trainer(network, [StopOnNonFinite(check_gradients=True)], loss=loss).run()
    assert torch.equal(network.offset, torch.zeros_like(network.offset))


def test_batches_without_names() -> None:
    trainer = toy_trainer(ToyNetwork(), [StopOnNonFinite(scan_id_key="nothing")], bad_scan=0)
    with pytest.raises(TrainingError, match="no scan ids"):
        trainer.run()
