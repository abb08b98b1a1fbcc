"""A run in MLflow, for a training run and for an evaluation command alike.

Tracking never stops the work: a server that cannot be reached costs one line of warning. ``mlflow`` is imported when
the first run starts, not before.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.runs.interruption import ending_as_exit
from dxa_monai.tracking.database import SQLITE_PREFIX, open_database, takes_artifacts
from dxa_monai.tracking.run_note import RunNote, digest_of, read_note, write_note
from dxa_monai.tracking.server import (
    UPLOAD_SECONDS,
    database_file,
    little_patience,
    reason_of,
    resolve_tracking_uri,
    without_password,
)

logger = logging.getLogger(__name__)

ENTITIES_PER_CALL = 100
"""MLflow takes at most 100 parameters or tags in one call (and 1,000 metrics)."""
METRICS_PER_CALL = 1000

QUICK_SECONDS = 2.0
"""A failure that came sooner is tried once more after a second; one that took longer has cost enough."""

_NO_UTF8 = "it knows no folder whose name is not UTF-8 (in a terminal of ASCII, PYTHONUTF8=1 helps)"

PARENT_TAG = "mlflow.parentRunId"
DESCRIPTION_TAG = "mlflow.note.content"
"""What MLflow's page shows as a run's description."""
_OPEN = ("RUNNING", "SCHEDULED")


class TrackedRun:
    """One MLflow run. Every method is silent if tracking is off.

    A server that is lost is told of once and not asked again: from there on metrics are kept in memory. Only the end of
    the run tries again; if the server is back, it gets what it has missed.

    Args:
        tracking_uri: ``sqlite:///path/mlflow.db``, the path as it is (artifacts are kept in ``mlartifacts`` beside it)
            or the address of a server. It wins over the environment variable ``MLFLOW_TRACKING_URI``. Empty: nothing is
            tracked.
        experiment: its runs are compared with each other; made if need be.
        name: of the run; a time and four random digits are added, so that two runs never share a name.
        params: what was chosen, for example arm, preset, seed. Nested dictionaries become ``outer.inner``.
        tags: notes that may change later.
        enabled: False does nothing at all.
        local_log: file or folder that holds the same without MLflow, for the warning.
        note: file that names the run (:mod:`dxa_monai.tracking.run_note`), written before the run begins, so that it is
            found again however this process ends. One that is still open there is closed as KILLED, or gone on with.
        go_on: go on with the run that ``note`` names, under its own name and with its parameters; steps that a metric
            has already are not added again. Runs below it that are open are closed: their processes are gone. If the
            run is gone, a new one begins, with a warning.

    Raises:
        InputError: see :func:`dxa_monai.tracking.server.resolve_tracking_uri`.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        name: str,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        enabled: bool = True,
        local_log: str | Path = "",
        note: str | Path | None = None,
        go_on: bool = False,
    ) -> None:
        self.tracking_uri = self._address = tracking_uri
        self.experiment = experiment
        self.name = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self.local_log = local_log
        self.run_id: str | None = None
        self.last_values: dict[str, float] = {}
        """Of each metric, in the run that is gone on with."""
        self._last_steps: dict[str, int] = {}
        self._client: Any = None
        self._database: Path | None = None
        self._experiment_id = ""
        self._unsent_params: list[tuple[str, str]] = []
        self._unsent: list[tuple[str, float, int, int]] = []
        self._lost = False
        self._told: set[str] = set()
        if enabled and tracking_uri:
            self.tracking_uri, artifact_location = resolve_tracking_uri(tracking_uri)
            self._database = database_file(tracking_uri)
            if self._database is not None:  # what is noted and told is good for other processes, too
                self._address = f"{SQLITE_PREFIX}{self._database}"
            try:
                with little_patience():
                    client = self._connect(artifact_location)
                    chosen = flatten(params or {})
                    earlier = None if note is None else read_note(note)
                    if earlier is None or not self._take_up(client, earlier, go_on):
                        if note is not None:
                            write_note(note, RunNote(self._address, self.name, None, digest_of(chosen)))
                        self._start(client, tags or {})
                        self._unsent_params = [(key, str(value)) for key, value in chosen.items()]
                    if note is not None:
                        write_note(note, RunNote(self._address, self.name, self.run_id, digest_of(chosen)))
            except InputError:
                raise  # the note cannot be written: nor could anything else be
            except Exception as error:
                self._tell_lost(error)
            self._try(self._send)

    @property
    def active(self) -> bool:
        """Whether there is a run to write to."""
        return self._client is not None

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add numbers at a step, usually the epoch."""
        if self._client is None:
            return
        now_ms = int(time.time() * 1000)
        self._unsent += [
            (name, float(value), now_ms, step)
            for name, value in metrics.items()
            if step > self._last_steps.get(name, -1)
        ]
        self._try(self._send)

    def set_tag(self, name: str, value: str) -> None:
        """Add a note or change one."""
        self._try(lambda: self._client.set_tag(self.run_id, name, value))

    def log_artifact(self, path: str | Path) -> None:
        """Copy a file or a folder to the run; one that is not there is left out with a warning."""
        path = Path(path)
        if self._client is None or self._lost or "artifacts" in self._told:
            return
        if not path.exists():
            logger.warning("%s: not there, so it is not in the MLflow run", path)
            return
        try:
            if self._database is not None and not takes_artifacts(self._database):
                raise ValueError(_NO_UTF8)
            with little_patience(UPLOAD_SECONDS):
                if path.is_dir():
                    self._client.log_artifacts(self.run_id, str(path), path.name)
                else:
                    self._client.log_artifact(self.run_id, str(path))
        except Exception as error:
            # a store of files may be out of reach while the server itself goes on taking numbers
            why = f"MLflow at {without_password(self._address)} could not take {path}: {reason_of(error)}"
            self._tell("artifacts", f"{why}; no more files are sent, they are where they were written")

    def finish(self, status: str = "FINISHED", artifacts: Sequence[str | Path] = ()) -> None:
        """End the run as ``FINISHED``, ``FAILED`` or ``KILLED``, and with it the runs below it that are still open.

        Nothing can be logged afterwards.

        Args:
            status: of the run.
            artifacts: files and folders to be copied to the run; what the work did not make is left out.
        """
        if self._client is None:
            return
        # a run that stays open would look like a training that goes on: try in any case
        self._lost = False
        if self._try(self._send) and self._try(lambda: self._client.get_run(self.run_id)):
            # only now: uploads are given more time than a server that does not answer deserves
            for path in artifacts:
                if Path(path).exists():
                    self.log_artifact(path)
            self._try(lambda: self._terminate(status))
        self._client = None

    def _connect(self, artifact_location: str | None) -> Any:
        # the database's set-up would print a page of migration steps
        for noisy in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        from mlflow import MlflowClient

        if self._database is not None:
            open_database(self._database)
        client = MlflowClient(tracking_uri=self.tracking_uri)
        self._experiment_id = _experiment_id(client, self.experiment, artifact_location)
        return client

    def _start(self, client: Any, tags: Mapping[str, Any]) -> None:
        run = client.create_run(
            self._experiment_id, run_name=self.name, tags={key: str(value) for key, value in tags.items()}
        )
        self.run_id, self._client = run.info.run_id, client

    def _take_up(self, client: Any, earlier: RunNote, go_on: bool) -> bool:
        """Go on with a run that was noted, or close it if it is open; whether it is gone on with."""
        from mlflow.exceptions import MlflowException

        run = None
        if earlier.tracking_uri != without_password(self._address):
            return False  # kept elsewhere, where this command has no business
        try:
            if earlier.run_id is not None:
                run = client.get_run(earlier.run_id)
            else:  # its process ended before it knew the id
                mark = "-".join(earlier.name.split("-")[-3:])  # time and random digits, which need no quoting
                found = client.search_runs([self._experiment_id], f"tags.`mlflow.runName` LIKE '%-{mark}'")
                run = found[0] if found else None
        except MlflowException:
            pass
        if run is None or run.info.lifecycle_stage != "active":
            if go_on and earlier.run_id is not None:
                logger.warning("MLflow run %s is gone; a new one begins", earlier.run_id)
            return False
        run_id = run.info.run_id
        if earlier.here or go_on:
            self._close(client, self._open_below(client, run_id), "KILLED")
        if not go_on:
            if earlier.here and run.info.status in _OPEN:
                self._close(client, [run_id], "KILLED")
            return False
        client.update_run(run_id, status="RUNNING")
        self.name = run.info.run_name
        self.last_values = dict(run.data.metrics)
        self._last_steps = {name: client.get_metric_history(run_id, name)[-1].step for name in run.data.metrics}
        self.run_id, self._client = run_id, client
        return True

    def _open_below(self, client: Any, run_id: str) -> list[str]:
        below = client.search_runs(
            [self._experiment_id], f"tags.`{PARENT_TAG}` = '{run_id}' and attributes.status = 'RUNNING'"
        )
        return [each.info.run_id for each in below]

    def _close(self, client: Any, run_ids: Sequence[str], status: str) -> None:
        for run_id in run_ids:
            client.set_terminated(run_id, status)

    def _send(self) -> None:
        """Send what has not been sent yet; what fails stays for the next time."""
        from mlflow.entities import Metric, Param

        while self._unsent_params:
            params = [Param(*each) for each in self._unsent_params[:ENTITIES_PER_CALL]]
            self._client.log_batch(self.run_id, params=params)
            del self._unsent_params[: len(params)]
        while self._unsent:
            batch = [Metric(*each) for each in self._unsent[:METRICS_PER_CALL]]
            self._client.log_batch(self.run_id, metrics=batch)
            del self._unsent[: len(batch)]

    def _terminate(self, status: str) -> None:
        # a child that was killed, or that ran out of memory, could not end its run itself
        self._close(self._client, [*self._open_below(self._client, str(self.run_id)), str(self.run_id)], status)

    def _try(self, action: Callable[[], Any]) -> bool:
        if self._client is None or self._lost:
            return False
        begun = time.monotonic()
        try:
            with little_patience():
                try:
                    action()
                except Exception:
                    if time.monotonic() - begun > QUICK_SECONDS:
                        raise
                    time.sleep(1.0)
                    action()
        except Exception as error:
            self._lost = True
            self._tell_lost(error)
        return not self._lost

    def _tell_lost(self, error: Exception) -> None:
        where = f", and its log is {Path(self.local_log).absolute()}" if self.local_log else ""
        why = f"MLflow at {without_password(self._address)}: {reason_of(error)}"
        self._tell("lost", f"{why}; tracking is off from here, the work goes on{where}")

    def _tell(self, what: str, sentence: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("%s", sentence)


@contextmanager
def mlflow_run(
    tracking_uri: str,
    experiment: str,
    name: str,
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    enabled: bool = True,
    local_log: str | Path = "",
    parent_run: str | None = None,
    note: str | Path | None = None,
    go_on: bool = False,
) -> Iterator[TrackedRun]:
    """A :class:`TrackedRun` around a block: FINISHED if it ends, FAILED if it raises, KILLED if it is interrupted.

    Args:
        tracking_uri: see :class:`TrackedRun`, also for what is not named here.
        parent_run: run id of the run that this one is shown below.
        note: as there; it is gone when the block has ended, or, with ``go_on``, when it has ended well.
        go_on: as there, if the run that is noted is about the same.
    """
    earlier = None if note is None else read_note(note)
    same = go_on and earlier is not None and earlier.about == digest_of(flatten(params or {}))
    tags = dict(tags or {}) | ({PARENT_TAG: parent_run} if parent_run else {})
    folder = None if note is None else Path(note).parent
    made = folder is not None and not folder.exists()
    run = TrackedRun(tracking_uri, experiment, name, params, tags, enabled, local_log, note, same)
    well = False
    try:
        with report_outcome(run):
            yield run
        well = True
    finally:
        if note is not None and (well or not go_on):
            with suppress(OSError):  # where nothing could be written, nothing is there
                Path(note).unlink()
        if folder is not None and made and not well:
            with suppress(OSError):
                folder.rmdir()  # a mistake leaves nothing behind


@contextmanager
def report_outcome(run: TrackedRun, artifacts: Sequence[str | Path] = ()) -> Iterator[None]:
    """End ``run`` with the block by the block's own fate, and log what it leaves behind; exceptions pass through."""
    status = "FINISHED"
    with ending_as_exit(run.active):
        try:
            yield
        except Exception:
            status = "FAILED"
            raise
        except BaseException:
            status = "KILLED"
            raise
        finally:
            run.finish(status, artifacts)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, keys joined by dots, those in a config's nested id (``a#b``) too.

    MLflow takes no ``#`` in a name and would keep none of the parameters.
    """
    flat: dict[str, Any] = {}
    for name, value in params.items():
        key = name.replace("#", ".")
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


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
