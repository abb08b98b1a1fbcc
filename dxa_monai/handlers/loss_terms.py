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
            call (:class:`dxa_monai.losses.weighted.WeightedLoss`). A loss that lacks one or both is averaged all the
            same.
        prefix: of the names of the metrics.
    """

    def __init__(self, loss: Any, prefix: str = "loss") -> None:
        self.loss = loss
        self.prefix = prefix
        self._sums: dict[str, torch.Tensor] = {}
        self._scans: dict[str, float] = {}
        self._resumed: dict[str, tuple[float, float]] = {}
        self._published: list[str] = []

    def attach(self, engine: Engine) -> None:
        """Follow a MONAI trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.start)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self.add)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.publish)

    def start(self, engine: Engine) -> None:
        """Tell the loss the new epoch, and begin its means, or go on with those of an epoch that was interrupted."""
        for name in self._published:
            engine.state.metrics.pop(name, None)
        self._sums = {name: torch.tensor(total, dtype=torch.double) for name, (total, _) in self._resumed.items()}
        self._scans = {name: scans for name, (_, scans) in self._resumed.items()}
        self._resumed = {}
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
        for name, (total, scans) in self._everywhere().items():
            engine.state.metrics[name] = total / scans
        self._published = list(self._sums)
        self._sums, self._scans = {}, {}

    def state_dict(self) -> dict[str, Any]:
        """Sums of the epoch so far, over all processes; all of them have to call this."""
        return {name: list(sums) for name, sums in self._everywhere().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict` in the epoch that begins next. The first process keeps what all have summed."""
        here = idist.get_rank() == 0
        self._resumed = {name: (total, scans) if here else (0.0, 0.0) for name, (total, scans) in state.items()}

    def _everywhere(self) -> dict[str, tuple[float, float]]:
        """Sum and scans of each term over all processes."""
        return {
            name: (float(idist.all_reduce(float(total))), float(idist.all_reduce(float(self._scans[name]))))
            for name, total in self._sums.items()
        }
