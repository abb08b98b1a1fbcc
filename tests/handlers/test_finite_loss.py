from pathlib import Path

import numpy as np
import pytest
import torch
from monai.handlers import StatsHandler
from torch import nn

from dxa_monai.errors import TrainingError
from dxa_monai.handlers.finite_loss import DUMP_NAME, StopOnNonFinite
from tests.handlers.toy import ToyNetwork, toy_data, toy_trainer


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
        toy_trainer(network, [StopOnNonFinite()], loss=loss).run()
    assert torch.equal(network.offset, torch.zeros_like(network.offset))


def test_batches_without_names() -> None:
    trainer = toy_trainer(ToyNetwork(), [StopOnNonFinite(scan_id_key="nothing")], bad_scan=0)
    with pytest.raises(TrainingError, match="no scan ids"):
        trainer.run()


class _Terms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, torch.Tensor] = {}

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        self.terms = {"pixel": nn.functional.mse_loss(prediction, target), "half": torch.tensor(0.5).bfloat16()}
        return self.terms["pixel"]


def test_batch_is_kept_as_plain_arrays(tmp_path: Path) -> None:
    loss = _Terms()
    handler = StopOnNonFinite(tmp_path / "run", loss)
    with pytest.raises(TrainingError, match=r"the batch is kept in .*run/non_finite_batch\.npz\.$"):
        toy_trainer(ToyNetwork(), [handler], loss=loss, bad_scan=5).run()
    with np.load(tmp_path / "run" / DUMP_NAME, allow_pickle=False) as kept:
        arrays = dict(kept)
    assert arrays["scan_id"].tolist() == ["scan4", "scan5", "scan6", "scan7"]
    rows = toy_data(bad_scan=5)[4:8]
    assert np.array_equal(arrays["image"], np.stack([row["image"].numpy() for row in rows]))
    assert np.array_equal(arrays["label"], np.stack([row["label"].numpy() for row in rows]), equal_nan=True)
    assert np.isnan(arrays["loss"])
    assert np.isnan(arrays["loss_pixel"])
    assert arrays["loss_half"] == np.float32(0.5)
    assert (int(arrays["epoch"]), int(arrays["iteration"]), str(arrays["what"])) == (1, 2, "loss")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [DUMP_NAME]


def test_a_batch_that_cannot_be_kept_does_not_hide_the_loss(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrainingError, match=r"expected a finite loss, got nan.*could not be kept"):
        toy_trainer(ToyNetwork(), [StopOnNonFinite(tmp_path / "run")], bad_scan=5).run()


class _Scaler:
    """As ``torch.amp.GradScaler``, which works on a GPU only."""

    def __init__(self, scale: float) -> None:
        self.value = scale

    def is_enabled(self) -> bool:
        return True

    def get_scale(self) -> float:
        return self.value


@pytest.mark.parametrize(("scale", "stops"), [(65536.0, False), (1.0, False), (0.5, True)])
def test_a_gradient_scaler_judges_gradients_itself_until_its_scale_is_gone(scale: float, stops: bool) -> None:
    network = ToyNetwork()
    trainer = toy_trainer(network, [])
    trainer.scaler = _Scaler(scale)
    trainer.state.batch, trainer.state.output = {"scan_id": ["A"]}, {"loss": torch.tensor(1.0)}
    network.offset.grad = torch.full_like(network.offset, float("inf"))
    if stops:
        with pytest.raises(TrainingError, match="gradient, got inf from scans A"):
            StopOnNonFinite().check_gradient(trainer)
    else:
        StopOnNonFinite().check_gradient(trainer)
    with pytest.raises(TrainingError, match="gradient"):
        StopOnNonFinite(check_gradients=True).check_gradient(trainer)
