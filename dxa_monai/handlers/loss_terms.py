"""The terms of a loss, averaged over the epoch, among the trainer's metrics."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from monai.utils.enums import CommonKeys


class LossTerms:
    """Tell the loss which epoch it is, and average the loss and its terms over the scans of the epoch.

    The means are in ``engine.state.metrics`` as ``loss`` and ``loss_<term>`` from the last iteration of an epoch on,
    so any handler of ``EPOCH_COMPLETED`` finds those of its own epoch, in whatever order the handlers are listed.

    Args:
        loss: a loss with ``set_epoch(epoch)``, which starts at 1, and ``terms``, a dictionary of scalars of its last
            call (:class:`dxa_monai.losses.vae.DXAVAELoss`). A loss that lacks one or both is averaged all the same.
        prefix: of the names of the metrics.
    """

    def __init__(self, loss: Any, prefix: str = "loss") -> None:
        self.loss = loss
        self.prefix = prefix
        self._sums: dict[str, torch.Tensor] = {}
        self._scans: dict[str, int] = {}

    def attach(self, engine: Engine) -> None:
        """Follow a MONAI trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.add)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.publish)

    def start(self, engine: Engine) -> None:
        """Forget the last epoch and tell the loss the new one."""
        for name in self._sums:
            engine.state.metrics.pop(name, None)
        self._sums, self._scans = {}, {}
        if hasattr(self.loss, "set_epoch"):
            self.loss.set_epoch(engine.state.epoch)

    def add(self, engine: Engine) -> None:
        """Add the scans of this iteration. Sums stay on the device, so nothing waits for a GPU."""
        output: Any = engine.state.output
        scans = len(output[CommonKeys.IMAGE])
        values = {self.prefix: output[CommonKeys.LOSS]}
        values |= {f"{self.prefix}_{term}": value for term, value in getattr(self.loss, "terms", {}).items()}
        for name, value in values.items():
            # a term that is off in some iterations is averaged over those in which it was on
            self._sums[name] = self._sums.get(name, 0.0) + torch.as_tensor(value).detach().double() * scans
            self._scans[name] = self._scans.get(name, 0) + scans

    def publish(self, engine: Engine) -> None:
        """Put the means into ``engine.state.metrics`` if the epoch ends with this iteration."""
        epoch_length = engine.state.epoch_length
        if epoch_length is not None and engine.state.iteration % epoch_length != 0:
            return
        for name, total in self._sums.items():
            everywhere = idist.all_reduce(float(total)), idist.all_reduce(float(self._scans[name]))
            engine.state.metrics[name] = float(everywhere[0]) / float(everywhere[1])
