"""Commands of many parts, from what a kill at each of their renames leaves: they end as one that was not killed.

pytestmark = pytest.mark.long

Everything they do is done in one process, so that every rename is met. What takes long has a stand-in: people who were
simulated before, trainings that count, pictures of a few bytes.
"""

from __future__ import annotations

import csv
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow.store.tracking.sqlalchemy_store  # noqa: F401 - here once, instead of in each process
import optuna  # noqa: F401
import pandas as pd
import pytest
import torch

from dxa_monai.evaluation.arms import ArmEvaluation, Findings
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm
from dxa_monai.experiments.comparison import Comparison
from dxa_monai.experiments.search import SettingsSearch
from dxa_monai.files import atomic_path
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.splits import split_by_subject
from dxa_monai.tracking.database import open_database
from tests.analysis.cohort import COHORT_SEED, cohort_people
from tests.evaluation.run_folders import run_folder
from tests.experiments import formula_training, recorded_training
from tests.killing import files_in, kept_at_every_rename, run_apart

TRACKED = "mlflow.db"
NOT_THE_SAME_TWICE = ("study.db", "training.log")
"""Times and numbers of trials are in these."""
_TRIALS = "trials.csv"
_OF_ONE_RUN = re.compile(rb"[0-9a-f]{32}|-\d{8}-\d{6}-[0-9a-f]{4}")
"""Ids and names of MLflow's runs."""


class _Count:
    """A task that tells who is evaluated."""

    name = "counting"
    reserved = ()
    figures = ()

    def complete(self, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: dict(settings) for name, settings in arms.items()}

    def compare(
        self, arms: Sequence[TrainedArm], people: HeldOutPeople, seed: int, skipped: Mapping[str, str]
    ) -> Findings:
        trained = [path.read_bytes().hex()[:8] for arm in arms for path in arm.checkpoints]
        table = pd.DataFrame({"network": trained, "scans": len(people.rows)})
        return Findings({"counted": table, "again": table}, {"scans": len(people.rows)})


def _picture(path: Path) -> Path:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"picture")
    return path


def _make_cohort(manifest: Path, folder: Path) -> None:
    generate_cohort(2, folder, COHORT_SEED, workers=1, progress=False)
    _picture(folder / "contact_sheet.png")


def _evaluate(manifest: Path, folder: Path) -> None:
    arms = {"a": manifest.parent / "run" / "best.pt"}
    ArmEvaluation(_Count(), manifest, folder, arms, part="train", tracking_uri=_uri(folder)).run()


def _compare(manifest: Path, folder: Path) -> None:
    config = recorded_training.write_config(manifest.parent)
    uri = _uri(folder)
    evaluation = ArmEvaluation(_Count(), manifest, folder / "evaluation", tracking_uri=uri)
    arms: dict[str, Any] = {"a": {}}
    Comparison(config, arms, evaluation, folder, {"manifest": str(manifest)}, seeds=[0], tracking_uri=uri).run()


def _search(manifest: Path, folder: Path) -> None:
    config = formula_training.write_config(manifest.parent)
    space = {"rate": {"low": 1e-4, "high": 1.0, "log": True}}
    SettingsSearch(config, space, manifest, folder, "score", trials=2, tracking_uri=_uri(folder)).run()


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "cohort": _make_cohort,
    "evaluation": _evaluate,
    "comparison": _compare,
    "search": _search,
}


def _uri(folder: Path) -> str:
    return f"sqlite:///{folder.parent / 'tracked' / TRACKED}"


def _in_this_process(
    task: Callable[..., Any], items: Sequence[Any], arguments: tuple[Any, ...], workers: int
) -> Iterator[Any]:
    for item in items:
        task(item, *arguments)
        yield item


@pytest.fixture(autouse=True)
def quickly_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "dxa_monai.experiments.search_results.search_figure", lambda table, path, *_, **__: _picture(path)
    )
    for module in ("experiments.trainings", "experiments.search", "phantom.cohort"):
        monkeypatch.setattr(f"dxa_monai.{module}.run_in_processes", _in_this_process)


@pytest.fixture
def manifest(bar_cohort: Path, tmp_path: Path) -> Path:
    """Of people with scans, beside the folder of a run that was trained on some of them."""
    shutil.copytree(bar_cohort.parent, tmp_path / "data")
    copied = tmp_path / "data" / bar_cohort.name
    torch.save({"a": torch.zeros(1)}, run_folder(copied.parent / "run", split_by_subject(read_manifest(copied))))
    return copied


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    """People who are at hand stand for their simulation."""
    people, faces = cohort_people()
    simulator = SimpleNamespace(model=SimpleNamespace(faces=faces), simulate_person=lambda index, *_: people[index])
    monkeypatch.setattr("dxa_monai.phantom.cohort._simulator", lambda *_: simulator)


def _lasting(folder: Path) -> dict[str, Any]:
    """What is to be the same; a search numbers its trials by how often it was killed."""
    found: dict[str, Any] = {
        name: _OF_ONE_RUN.sub(b"", content)
        for name, content in files_in(folder).items()
        if Path(name).name not in NOT_THE_SAME_TWICE and not name.startswith("trials/") and name != _TRIALS
    }
    if (folder / _TRIALS).exists():
        with open(folder / _TRIALS, newline="") as file:
            rows = list(csv.DictReader(file))
        found[_TRIALS] = sorted((row["rate"], row["score"]) for row in rows if row["state"] == "complete")
        assert {row["state"] for row in rows} <= {"complete", "cut off"}
    return found


def _assert_nothing_is_left(folder: Path) -> None:
    left = [path.name for path in folder.rglob("*") if ".partial" in path.name or path.name in ("resume", ".new")]
    assert left == []
    assert not list(folder.rglob("mlflow_run.json")) or (folder / "comparison.json").exists()


def _runs(work: Path) -> list[str]:
    """How MLflow's runs ended."""
    with closing(sqlite3.connect(work / "tracked" / TRACKED)) as connection:
        return [status for (status,) in connection.execute("SELECT status FROM runs")]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_at_any_rename_ends_as_one_that_was_not(
    name: str, manifest: Path, tmp_path: Path, simulated: None
) -> None:
    command, work = COMMANDS[name], tmp_path / "work"
    (work / "tracked").mkdir(parents=True)
    run_apart(open_database, work / "tracked" / TRACKED)
    states = kept_at_every_rename(work, tmp_path / "shelf", command, manifest, work / "out")
    whole, finished = _lasting(work / "out"), _runs(work).count("FINISHED")
    assert len(states) > 10
    for state in states:
        shutil.rmtree(work)
        shutil.move(state, work)
        run_apart(command, manifest, work / "out")
        assert _lasting(work / "out") == whole, state.name
        _assert_nothing_is_left(work / "out")
        statuses = _runs(work)
        assert statuses.count("FINISHED") == finished, state.name
        assert set(statuses) <= {"FINISHED", "KILLED"}, state.name
