import logging
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ignite.engine import Events
from monai.handlers import StatsHandler, ValidationHandler
from torch import nn

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.handlers.epoch_metrics import LogEpochMetrics
from dxa_monai.handlers.finite_loss import StopOnNonFinite
from dxa_monai.handlers.loss_terms import LossTerms
from dxa_monai.handlers.mlflow_run import MLflowRun
from dxa_monai.tracking.run_note import NOTE_NAME, RunNote, read_note, write_note
from dxa_monai.tracking.tracked_run import PARENT_TAG, TrackedRun, mlflow_run
from tests.handlers.toy import ToyNetwork, toy_evaluator, toy_trainer


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests: its set-up takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture(autouse=True)
def misleading_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The uri given as an argument wins over the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/wrong.db")
    yield
    assert not (tmp_path / "wrong.db").exists()


def runs(uri: str, experiment: str) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return list(client.search_runs([found.experiment_id]))


def history(uri: str, run: Any, name: str) -> dict[int, float]:
    from mlflow import MlflowClient

    return {
        entry.step: entry.value for entry in MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, name)
    }


def artifacts(run: Any) -> set[str]:
    root = Path(run.info.artifact_uri.removeprefix("file://"))
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_training_is_tracked(uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "best.pt").touch()
    tracking = MLflowRun(
        uri,
        "training",
        "no_dxa-small",
        params={"arm": "no_dxa", "network": {"latent_channels": 32}, "loss#weight": 2},
        tags={"note": "test"},
        artifacts=[tmp_path / "config.json", tmp_path / "models", tmp_path / "missing.png"],
    )
    network, loss = ToyNetwork(), nn.MSELoss()
    evaluator = toy_evaluator(network, [LogEpochMetrics("validation", [tracking])])
    handlers = [tracking, LossTerms(loss), ValidationHandler(1, evaluator), LogEpochMetrics("train", [tracking])]
    toy_trainer(network, handlers, max_epochs=3, loss=loss).run()

    (run,) = runs(uri, "training")
    assert run.info.status == "FINISHED"
    assert run.info.run_name.startswith("no_dxa-small-2")
    assert run.data.params == {"arm": "no_dxa", "network.latent_channels": "32", "loss.weight": "2"}
    assert run.data.tags["note"] == "test"
    assert list(history(uri, run, "train/loss")) == [1, 2, 3]
    psnr = history(uri, run, "validation/psnr_db")
    assert list(psnr) == [1, 2, 3]
    assert psnr[3] == pytest.approx(evaluator.state.metrics["psnr_db"])
    assert artifacts(run) == {"config.json", "models/best.pt"}
    assert "missing.png" not in caplog.text
    # artifacts lie beside the database
    assert run.info.artifact_uri.startswith("file://" + str(Path(uri.removeprefix("sqlite:///")).parent))


def test_a_tag_can_be_added_while_the_run_is_open(uri: str) -> None:
    tracking = MLflowRun(uri, "tags", "arm")
    tracking.set_tag("early", "no run yet")

    class Tagging:
        def log_metrics(self, metrics: Any, step: int) -> None:
            tracking.set_tag("pruned", f"after epoch {step}")

    toy_trainer(ToyNetwork(), [tracking, LogEpochMetrics("train", [Tagging()])]).run()
    (run,) = runs(uri, "tags")
    assert run.data.tags["pruned"] == "after epoch 2"
    assert "early" not in run.data.tags


@pytest.mark.parametrize("stats_first", [True, False])
def test_crashed_training_is_failed_and_still_crashes(uri: str, tmp_path: Path, stats_first: bool) -> None:
    experiment = f"crash-{stats_first}"
    (tmp_path / "config.json").write_text("{}")
    tracking = MLflowRun(uri, experiment, "arm", artifacts=[tmp_path / "config.json"])
    handlers = [StatsHandler(), tracking] if stats_first else [tracking, StatsHandler()]
    with pytest.raises(TrainingError, match="scan5"):
        toy_trainer(ToyNetwork(), [*handlers, StopOnNonFinite()], bad_scan=5).run()
    (run,) = runs(uri, experiment)
    assert run.info.status == "FAILED"
    assert artifacts(run) == {"config.json"}


def test_exception_in_validation_fails_the_run(uri: str) -> None:
    class Broken:
        def log_metrics(self, metrics: Any, step: int) -> None:
            raise ValueError("broken")

    network = ToyNetwork()
    evaluator = toy_evaluator(network, [LogEpochMetrics("validation", [Broken()])])
    with pytest.raises(ValueError, match="broken"):
        toy_trainer(network, [MLflowRun(uri, "validation", "arm"), ValidationHandler(1, evaluator)]).run()
    assert [run.info.status for run in runs(uri, "validation")] == ["FAILED"]


def test_keyboard_interrupt_kills_the_run(uri: str) -> None:
    def loss(prediction: Any, target: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        toy_trainer(ToyNetwork(), [MLflowRun(uri, "interrupt", "arm")], loss=loss).run()
    assert [run.info.status for run in runs(uri, "interrupt")] == ["KILLED"]


def test_termination_kills_the_run_and_ends_the_process_as_usual(uri: str) -> None:
    # a scheduler's stop; 143 is the exit status of a process that SIGTERM has ended
    def loss(prediction: Any, target: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return nn.functional.mse_loss(prediction, target)

    with pytest.raises(SystemExit) as caught:
        toy_trainer(ToyNetwork(), [MLflowRun(uri, "termination", "arm")], loss=loss).run()
    assert caught.value.code == 143
    assert [run.info.status for run in runs(uri, "termination")] == ["KILLED"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_runs_below_that_could_not_end_themselves_end_with_it(
    uri: str, error: type[BaseException], status: str
) -> None:
    experiment = f"below-{status}"

    def compare() -> None:
        with mlflow_run(uri, experiment, "comparison") as parent:
            with mlflow_run(uri, experiment, "finished", parent_run=parent.run_id):
                pass
            # its process has been killed: nobody calls finish
            TrackedRun(uri, experiment, "lost", tags={PARENT_TAG: parent.run_id})
            TrackedRun(uri, experiment, "of somebody else")
            raise error

    with pytest.raises(error):
        compare()
    found = {run.info.run_name.partition("-")[0]: run.info.status for run in runs(uri, experiment)}
    assert found == {"comparison": status, "finished": "FINISHED", "lost": status, "of somebody else": "RUNNING"}


def test_the_best_value_of_the_key_metric_is_a_metric_of_its_own(uri: str) -> None:
    tracking = MLflowRun(uri, "best", "arm", key_metric="validation/r2")
    values = iter([0.1, 0.8, 0.5])

    class Validation:
        def attach(self, engine: Any) -> None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

        def __call__(self, engine: Any) -> None:
            tracking.log_metrics({"validation/r2": next(values)}, engine.state.epoch)

    toy_trainer(ToyNetwork(), [tracking, Validation()], max_epochs=3).run()
    (run,) = runs(uri, "best")
    assert history(uri, run, "best_validation_r2") == {1: 0.1, 2: 0.8}


def test_two_runs_of_one_name_stay_apart(uri: str) -> None:
    for _ in range(2):
        with mlflow_run(uri, "twice", "arm") as run:
            run.log_metrics({"a": 1.0})
    names = {run.info.run_name for run in runs(uri, "twice")}
    assert len(names) == 2


def test_context_manager_for_commands(uri: str, tmp_path: Path) -> None:
    (tmp_path / "table_1.csv").write_text("arm\n")
    with mlflow_run(uri, "evaluation", "table", {f"p{index}": index for index in range(250)}) as run:
        run.log_metrics({"psnr_db/no_dxa": 40.0, "nothing": float("nan")})
        run.log_artifact(tmp_path / "table_1.csv")
    with pytest.raises(ZeroDivisionError), mlflow_run(uri, "evaluation", "broken"):
        _ = 1 / 0
    by_status = {run.info.status: run for run in runs(uri, "evaluation")}
    assert set(by_status) == {"FINISHED", "FAILED"}
    finished = by_status["FINISHED"]
    assert len(finished.data.params) == 250
    assert finished.data.metrics["psnr_db/no_dxa"] == 40.0
    assert artifacts(finished) == {"table_1.csv"}


def test_disabled_tracking_does_not_import_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with mlflow_run(f"sqlite:///{tmp_path}/new/mlflow.db", "e", "n", enabled=False) as run:
        run.log_metrics({"a": 1.0})
        run.log_artifact(tmp_path / "missing")
        assert not run.active
    assert not (tmp_path / "new").exists()


def one_warning(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = [
        record for record in caplog.records if record.levelno >= logging.WARNING and "dxa_monai" in record.name
    ]
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_unreachable_server_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    # port 9 (discard) of this machine: nothing listens there
    network, tracking = ToyNetwork(), MLflowRun("http://127.0.0.1:9", "e", "n", artifacts=["missing"])
    trainer = toy_trainer(network, [tracking, LossTerms(nn.MSELoss()), LogEpochMetrics("train", [tracking])])
    trainer.run()
    assert trainer.state.epoch == 2
    assert "http://127.0.0.1:9" in one_warning(caplog)


def test_missing_mlflow_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert not TrackedRun(f"sqlite:///{tmp_path}/mlflow.db", "e", "n").active
    assert "mlflow" in one_warning(caplog)


def test_server_lost_on_the_way_costs_one_warning(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with mlflow_run(uri, "lost", "n", local_log="/somewhere/metrics.csv") as run:

        def fail(*args: Any, **kwargs: Any) -> None:
            raise ConnectionError("gone\nand more lines")

        log_batch = run._client.log_batch
        monkeypatch.setattr(run._client, "log_batch", fail)
        run.log_metrics({"a": 1.0}, 1)
        run.log_metrics({"a": 2.0}, 2)
        monkeypatch.setattr(run._client, "log_batch", log_batch)
        run.log_metrics({"a": 3.0}, 3)
    told = one_warning(caplog)
    assert "gone; tracking is off from here, the work goes on" in told
    assert told.endswith("its log is /somewhere/metrics.csv")
    (tracked,) = runs(uri, "lost")
    # what the server has missed comes with the run's end
    assert history(uri, tracked, "a") == {1: 1.0, 2: 2.0, 3: 3.0}
    assert tracked.info.status == "FINISHED"


def test_a_lost_server_is_asked_no_more_but_the_run_is_ended(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        raise ConnectionError("gone")

    with mlflow_run(uri, "given up", "n") as run:
        monkeypatch.setattr(run._client, "log_batch", fail)
        for step in range(10):
            run.log_metrics({"a": 1.0}, step)
        # at once and a second later
        assert len(calls) == 2
        monkeypatch.undo()
    assert [run.info.status for run in runs(uri, "given up")] == ["FINISHED"]


@pytest.mark.parametrize("folder", ["mlruns", "/tmp/mlruns", "file:///tmp/mlruns"])
def test_a_plain_folder_is_refused_in_one_sentence(folder: str) -> None:
    with pytest.raises(InputError, match=r"expected sqlite:///path/mlflow\.db or .*, got"):
        TrackedRun(folder, "e", "n")


def test_a_relative_database_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert TrackedRun("sqlite:///runs/mlflow.db", "e", "n").tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert (tmp_path / "runs").is_dir()


def test_a_resumed_run_is_one_run_with_each_step_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    note = tmp_path / "run" / NOTE_NAME
    first = TrackedRun(uri, "vae", "a", {"seed": 0}, note=note)
    for step in (1, 2, 3):
        first.log_metrics({"loss": 1.0 / step, "best": float(step)}, step)
    first.finish("KILLED")
    resumed = TrackedRun(uri, "vae", "a", {"seed": 0, "git_revision": "new"}, note=note, go_on=True)
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    assert client.get_run(str(first.run_id)).info.status == "RUNNING"
    assert resumed.last_values == {"loss": 1.0 / 3, "best": 3.0}
    for step in (3, 4):
        resumed.log_metrics({"loss": 1.0 / step, "new": 1.0}, step)
    resumed.finish()
    run = client.get_run(str(first.run_id))
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "0"}
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "new")] == [3, 4]


def test_a_run_that_is_gone_begins_anew_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    uri, note = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / NOTE_NAME
    write_note(note, RunNote(uri, "a-20260101-000000-abcd", "f" * 32))
    run = TrackedRun(uri, "vae", "a", {"seed": 0}, note=note, go_on=True)
    assert run.active
    assert run.run_id != "f" * 32
    assert "is gone; a new one begins" in caplog.text
    run.finish()


def _statuses(uri: str, experiment: str) -> dict[str, str]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name.split("-")[0]: run.info.status for run in runs}


def _in_a_process_that_is_killed(work: Callable[[], object]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def _kill_self(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _parent_and_child(uri: str, name: str, folder: Path) -> None:
    note = folder / NOTE_NAME
    with (
        mlflow_run(uri, name, "parent", {"seeds": 1}, note=note, go_on=True) as parent,
        mlflow_run(uri, name, "child", parent_run=parent.run_id),
    ):
        _kill_self()


def test_after_a_kill_the_next_call_goes_on_with_the_run_and_closes_what_was_below_it(uri: str, tmp_path: Path) -> None:
    name, note = tmp_path.name, tmp_path / "out" / NOTE_NAME
    _in_a_process_that_is_killed(partial(_parent_and_child, uri, name, note.parent))
    assert _statuses(uri, name) == {"parent": "RUNNING", "child": "RUNNING"}
    with mlflow_run(uri, name, "parent", {"seeds": 1}, note=note, go_on=True):
        assert _statuses(uri, name) == {"parent": "RUNNING", "child": "KILLED"}
    assert _statuses(uri, name) == {"parent": "FINISHED", "child": "KILLED"}
    assert not note.exists()


def test_a_run_about_something_else_is_closed_and_another_begins(uri: str, tmp_path: Path) -> None:
    name, note = tmp_path.name, tmp_path / "out" / NOTE_NAME
    _in_a_process_that_is_killed(partial(_parent_and_child, uri, name, note.parent))
    with mlflow_run(uri, name, "other", {"seeds": 2}, note=note, go_on=True):
        assert _statuses(uri, name) == {"parent": "KILLED", "child": "KILLED", "other": "RUNNING"}


@pytest.mark.parametrize("moment", ["create_run", "after create_run"])
def test_killed_between_the_start_of_a_run_and_its_id_the_run_is_found_again(
    moment: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, note = tmp_path.name, tmp_path / "it's out" / NOTE_NAME
    from mlflow import MlflowClient

    create = MlflowClient.create_run

    def killed(self: object, *args: object, **kwargs: object) -> None:
        if moment == "after create_run":
            create(self, *args, **kwargs)  # type: ignore[arg-type]
        _kill_self()

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "create_run", killed)
        _in_a_process_that_is_killed(partial(TrackedRun, uri, name, "it's", note=note))
    earlier = read_note(note)
    assert earlier is not None
    assert earlier.run_id is None
    with mlflow_run(uri, name, "it's", note=note, go_on=True):
        pass
    assert _statuses(uri, name) == {"it's": "FINISHED"}


def test_a_copied_folder_s_note_closes_nobody_s_run(uri: str, tmp_path: Path) -> None:
    name, note = tmp_path.name, tmp_path / "out" / NOTE_NAME
    first = TrackedRun(uri, name, "first", note=note)
    shutil.copytree(note.parent, tmp_path / "copy")
    TrackedRun(uri, name, "second", note=tmp_path / "copy" / NOTE_NAME)
    assert _statuses(uri, name) == {"first": "RUNNING", "second": "RUNNING"}
    TrackedRun(uri, name, "third", note=note)
    assert _statuses(uri, name) == {"first": "KILLED", "second": "RUNNING", "third": "RUNNING"}
    first.finish()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"run_id": 1}'])
def test_a_damaged_note_is_no_note(text: str, tmp_path: Path) -> None:
    (tmp_path / NOTE_NAME).write_text(text)
    assert read_note(tmp_path / NOTE_NAME) is None


def test_an_evaluation_that_fails_leaves_neither_note_nor_folder(uri: str, tmp_path: Path) -> None:
    note = tmp_path / "out" / NOTE_NAME
    there = []
    with pytest.raises(ZeroDivisionError), mlflow_run(uri, tmp_path.name, "n", note=note):
        there.append(note.exists() and 1 / 0)
    assert not note.parent.exists()
