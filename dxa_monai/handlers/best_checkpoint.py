"""Network files of a training run: the last one and the best one so far."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder
from dxa_monai.networks.checkpoint import save_network

logger = logging.getLogger(__name__)

_SHOWN_SCANS = 10


class BestNetworkSaver:
    """After each validation write the network as ``last.pt`` and, if it is the best so far, as ``best.pt``.

    Both are whole at any time: a file is written under another name and then renamed. A metric that is not finite never
    makes the best network, nor does a network that predicted NaN or infinity for any scan, whatever its metric: a
    warning names those scans. Of equal values the earlier one stays. Only the first process of a distributed run
    writes.

    Args:
        network: what to save.
        folder: where; made if need be.
        metric_name: which of the evaluator's metrics decides.
        greater_is_better: False for an error.
        save: ``save(network, path, epoch=..., metrics=...)``, writes atomically.
        scan_id_key: where a batch keeps the names of its scans.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: str | Path,
        metric_name: str,
        greater_is_better: bool = True,
        save: Callable[..., Any] = save_network,
        scan_id_key: str = "scan_id",
    ) -> None:
        self.network = network
        self.folder = Path(folder)
        self.metric_name = metric_name
        self.greater_is_better = greater_is_better
        self.save = save
        self.scan_id_key = scan_id_key
        self.best_value: float | None = None
        self.best_epoch: int | None = None
        self._not_finite: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator, whose epoch is the trainer's (MONAI's ``ValidationHandler`` sees to that)."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.watch)
        engine.add_event_handler(Events.COMPLETED, self)

    def start(self, engine: Engine) -> None:
        """Forget the scans of the validation before."""
        self._not_finite = []

    def watch(self, engine: Engine) -> None:
        """Remember the scans of this batch whose predictions are not finite."""
        output: Any = engine.state.output
        batch: Any = engine.state.batch
        if isinstance(output, list):  # decollated: a dictionary for each scan
            predictions = [scan[CommonKeys.PRED] for scan in output]
            names = [scan.get(self.scan_id_key) for scan in batch]
        elif isinstance(output, Mapping) and CommonKeys.PRED in output:
            prediction = output[CommonKeys.PRED]
            # of several things that a network gives, the first is what it predicts
            predictions = prediction[0] if isinstance(prediction, (tuple, list)) else prediction
            names = batch.get(self.scan_id_key, [None] * len(predictions))
        else:
            return
        for name, scan in zip(names, predictions, strict=True):
            if not torch.isfinite(torch.as_tensor(scan).detach()).all():
                self._not_finite.append("unnamed" if name is None else str(name))

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to know: the best value so far and its epoch."""
        return {"best_value": self.best_value, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.best_value, self.best_epoch = state["best_value"], state["best_epoch"]

    def __call__(self, engine: Engine) -> None:
        """Write the files of the validation that has just ended.

        Raises:
            InputError: the evaluator has no such metric, or the folder cannot be written to.
        """
        metrics = engine.state.metrics
        if self.metric_name not in metrics:
            known = ", ".join(metrics)
            raise InputError(f"metric_name: expected one of the evaluator's ({known}), got '{self.metric_name}'.")
        predictions_finite = self._told_predictions(engine)
        if idist.get_rank() != 0:
            return
        value = float(metrics[self.metric_name])
        folder = output_folder(self.folder)
        network = self.network.module if isinstance(self.network, nn.parallel.DistributedDataParallel) else self.network
        about = {"epoch": int(engine.state.epoch), "metrics": {self.metric_name: value}}
        self.save(network, folder / "last.pt", **about)
        if predictions_finite and self._is_best(value):
            self.best_value, self.best_epoch = value, engine.state.epoch
            self.save(network, folder / "best.pt", **about)
            logger.info("epoch %d: best %s so far, %.4f", engine.state.epoch, self.metric_name, value)

    def _told_predictions(self, engine: Engine) -> bool:
        """Whether the predictions of all processes were finite; each process warns of its own scans."""
        if self._not_finite:
            shown = ", ".join(self._not_finite[:_SHOWN_SCANS]) + (", ..." if self._not_finite[_SHOWN_SCANS:] else "")
            logger.warning(
                "epoch %d: NaN or infinity predicted for %d scans (%s); this network does not become the best one",
                engine.state.epoch,
                len(self._not_finite),
                shown,
            )
        return float(idist.all_reduce(float(len(self._not_finite)))) == 0.0

    def _is_best(self, value: float) -> bool:
        if not math.isfinite(value):
            logger.warning("%s is %s; this network does not become the best one", self.metric_name, value)
            return False
        if self.best_value is None:
            return True
        return value > self.best_value if self.greater_is_better else value < self.best_value
