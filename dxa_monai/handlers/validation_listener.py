"""Somebody outside the config hears each validation and may end the training early."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ignite.engine import Engine, Events

Listener = Callable[[int, float], bool]
"""``listener(epoch, value)`` of a validation; True: the training should end."""


class ValidationListener:
    """Tell a listener a metric of every validation, and end the training cleanly when the listener says so.

    The epoch is finished first: its networks are saved and its metrics logged. List this handler in a trainer after its
    ``ValidationHandler``. A hyper-parameter search prunes by it (:mod:`dxa_monai.experiments.search`).

    Args:
        evaluator: whose metric it is.
        metric_name: name of that metric.
        listener: None: nobody listens.
        logs: those that take tags (:class:`dxa_monai.handlers.mlflow_run.MLflowRun`) get ``pruned`` with the epoch if
            the listener ended the training.
    """

    def __init__(
        self, evaluator: Engine, metric_name: str, listener: Listener | None = None, logs: Sequence[Any] = ()
    ) -> None:
        self.evaluator = evaluator
        self.metric_name = metric_name
        self.listener = listener
        self.logs = list(logs)

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        if self.listener is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self, self.listener)

    def __call__(self, engine: Engine, listener: Listener) -> None:
        """Hand on the validation of the epoch that has just ended, if there was one."""
        epoch = engine.state.epoch
        if self.evaluator.state.epoch != epoch:
            return
        if listener(epoch, float(self.evaluator.state.metrics[self.metric_name])):
            for log in self.logs:
                if hasattr(log, "set_tag"):
                    log.set_tag("pruned", f"after epoch {epoch}")
            engine.terminate()
