"""Network files of a training run: the last one and the best one so far."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder
from dxa_monai.networks.checkpoint import save_network

logger = logging.getLogger(__name__)


class BestNetworkSaver:
    """After each validation write the network as ``last.pt`` and, if it is the best so far, as ``best.pt``.

    Both are whole at any time: a file is written under another name and then renamed. A metric that is not finite never
    makes the best network. Of equal values the earlier one stays. Only the first process of a distributed run writes.

    Args:
        network: what to save.
        folder: where; made if need be.
        metric_name: which of the evaluator's metrics decides.
        greater_is_better: False for an error.
        save: ``save(network, path, epoch=..., metrics=...)``, writes atomically.
    """

    def __init__(
        self,
        network: nn.Module,
        folder: str | Path,
        metric_name: str,
        greater_is_better: bool = True,
        save: Callable[..., Any] = save_network,
    ) -> None:
        self.network = network
        self.folder = Path(folder)
        self.metric_name = metric_name
        self.greater_is_better = greater_is_better
        self.save = save
        self.best_value: float | None = None
        self.best_epoch: int | None = None

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator, whose epoch is the trainer's (MONAI's ``ValidationHandler`` sees to that)."""
        engine.add_event_handler(Events.COMPLETED, self)

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
        if idist.get_rank() != 0:
            return
        value = float(metrics[self.metric_name])
        folder = output_folder(self.folder)
        network = self.network.module if isinstance(self.network, nn.parallel.DistributedDataParallel) else self.network
        about = {"epoch": int(engine.state.epoch), "metrics": {self.metric_name: value}}
        self.save(network, folder / "last.pt", **about)
        if self._is_best(value):
            self.best_value, self.best_epoch = value, engine.state.epoch
            self.save(network, folder / "best.pt", **about)
            logger.info("epoch %d: best %s so far, %.4f", engine.state.epoch, self.metric_name, value)

    def _is_best(self, value: float) -> bool:
        if not math.isfinite(value):
            logger.warning("%s is %s; this network does not become the best one", self.metric_name, value)
            return False
        if self.best_value is None:
            return True
        return value > self.best_value if self.greater_is_better else value < self.best_value
