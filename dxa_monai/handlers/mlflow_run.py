"""A training run as a run in MLflow."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ignite.distributed as idist

from dxa_monai.runs.folder import CONFIG, METRICS, RECORD
from dxa_monai.scan.splits import SPLIT_FILE_NAME
from dxa_monai.tracking.network_model import save_network_model
from dxa_monai.tracking.run_note import NOTE_NAME
from dxa_monai.tracking.server import check_tracking_uri, reason_of
from dxa_monai.tracking.tracked_run import DESCRIPTION_TAG, PARENT_TAG, TrackedRun, report_outcome

logger = logging.getLogger(__name__)

ARTIFACTS = (
    *(RECORD, CONFIG, SPLIT_FILE_NAME, METRICS, "best.pt"),
    *("noise_floor.json", "scanner_model.json"),
)
"""Files of a run's folder that are copied to the MLflow run; what a training does not make is left out."""

VALIDATION_PICTURE = "validation.png"
"""Among the artifacts: a scan that was not trained on, and what the best network makes of it."""


class MLflowRun:
    """Open an MLflow run when a trainer starts and end it as the trainer ends.

    Metrics come through :class:`dxa_monai.handlers.epoch_metrics.LogEpochMetrics`, of the trainer and of the evaluator.

    MONAI's ``MLFlowHandler`` leaves the run of a crashed training open, and the next training of that name appends to
    it; it cannot be ended as failed. An Ignite handler alone could not do better: ``EXCEPTION_RAISED`` reaches no
    handler after MONAI's ``StatsHandler``, which raises. So ``attach`` wraps the trainer's ``run``: FINISHED if it
    returns, FAILED if it raises, KILLED if it is interrupted (Ctrl-C, SIGTERM), and the exception goes on in every
    case. A process that is killed outright leaves its run RUNNING until the next one in this folder, which goes on with
    it or closes it, or until a comparison above it ends it.

    Args:
        tracking_uri: see :class:`dxa_monai.tracking.tracked_run.TrackedRun`, also for the next four and their errors.
            One that cannot be right is refused here, before anything is trained.
        experiment: name of the experiment.
        name: start of the run's name. This and all but ``parent_run`` and ``enabled`` of what follows is filled in by a
            :class:`dxa_monai.training.run.TrainingRun` that has this among its logs (:meth:`describe`).
        params: what was chosen, for example arm, preset, seed, backbone weights, git revision, hash of the data.
        tags: notes.
        parent_run: id of the MLflow run that this one is shown below; empty: it stands by itself.
        artifacts: files and folders that are copied to the run at its end, whatever the end, if they are there.
        enabled: False does nothing at all, and neither do other processes than the first of a distributed run.
        local_log: where the same metrics lie without MLflow, for the warning that tracking is off.
        run_folder: gets ``mlflow_run.json``, which names the MLflow run.
        resume: go on with the run that ``run_folder`` names, if it does and the run is still there.
        key_metric: the greatest value of this metric so far is logged, too: ``best_validation_psnr_db`` of
            ``validation/psnr_db``. MLflow's tables show the last value of a metric, not that of the best network.
        log_model: when the training has come to its end, add the best network as an MLflow model
            (:mod:`dxa_monai.tracking.network_model`; seconds, a minute for a network of points), and a picture of what
            it makes of the first validation scan.

    Raises:
        InputError: see :func:`dxa_monai.tracking.server.check_tracking_uri`.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        name: str = "",
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        parent_run: str = "",
        artifacts: Sequence[str | Path] = (),
        enabled: bool = True,
        local_log: str | Path = "",
        run_folder: str | Path = "",
        resume: bool = False,
        key_metric: str = "",
        log_model: bool = False,
    ) -> None:
        if enabled:
            check_tracking_uri(tracking_uri)
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.name = name
        self.params = dict(params or {})
        self.tags = dict(tags or {}) | ({PARENT_TAG: parent_run} if parent_run else {})
        self.artifacts = list(artifacts)
        self.enabled = enabled
        self.local_log = local_log
        self.run_folder = run_folder
        self.resume = resume
        self.key_metric = key_metric
        self.log_model = log_model
        self.run: TrackedRun | None = None
        self._validation: Any = None
        self._best = -math.inf

    def describe(
        self, name: str, record: Mapping[str, Any], folder: Path, metric: str, resume: bool, validation: Any = None
    ) -> None:
        """Say what training this is the log of.

        Args:
            name: start of the run's name.
            record: what was chosen.
            folder: of the run; ``ARTIFACTS`` in it are copied to the MLflow run.
            metric: of the validations that is the key metric.
            resume: go on with the MLflow run that the folder names.
            validation: data set of the validations; None: no picture is drawn.
        """
        self._validation = validation
        self.name, self.params, self.resume = name, dict(record), resume
        self.run_folder, self.local_log = folder, folder / METRICS
        self.artifacts = [folder / name for name in ARTIFACTS]
        self.key_metric = f"validation/{metric}"

    def attach(self, engine: Any) -> None:
        """Wrap the ``run`` of a MONAI trainer."""
        run_engine = engine.run

        def run(*args: Any, **kwargs: Any) -> Any:
            self.run = TrackedRun(
                self.tracking_uri,
                self.experiment,
                self.name,
                self.params,
                self.tags,
                enabled=self.enabled and idist.get_rank() == 0,
                local_log=self.local_log,
                note=Path(self.run_folder) / NOTE_NAME if self.run_folder else None,
                go_on=self.resume,
            )
            self._best = self.run.last_values.get(self._best_name, -math.inf)
            with report_outcome(self.run, self.artifacts):
                result = run_engine(*args, **kwargs)
                self._log_best()
                return result

        engine.run = run

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add the metrics of an epoch; silent while no training runs."""
        if self.run is None:
            return
        best = metrics.get(self.key_metric, math.nan)
        if best > self._best:
            self._best = best
            metrics = {**metrics, self._best_name: best}
            self.run.set_tag(
                DESCRIPTION_TAG, f"Best {self.key_metric} {best:.4g}, after epoch {step}. {self.run_folder}"
            )
        self.run.log_metrics(metrics, step)

    def set_tag(self, name: str, value: str) -> None:
        """Add a note or change one; silent while no training runs."""
        if self.run is not None:
            self.run.set_tag(name, value)

    def _log_best(self) -> None:
        """Add what the best network is good for; tracking never stops the work, and the network itself is there."""
        best = Path(self.run_folder) / "best.pt"
        if not (self.log_model and self.run is not None and self.run.active and best.is_file()):
            return
        from dxa_monai.figures.validation_example import (
            validation_figure,  # trainings that draw nothing need no figures
        )

        with TemporaryDirectory() as folder:
            try:
                if self._validation is not None:
                    picture = validation_figure(best, self._validation[0], Path(folder) / VALIDATION_PICTURE)
                    if picture is not None:
                        self.run.log_artifact(picture)
            except Exception as error:
                logger.warning("%s: expected a picture of what it makes, got none: %s", best, reason_of(error))
            try:
                self.run.log_artifact(save_network_model(best, folder))
            except Exception as error:
                logger.warning("%s: expected an MLflow model of it, got none: %s", best, reason_of(error))

    @property
    def _best_name(self) -> str:
        return "best_" + self.key_metric.replace("/", "_")
