"""Work on a Dask cluster of two worker processes on this machine, one of which is killed."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.parallel import cluster
from dxa_monai.parallel.cluster import ADDRESS_VARIABLE, run_on_cluster
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.runs.ownership import LOCK_NAME
from tests.analysis.cohort import cohort_manifest

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

PEOPLE = 8


@contextmanager
def _cluster(workers: int = 2, threads: int = 1) -> Iterator[distributed.LocalCluster]:
    logging.getLogger("distributed").setLevel(logging.ERROR)
    with distributed.LocalCluster(
        workers, threads_per_worker=threads, dashboard_address=None, host="127.0.0.1"
    ) as local:
        yield local


@pytest.fixture
def two_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[distributed.LocalCluster]:
    """For a test that ends them."""
    with _cluster() as local:
        monkeypatch.setenv(ADDRESS_VARIABLE, local.scheduler_address)
        yield local


@pytest.fixture(scope="module")
def _lasting_cluster() -> Iterator[distributed.LocalCluster]:
    with _cluster() as local:
        yield local


@pytest.fixture
def lasting_workers(_lasting_cluster: distributed.LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that other tests use, too: each takes ten seconds to start."""
    monkeypatch.setenv(ADDRESS_VARIABLE, _lasting_cluster.scheduler_address)


def _hashes(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png" and path.name != LOCK_NAME]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _kill_a_worker_once(local: distributed.LocalCluster, condition: Any) -> threading.Thread:
    """Kill (SIGKILL) one of the workers as soon as the condition holds."""
    with distributed.Client(local.scheduler_address, set_as_default=False) as client:
        victim = sorted(client.run(os.getpid).values())[0]

    def kill() -> None:
        while not condition():
            time.sleep(0.02)
        os.kill(victim, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_a_cohort_has_the_same_bytes_when_a_worker_is_killed_halfway(
    two_workers: distributed.LocalCluster, tmp_path: Path
) -> None:
    generate_cohort(PEOPLE, tmp_path / "local", seed=3, workers=2, progress=False)
    scans = tmp_path / "cluster" / "scans"
    killer = _kill_a_worker_once(two_workers, lambda: scans.is_dir() and len(list(scans.glob("*.npy"))) >= 2)
    generate_cohort(PEOPLE, tmp_path / "cluster", seed=3, progress=False, cluster=True)
    killer.join()
    local, there = _hashes(tmp_path / "local"), _hashes(tmp_path / "cluster")
    assert local == there
    assert sum(name.startswith("scans/") for name in there) >= PEOPLE
    # called again, nothing is left to do: no cluster is asked
    two_workers.close()
    generate_cohort(PEOPLE, tmp_path / "cluster", seed=3, progress=False, cluster=True)


def test_reports_of_scans_are_those_of_one_process(
    lasting_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = collect_rows(cohort_manifest())
    analyse_scans(rows, tmp_path / "here", progress=False)
    # the workers were started in another folder
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "scan": os.path.relpath(row["scan"])} for row in rows]
    analyse_scans(rows, "cluster", progress=False, cluster=True)
    (tmp_path / "cluster" / "body_composition.csv").unlink()
    reports = {path: path.stat().st_mtime_ns for path in (tmp_path / "cluster").rglob("*.json")}
    analyse_scans(rows, "cluster", progress=False, workers=2)
    assert {path: path.stat().st_mtime_ns for path in reports} == reports
    analyse_scans(rows, tmp_path / "processes", progress=False, workers=2)
    here = _hashes(tmp_path / "here")
    assert len(here) > 2 * len(rows)
    assert _hashes(tmp_path / "cluster") == here
    assert _hashes(tmp_path / "processes") == here


def _write(item: int, folder: str) -> None:
    (Path(folder) / str(item)).write_text(str(os.getpid()))


def _die_at_three(item: int, folder: str) -> None:
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    _write(item, folder)


def _refuse(item: int, kind: str) -> None:
    raise {"input": InputError, "training": TrainingError, "other": ZeroDivisionError}[kind](f"{item}: expected, got.")


def test_each_item_is_done_and_told_once(lasting_workers: None, tmp_path: Path) -> None:
    done = list(run_on_cluster(_write, range(20), (str(tmp_path),)))
    assert sorted(done) == list(range(20))
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 2


def test_an_item_that_ends_every_worker_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # two lost workers are enough: Dask gives an item up after four, each of which takes ten seconds to come back
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}), _cluster() as local:
        monkeypatch.setenv(ADDRESS_VARIABLE, local.scheduler_address)
        with pytest.raises(RuntimeError, match=r"item \d, or one that waited with it: one worker after the other"):
            list(run_on_cluster(_die_at_three, range(6), (str(tmp_path),)))


@pytest.mark.parametrize(
    ("kind", "raised", "words"),
    [
        ("input", InputError, r"^5: expected, got\.$"),
        ("training", TrainingError, r"^5: expected, got\.$"),
        ("other", RuntimeError, "^item 5: ZeroDivisionError: 5: expected, got"),
    ],
)
def test_a_failure_is_passed_on(kind: str, raised: type[Exception], words: str, lasting_workers: None) -> None:
    with pytest.raises(raised, match=words):
        list(run_on_cluster(_refuse, [5], (kind,)))


def test_another_version_on_a_worker_is_told(
    lasting_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("dxa_monai.__version__", "9.9.9")
    list(run_on_cluster(_write, [0], (str(tmp_path),)))
    assert "for 9.9.9; its files may differ in their last bits" in caplog.text


def test_workers_of_several_threads_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _cluster(1, threads=2) as local:
        monkeypatch.setenv(ADDRESS_VARIABLE, local.scheduler_address)
        with pytest.raises(InputError, match=r"expected workers of one thread .*, got 2 threads"):
            list(run_on_cluster(_write, [0], (str(tmp_path),)))


@pytest.mark.parametrize("scheduler", ["tcp://127.0.0.1:1", "nowhere.json", ""])
def test_a_scheduler_that_is_not_there_is_told(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    monkeypatch.setenv(ADDRESS_VARIABLE, scheduler)
    with pytest.raises(InputError, match=r"cluster: expected .*, got '") as refused:
        list(run_on_cluster(_write, [0], ("",)))
    assert "\n" not in str(refused.value)


def test_without_dask_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="expected Dask for a cluster"):
        list(run_on_cluster(_write, [0], ("",)))
