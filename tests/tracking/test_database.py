"""MLflow's database: where it is said to be, whole, and with its artifacts."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import InputError
from dxa_monai.tracking.database import _descriptor, open_database, sqlite_uri
from dxa_monai.tracking.server import resolve_tracking_uri
from dxa_monai.tracking.tracked_run import TrackedRun, mlflow_run

ODD = ["my study", "a#b", "100%20x", "why?not", "a&b;c", "Größe", "plus+eq=1 quote'd at@home:1"]


def _client(database: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(sqlite_uri(database))


def _track(folder: Path, artifact: Path) -> str:
    with mlflow_run(f"sqlite:///{folder}/mlflow.db", "trials", "one") as run:
        run.log_artifact(artifact)
    assert run.run_id is not None
    return run.run_id


def _artifacts(folder: Path) -> list[str]:
    return sorted(path.parts[-3] for path in folder.glob("mlartifacts/**/note.txt"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs, made once."""
    database = tmp_path_factory.mktemp("made") / "mlflow.db"
    open_database(database)
    return database


@pytest.fixture
def note(tmp_path: Path) -> Path:
    (tmp_path / "note.txt").write_text("a result")
    return tmp_path / "note.txt"


@pytest.mark.parametrize("name", ODD)
def test_database_and_artifacts_are_where_they_are_said_to_be(name: str, made: Path, note: Path) -> None:
    folder = note.parent / "projects" / name
    folder.mkdir(parents=True)
    shutil.copy(made, folder / "mlflow.db")
    run_id = _track(folder, note)
    assert _artifacts(folder) == [run_id]
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert resolve_tracking_uri(f"sqlite:///{folder}/mlflow.db")[0] == sqlite_uri(folder / "mlflow.db")


def test_in_a_folder_that_is_not_utf8_runs_are_tracked_and_artifacts_stay_where_they_were_written(
    made: Path, note: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = note.parent / os.fsdecode(b"gr\xf6\xdfe")
    folder.mkdir()
    shutil.copy(made, folder / "mlflow.db")
    run_id = _track(folder, note)
    assert "could not take" in caplog.text
    assert "knows no folder whose name is not UTF-8" in caplog.text
    assert _client(folder / "mlflow.db").get_run(run_id).info.status == "FINISHED"
    assert sorted(os.fsencode(path.name) for path in note.parent.iterdir()) == [b"gr\xf6\xdfe", b"note.txt"]


@pytest.mark.parametrize("name", [*ODD[2:4], os.fsdecode(b"gr\xf6\xdfe")])
def test_a_run_that_a_killed_process_left_open_is_found_by_the_next_one(name: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(made, folder / "mlflow.db")
    uri, place = f"sqlite:///{folder}/mlflow.db", folder / "mlflow_run.json"
    left = TrackedRun(uri, "trials", "one", note=place)
    assert place.is_file()
    _descriptor.cache_clear()  # another process has other numbers
    run = TrackedRun(uri, "trials", "one", note=place, go_on=True)
    assert run.run_id == left.run_id
    run.finish()


def test_a_database_whose_own_name_needs_escapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a database whose name has no % or \?, got why\?\.db"):
        resolve_tracking_uri(f"sqlite:///{tmp_path}/why?.db")


def test_artifacts_of_a_moved_project_follow_it(made: Path, note: Path) -> None:
    then, now = note.parent / "then", note.parent / "now"
    then.mkdir()
    shutil.copy(made, then / "mlflow.db")
    first = _track(then, note)
    then.rename(now)
    second = _track(now, note)
    assert not then.exists()
    assert _artifacts(now) == sorted([first, second])
    client = _client(now / "mlflow.db")
    assert [each.path for each in client.list_artifacts(first)] == ["note.txt"]


def test_a_copied_project_has_artifacts_of_its_own(made: Path, note: Path) -> None:
    original, copy = note.parent / "original", note.parent / "copy"
    original.mkdir()
    shutil.copy(made, original / "mlflow.db")
    first = _track(original, note)
    shutil.copytree(original, copy)
    second = _track(copy, note)
    assert _artifacts(original) == [first]
    assert _artifacts(copy) == sorted([first, second])


def test_artifacts_that_lie_elsewhere_stay_there(made: Path, tmp_path: Path) -> None:
    shutil.copy(made, tmp_path / "mlflow.db")
    client = _client(tmp_path / "mlflow.db")
    number = client.create_experiment("of a server", artifact_location="s3://bucket/mlartifacts/x")
    open_database(tmp_path / "mlflow.db")
    assert client.get_experiment(number).artifact_location == "s3://bucket/mlartifacts/x"


def test_processes_that_begin_together_make_one_whole_database(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.new").write_bytes(b"left by a process that was killed")
    fork = multiprocessing.get_context("spawn")
    processes = [fork.Process(target=open_database, args=(tmp_path / "mlflow.db",)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(_client(tmp_path / "mlflow.db").search_experiments()) == 1
    assert sorted(path.name for path in tmp_path.glob(".mlflow*")) == [".mlflow.db.lock"]
