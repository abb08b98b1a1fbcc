from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from dxa_monai.errors import InputError
from dxa_monai.handlers.best_checkpoint import BestNetworkSaver
from tests.handlers.toy import ToyNetwork, toy_data, toy_evaluator, toy_trainer


def validate(saver: BestNetworkSaver, values: list[float]) -> None:
    """Validations of epochs 1, 2, ... whose metric takes the given values; the network's weight is the epoch."""
    for epoch, value in enumerate(values, start=1):
        engine = Engine(lambda engine, batch: None)
        saver.attach(engine)
        saver.network.offset.data.fill_(float(epoch))

        @engine.on(Events.EPOCH_COMPLETED)
        def put(engine: Engine, value: float = value, epoch: int = epoch) -> None:
            engine.state.metrics["quality"] = value
            engine.state.epoch = epoch

        engine.run([0], max_epochs=1)


def saved(path: Path) -> tuple[float, dict[str, Any]]:
    network, content = ToyNetwork(), torch.load(path, weights_only=True)
    network.load_state_dict(content["state"])
    return network.offset.flatten()[0].item(), content["extra"]


@pytest.mark.parametrize(
    ("greater_is_better", "values", "best"),
    [
        (True, [1.0, 3.0, 2.0], 2),
        (False, [3.0, 1.0, 2.0], 2),
        (True, [2.0, 2.0], 1),
        (True, [1.0, float("nan"), 0.5], 1),
        (True, [float("nan"), 0.5], 2),
        (False, [1.0, float("-inf")], 1),
    ],
)
def test_best_and_last(tmp_path: Path, greater_is_better: bool, values: list[float], best: int) -> None:
    saver = BestNetworkSaver(ToyNetwork(), tmp_path / "models", "quality", greater_is_better)
    validate(saver, values)
    weight, extra = saved(tmp_path / "models/best.pt")
    assert weight == best
    assert extra == {"epoch": best, "metrics": {"quality": values[best - 1]}}
    assert saved(tmp_path / "models/last.pt")[0] == len(values)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["best.pt", "last.pt"]


def test_nan_alone_is_never_best(tmp_path: Path) -> None:
    validate(BestNetworkSaver(ToyNetwork(), tmp_path, "quality"), [float("nan")])
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_resumed_saver_remembers_the_best(tmp_path: Path) -> None:
    first = BestNetworkSaver(ToyNetwork(), tmp_path, "quality")
    validate(first, [1.0, 5.0])
    second = BestNetworkSaver(ToyNetwork(), tmp_path, "quality")
    second.load_state_dict(first.state_dict())
    validate(second, [4.0])
    assert saved(tmp_path / "best.pt")[0] == 2


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    validate(BestNetworkSaver(ToyNetwork(), tmp_path, "quality"), [1.0])
    before = (tmp_path / "best.pt").read_bytes()
    network = ToyNetwork()
    network.architecture = lambda: {"not plain": object()}  # type: ignore[method-assign]

    def save(network: ToyNetwork, path: Path, **extra: Any) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        validate(BestNetworkSaver(network, tmp_path, "quality", save=save), [2.0])
    assert (tmp_path / "best.pt").read_bytes() == before


def test_unknown_metric_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metric_name: expected one of the evaluator's \(quality\), got 'psnr'"):
        validate(BestNetworkSaver(ToyNetwork(), tmp_path, "psnr"), [1.0])


def test_in_a_training_run_the_epoch_is_the_trainers(tmp_path: Path) -> None:
    network = ToyNetwork()
    evaluator = toy_evaluator(network, [BestNetworkSaver(network, tmp_path, "psnr_db")])
    toy_trainer(network, [ValidationHandler(1, evaluator)], max_epochs=3).run()
    weight, extra = saved(tmp_path / "last.pt")
    assert extra["epoch"] == 3
    assert extra["metrics"]["psnr_db"] == pytest.approx(evaluator.state.metrics["psnr_db"])
    assert weight == pytest.approx(network.offset[0, 0, 0].item())
    assert torch.isfinite(network.offset).all()


class _BlindMetric:
    """A metric that does not see what a network fails on."""

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: engine.state.metrics.update(blind=99.0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_that_predicts_nan_is_never_best_and_its_scans_are_named(
    tmp_path: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    class FailsOnOne(ToyNetwork):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            broken = torch.isclose(x, toy_data()[6]["image"]).flatten(1).all(dim=1)
            return torch.where(broken[:, None, None, None], torch.tensor(value), super().forward(x))

    network = FailsOnOne()
    evaluator = toy_evaluator(network, [_BlindMetric(), BestNetworkSaver(network, tmp_path, "blind")])
    evaluator.run()
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    (warning,) = [record.getMessage() for record in caplog.records if "predicted" in record.getMessage()]
    assert "1 scans (scan6);" in warning


def test_after_a_bad_validation_a_good_one_counts_again(tmp_path: Path) -> None:
    network = ToyNetwork()
    saver = BestNetworkSaver(network, tmp_path, "psnr_db")
    evaluator = toy_evaluator(network, [saver])
    network.offset.data[0, 0, 0] = float("nan")
    evaluator.run()
    assert not (tmp_path / "best.pt").exists()
    network.offset.data[0, 0, 0] = 0.0
    evaluator.run()
    assert (tmp_path / "best.pt").is_file()
