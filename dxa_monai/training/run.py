"""A training run: its folder, its record, and the handlers that every training of this project has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from monai.engines import Evaluator
from monai.handlers import ValidationHandler, stopping_fn_from_metric
from torch import nn

import dxa_monai
from dxa_monai.handlers.best_checkpoint import BestNetworkSaver
from dxa_monai.handlers.csv_log import CsvLog
from dxa_monai.handlers.early_stop import EarlyStop
from dxa_monai.handlers.epoch_metrics import LogEpochMetrics
from dxa_monai.handlers.finite_loss import StopOnNonFinite
from dxa_monai.handlers.loss_terms import LossTerms
from dxa_monai.handlers.progress import TrainingProgress
from dxa_monai.handlers.training_state import Stateful, TrainingState
from dxa_monai.loading.loaders import TrainingLoader
from dxa_monai.runs.folder import METRICS, begin_run, finish_run
from dxa_monai.runs.provenance import git_revision
from dxa_monai.training.data import TrainingData
from dxa_monai.training.start import Start


class TrainingRun:
    """The first handler of a trainer: it writes the run's folder and attaches all other handlers that a run needs.

    ::

        folder/
          run.json, config.json, split.csv   what is run, and on whom; written before training
          metrics.csv                        a row an epoch
          last.pt, best.pt                   networks
          resume/                            states to go on from
          finished.json                      written by :meth:`finish`

    In this order: resume and save, stop at NaN, average the loss' terms, validate, log, show progress; on the evaluator
    keep the best network, log, stop early. Handlers of a config's own follow it in the list.

    Args:
        folder: of the run.
        data: that is trained on.
        start: where the network starts from.
        network: to be saved, without any wrapper.
        loss: of the trainer, on its device.
        optimizer: of the trainer.
        lr_scheduler: of the optimizer.
        loader: that the trainer reads.
        evaluator: of the validations.
        metric: the evaluator's key metric, which decides about the best network.
        settings: what else ``run.json`` and MLflow should tell, in plain types: the ``arm``, which is a label and
            chooses nothing, the preset, the seed, ...
        resume: go on with the folder's interrupted run if there is one.
        save_every_s: seconds between two states to resume from.
        validate_every: epochs between two validations.
        patience: epochs without a better metric after which the training ends; None: it never ends early.
        logs: get the metrics of each epoch besides ``metrics.csv``; one with ``describe`` is told of the run and
            attached to the trainer (:class:`dxa_monai.handlers.mlflow_run.MLflowRun`).

    Raises:
        InputError: the folder holds a run that is finished, or interrupted and other, or cannot be written to.
    """

    def __init__(
        self,
        folder: str | Path,
        data: TrainingData,
        start: Start,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Stateful,
        lr_scheduler: Stateful,
        loader: TrainingLoader,
        evaluator: Evaluator,
        metric: str,
        settings: Mapping[str, Any] | None = None,
        resume: bool = False,
        save_every_s: float = 60.0,
        validate_every: int = 1,
        patience: int | None = None,
        logs: Sequence[Any] = (),
    ) -> None:
        self.folder = Path(folder)
        self.data = data
        self.start = start
        self.network = network
        self.loss = loss
        self.evaluator = evaluator
        self.metric = metric
        self.settings = dict(settings or {})
        self.resume = resume
        self.validate_every = validate_every
        self.logs = [CsvLog(self.folder / METRICS), *logs]
        self._loss_terms = LossTerms(loss)
        self._best_network = BestNetworkSaver(network, self.folder, metric)
        self._early_stop = (
            None if patience is None else EarlyStop(patience, score_function=stopping_fn_from_metric(metric))
        )
        parts: dict[str, Stateful] = {
            "network": network,
            "optimizer": optimizer,
            "lr_scheduler": lr_scheduler,
            "loss_terms": self._loss_terms,
            "best_network": self._best_network,
        }
        if self._early_stop is not None:
            parts["early_stop"] = self._early_stop
        self._loader = loader
        self._state = TrainingState(self.folder, loader, evaluator, parts, loss, resume, save_every_s)

    @property
    def name(self) -> str:
        """Arm and seed, for people."""
        return f"{self.settings.get('arm', 'training')}-seed{self.settings.get('seed', 0)}"

    def record(self) -> dict[str, Any]:
        """What is run, in plain types; after the start was prepared."""
        about = self.settings | self.start.as_dict() | self.data.as_dict()
        about["loss"] = getattr(self.loss, "as_dict", dict)()
        about["network"] = getattr(self.network, "architecture", dict)()
        about["parameters"] = sum(weight.numel() for weight in self.network.parameters())
        about["device"] = str(next(self.network.parameters()).device)
        about["version"] = dxa_monai.__version__
        about["git_revision"] = git_revision()
        return about

    def attach(self, trainer: Any) -> None:
        """Begin the run in its folder and attach its handlers to a MONAI trainer and to the evaluator."""
        record = self.record()
        self._tell_terms_that_are_never_on(int(trainer.state.max_epochs))
        begin_run(self.folder, record, self.data.split, self.resume)
        prepare = getattr(self.loss, "prepare", None)
        if prepare is not None and not self._state.found:
            prepare(self._loader)
        self._state.attach(trainer)
        StopOnNonFinite(self.folder, self.loss).attach(trainer)
        self._loss_terms.attach(trainer)
        ValidationHandler(self.validate_every, self.evaluator, epoch_level=True).attach(trainer)
        LogEpochMetrics("train", self.logs).attach(trainer)
        TrainingProgress(str(self.settings.get("arm", "")), self.evaluator, self.metric).attach(trainer)
        self._best_network.attach(self.evaluator)
        LogEpochMetrics("validation", self.logs).attach(self.evaluator)
        if self._early_stop is not None:
            self._early_stop.set_trainer(trainer)
            self._early_stop.attach(self.evaluator)
        for log in self.logs:
            if hasattr(log, "describe"):
                scans = getattr(self.evaluator.data_loader, "dataset", None)
                log.describe(self.name, record, self.folder, self.metric, self.resume, scans)
                log.attach(trainer)

    def _tell_terms_that_are_never_on(self, max_epochs: int) -> None:
        """Two arms that differ in such a term alone end byte for byte alike, and nobody should have to find out."""
        for name, term in getattr(self.loss, "schedule", {}).items():
            if term.weight > 0.0 and term.weight_in(max_epochs) == 0.0 and idist.get_rank() == 0:
                print(
                    f"WARNING: {name}: its warm-up of {term.warm_up_epochs} epochs is as long as this training of "
                    f"{max_epochs}, so the term is never on; give more --max_epochs or fewer --warm_up_epochs."
                )

    def finish(self) -> None:
        """Write ``finished.json`` and say where the best network lies, or that there is none."""
        best: Any = self.evaluator.state
        value = best.best_metric if math.isfinite(best.best_metric) else None
        finish_run(self.folder, **{f"best_validation_{self.metric}": value, "epoch": best.best_metric_epoch})
        if idist.get_rank() != 0:
            return
        if self._best_network.best_value is None:
            print(
                f"{self.name}: no network became the best one, because {self.metric} of the validation people was "
                f"never a number (of one person alone an R2 is none): {self.folder / 'last.pt'} is the last one"
            )
        else:
            print(
                f"{self.name}: best {self.metric} {best.best_metric:.4g} on the validation people after epoch "
                f"{best.best_metric_epoch}: {self.folder / 'best.pt'}"
            )
