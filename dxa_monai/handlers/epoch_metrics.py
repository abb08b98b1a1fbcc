"""Metrics of an engine, handed on epoch by epoch to where they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events


class MetricLog(Protocol):
    """Whatever keeps metrics: a ``csv_log.CsvLog``, an ``mlflow_run.MLflowRun``."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep the metrics of an epoch."""


class LogEpochMetrics:
    """Hand ``engine.state.metrics`` to logs at the end of each epoch, under ``<phase>/<name>``.

    Only single numbers are handed on. It runs at the end of an evaluator's run and at the end of a trainer's epoch;
    list it in a trainer after the handlers that add metrics at ``EPOCH_COMPLETED``.

    Args:
        phase: ``train`` or ``validation``.
        logs: where to.
    """

    def __init__(self, phase: str, logs: Sequence[MetricLog]) -> None:
        self.phase = phase
        self.logs = list(logs)

    def attach(self, engine: Engine) -> None:
        """Follow a trainer or an evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Hand on the metrics of the epoch that has just ended."""
        metrics = {
            f"{self.phase}/{name}": float(value) for name, value in engine.state.metrics.items() if _is_one(value)
        }
        for log in self.logs:
            log.log_metrics(metrics, step=engine.state.epoch)


def _is_one(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1
    return isinstance(value, Number)
