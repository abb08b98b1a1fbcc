"""A trainer small enough to run in a test: one weight image, ten scans of 6 x 8 x 8 in batches of four."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from torch import nn

from dxa_monai.metrics.scan_metric import ScanMetric

SCANS = 10
BATCH = 4


class ToyNetwork(nn.Module):
    """A learned image, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(6, 8, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.offset

    def architecture(self) -> dict[str, Any]:
        return {}


def toy_data(bad_scan: int | None = None) -> list[dict[str, Any]]:
    images = torch.rand(SCANS, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    rows = [{"image": image, "label": image + 0.1, "scan_id": f"scan{index}"} for index, image in enumerate(images)]
    if bad_scan is not None:
        rows[bad_scan]["label"] = torch.full((6, 8, 8), float("nan"))
    return rows


def toy_trainer(
    network: nn.Module, handlers: list[Any], max_epochs: int = 2, loss: Any = None, bad_scan: int | None = None
) -> SupervisedTrainer:
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=max_epochs,
        train_data_loader=DataLoader(Dataset(toy_data(bad_scan)), batch_size=BATCH),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=100.0),
        loss_function=nn.MSELoss() if loss is None else loss,
        train_handlers=handlers,
    )


def toy_evaluator(network: nn.Module, handlers: list[Any]) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(toy_data()), batch_size=BATCH),
        network=network,
        key_val_metric={"psnr_db": ScanMetric("psnr_db")},
        val_handlers=handlers,
    )
