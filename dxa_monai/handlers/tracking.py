"""A run in MLflow, for a training run and for an evaluation command alike.

Tracking never stops the work: a server that cannot be reached costs one line of warning. ``mlflow`` is imported when
the first run starts, not before.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import output_folder

logger = logging.getLogger(__name__)

ENTITIES_PER_CALL = 100
"""MLflow takes at most 100 parameters or tags in one call (and 1,000 metrics)."""

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's own defaults (7 retries, 120 s) would hold up training for minutes. Variables that are set already win."""

MOST_FAILURES = 3
"""Failures in a row after which a run is given up, so that a lost server does not slow down every epoch."""

REASON_CHARACTERS = 200

SQLITE_PREFIX = "sqlite:///"


class TrackedRun:
    """One MLflow run. Every method is silent if tracking is off; the first failure is a warning, later ones are silent.

    Args:
        tracking_uri: ``sqlite:///path/mlflow.db`` (artifacts are kept in ``mlartifacts`` beside it, by absolute path)
            or the address of a server. It wins over the environment variable ``MLFLOW_TRACKING_URI``.
        experiment: its runs are compared with each other; made if need be.
        name: of the run; a time and four random digits are added, so that two runs never share a name.
        params: what was chosen, for example arm, preset, seed. Nested dictionaries become ``outer.inner``.
        tags: notes that may change later.
        enabled: False does nothing at all.

    Raises:
        InputError: the tracking uri is a plain folder, which MLflow no longer takes, or the database's folder cannot be
            written to.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        enabled: bool = True,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.name = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.run_id: str | None = None
        self._client: Any = None
        self._failures = 0
        self._warned = False
        if enabled:
            self.tracking_uri, artifact_location = _resolve(tracking_uri)
            try:
                with _little_patience():
                    self._start(artifact_location, flatten(params or {}), tags or {})
            except Exception as error:
                self._warn("start a run", error)

    @property
    def active(self) -> bool:
        """Whether there is a run to write to."""
        return self._client is not None

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add numbers at a step, usually the epoch."""

        def send() -> None:
            from mlflow.entities import Metric

            now_ms = int(time.time() * 1000)
            entities = [Metric(name, float(value), now_ms, step) for name, value in metrics.items()]
            self._client.log_batch(self.run_id, metrics=entities)

        if metrics:
            self._try("log metrics", send)

    def set_tag(self, name: str, value: str) -> None:
        """Add a note or change one."""
        self._try("set a tag", lambda: self._client.set_tag(self.run_id, name, value))

    def log_artifact(self, path: str | Path) -> None:
        """Copy a file or a folder to the run; one that is not there is left out with a warning."""
        path = Path(path)
        if not path.exists():
            if self.active:
                logger.warning("%s: not there, so it is not in the MLflow run", path)
        elif path.is_dir():
            self._try("log an artifact", lambda: self._client.log_artifacts(self.run_id, str(path), path.name))
        else:
            self._try("log an artifact", lambda: self._client.log_artifact(self.run_id, str(path)))

    def finish(self, status: str = "FINISHED") -> None:
        """End the run as ``FINISHED``, ``FAILED`` or ``KILLED``. Nothing can be logged afterwards."""
        self._failures = 0  # a run that stays open would look like a training that goes on: try in any case
        self._try("end the run", lambda: self._client.set_terminated(self.run_id, status))
        self._client = None

    def _start(self, artifact_location: str | None, params: dict[str, Any], tags: Mapping[str, Any]) -> None:
        # the database's set-up would print a page of migration steps
        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        client = MlflowClient(tracking_uri=self.tracking_uri)
        experiment_id = _experiment_id(client, self.experiment, artifact_location)
        run = client.create_run(
            experiment_id, run_name=self.name, tags={key: str(value) for key, value in tags.items()}
        )
        self.run_id, self._client = run.info.run_id, client
        entities = [Param(key, str(value)) for key, value in params.items()]
        for start in range(0, len(entities), ENTITIES_PER_CALL):
            client.log_batch(self.run_id, params=entities[start : start + ENTITIES_PER_CALL])

    def _try(self, what: str, action: Callable[[], Any]) -> None:
        if self._client is None or self._failures >= MOST_FAILURES:
            return
        try:
            with _little_patience():
                action()
            self._failures = 0
        except Exception as error:
            self._failures += 1
            self._warn(what, error)

    def _warn(self, what: str, error: Exception) -> None:
        if self._warned:
            return
        self._warned = True
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:REASON_CHARACTERS]
        logger.warning("MLflow at %s could not %s, the work goes on without it: %s", self.tracking_uri, what, reason)


@contextmanager
def mlflow_run(
    tracking_uri: str,
    experiment: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    enabled: bool = True,
) -> Iterator[TrackedRun]:
    """A :class:`TrackedRun` around a block: FINISHED if it ends, FAILED if it raises, KILLED if it is interrupted."""
    run = TrackedRun(tracking_uri, experiment, name, params, tags, enabled)
    with ended(run):
        yield run


@contextmanager
def ended(run: TrackedRun, artifacts: Sequence[str | Path] = ()) -> Iterator[None]:
    """End ``run`` with the block by the block's own fate, and log what it leaves behind; exceptions pass through."""
    status = "FINISHED"
    try:
        yield
    except Exception:
        status = "FAILED"
        raise
    except BaseException:
        status = "KILLED"
        raise
    finally:
        for path in artifacts:
            run.log_artifact(path)
        run.finish(status)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots, those in a config's nested id (``a#b``) too.

    MLflow takes no ``#`` in a name and would keep none of the parameters.
    """
    flat: dict[str, Any] = {}
    for name, value in params.items():
        key = name.replace("#", ".")
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


@contextmanager
def _little_patience() -> Iterator[None]:
    chosen_by_us = [name for name in PATIENCE if name not in os.environ]
    os.environ.update({name: PATIENCE[name] for name in chosen_by_us})
    try:
        yield
    finally:
        for name in chosen_by_us:
            del os.environ[name]


def _resolve(tracking_uri: str) -> tuple[str, str | None]:
    """An absolute tracking uri, and where the artifacts of a new experiment go (None: the server decides)."""
    if "://" not in tracking_uri or tracking_uri.startswith("file:"):
        raise InputError(
            f"tracking_uri: expected sqlite:///path/mlflow.db or the address of an MLflow server, got '{tracking_uri}'."
        )
    if not tracking_uri.startswith(SQLITE_PREFIX):
        return tracking_uri, None
    database = Path(tracking_uri.removeprefix(SQLITE_PREFIX)).absolute()
    folder = output_folder(database.parent)
    return f"{SQLITE_PREFIX}{database}", (folder / "mlartifacts").as_uri()


def _experiment_id(client: Any, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location))
        except MlflowException as error:
            # another process may have made it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise error
    if found.lifecycle_stage != "active":
        raise RuntimeError(f"the experiment '{name}' has been deleted; choose another name or restore it")
    return str(found.experiment_id)
