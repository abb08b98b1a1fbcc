"""The search over a training whose validation values are a formula of its settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.experiments.search import SettingsSearch
from tests.experiments.formula_training import EPOCHS, final_value, write_config
from tests.runs.test_ownership import owned_by_another_process

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

SPACE = {"rate": {"low": 1e-4, "high": 1.0, "log": True}, "shape": {"choices": ["round", "square"]}}


def _in_this_process(
    task: Callable[..., None], items: Sequence[int], arguments: tuple[Any, ...], workers: int
) -> Iterator[int]:
    """As :func:`dxa_monai.parallel.worker_pool.run_in_processes`, without the seconds that a process takes to start."""
    for item in items:
        task(item, *arguments)
        yield item


@pytest.fixture(autouse=True)
def one_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "slow" not in request.keywords:
        monkeypatch.setattr("dxa_monai.experiments.search.run_in_processes", _in_this_process)


@pytest.fixture
def search(tmp_path: Path, bar_cohort: Path) -> Any:
    """``search(folder=..., **settings)``: the table of a search."""

    def run(folder: str = "out", **settings: Any) -> pd.DataFrame:
        given = {"config_files": write_config(tmp_path), "space": SPACE, "manifest": bar_cohort, "metric": "score"}
        files = SettingsSearch(**(given | {"output_dir": tmp_path / folder, "trials": 4} | settings)).run()
        return pd.read_csv(files["trials"])

    return run


def test_every_trial_is_told_and_the_best_one_is_the_best(search: Any, tmp_path: Path) -> None:
    table = search(trials=6)
    assert list(table["trial"]) == list(range(6))
    assert set(table["state"]) == {"complete"}
    assert table["rate"].between(1e-4, 1.0).all()
    oracle = [final_value(rate, shape) for rate, shape in zip(table["rate"], table["shape"], strict=True)]
    np.testing.assert_allclose(table["score"], oracle, atol=1e-6)
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    assert final_value(**best) == pytest.approx(max(oracle), abs=1e-6)
    for trial in range(6):
        settings = json.loads((tmp_path / "out" / "trials" / f"{trial:04d}" / "settings.json").read_text())
        assert settings["rate"] == pytest.approx(table.loc[trial, "rate"], rel=1e-6)
        assert settings["searched"] == {"rate": settings["rate"], "shape": settings["shape"]}
    assert imread(tmp_path / "out" / "search.png")[..., :3].std() > 0.02


def test_a_minimum_is_searched_if_asked_for(search: Any, tmp_path: Path) -> None:
    table = search(direction="minimize")
    best = json.loads((tmp_path / "out" / "best.json").read_text())
    # the value of a training that gets worse by being trained is that of its first epoch
    assert table["score"].min() == pytest.approx(final_value(**best) - 0.01 * (EPOCHS - 1), abs=1e-6)


def test_a_search_that_goes_on_equals_one_that_was_never_interrupted(search: Any) -> None:
    whole = search("whole", trials=12)
    search("parts", trials=5)
    parts = search("parts", trials=12)
    unlike = ["seconds"]
    pd.testing.assert_frame_equal(parts.drop(columns=unlike), whole.drop(columns=unlike))
    other = search("other", trials=5, seed=1)
    assert (other["rate"] != whole["rate"][:5]).all()
    assert whole["rate"].nunique() == 12


def test_a_finished_search_trains_nothing_again(search: Any, tmp_path: Path) -> None:
    search()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "trials").rglob("*")}
    search()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "trials").rglob("*")} == before


def _assert_tried_again(table: pd.DataFrame, unharmed: pd.DataFrame) -> None:
    """Trial 2 was cut off; another one has its settings, and all others are those of an unharmed search."""
    assert table.loc[2, "state"] == "cut off"
    (again,) = table.index[table["retry_of"] == 2]
    assert (table.loc[again, "rate"], table.loc[again, "shape"]) == (table.loc[2, "rate"], table.loc[2, "shape"])
    # a trial beside it may have been cut off with it
    done = table[table["state"] != "cut off"]
    assert set(done["state"]) == {"complete"}
    assert sorted(done["rate"]) == sorted(unharmed["rate"])


def test_an_interrupted_trial_is_tried_again(search: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(overrides={"fault": "interrupted"})
    _assert_tried_again(search(overrides={"fault": "interrupted"}), search("unharmed"))


@pytest.mark.slow
def test_processes_share_the_work_and_the_trial_of_a_killed_one_is_tried_again(search: Any) -> None:
    with pytest.raises(RuntimeError, match="a worker process ended by itself"):
        search(overrides={"fault": "killed"}, workers=2, trials=6)
    # settings that are drawn before any result is looked at do not depend on who draws them
    _assert_tried_again(search(overrides={"fault": "killed"}, workers=2, trials=6), search("unharmed", trials=6))


def test_a_hopeless_trial_ends_early(search: Any, tmp_path: Path) -> None:
    table = search(trials=12, pruning={"startup_trials": 2, "from_epoch": 2})
    pruned, complete = table[table["state"] == "pruned"], table[table["state"] == "complete"]
    assert len(pruned) >= 1
    assert set(pruned["epochs"]) == {2}
    assert set(complete["epochs"]) == {EPOCHS}
    # the median rule: a pruned trial lies below the median, at its epoch, of those that were complete before it
    for _, trial in pruned.iterrows():
        earlier = complete[complete["trial"] < trial["trial"]]["score"] - 0.01 * (EPOCHS - 2)
        assert trial["score"] < earlier.median()
    folder = tmp_path / "out" / "trials" / f"{pruned['trial'].iloc[0]:04d}"
    assert json.loads((folder / "finished.json").read_text()) == {"epochs": 2}


def test_a_failed_trial_says_why_and_the_search_goes_on(search: Any) -> None:
    table = search(trials=8, overrides={"fault": "nan_above"})
    failed = table["rate"] > 0.02
    assert failed.any()
    assert not failed.all()
    assert list(table["state"] == "failed") == list(failed)
    assert table.loc[failed, "reason"].str.contains("expected a finite loss, got nan").all()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("nan", "expected a trial that succeeds, got 2 .* finite loss"),
        ("silent", "expected a finite validation metric"),
    ],
)
def test_a_search_without_any_success_ends_in_a_sentence(search: Any, fault: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        search(trials=2, overrides={"fault": fault})


def test_a_users_mistake_ends_the_search_at_once_and_costs_no_trial(search: Any, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="file: expected one that is there"):
            search(overrides={"fault": "refused"})
    states = pd.read_csv(tmp_path / "out" / "trials.csv")["state"]
    assert list(states) == ["cut off", "waiting"]


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"space": {"rate": {"low": 1e-4, "high": 1e-1}}}, "space"),
        ({"metric": "other"}, "metric"),
        ({"direction": "minimize"}, "direction"),
        ({"overrides": {"fault": "nan"}}, "overrides"),
        ({"seed": 1}, "seed"),
        ({"split_seed": 1}, "split_seed"),
    ],
)
def test_another_search_is_refused(search: Any, changed: dict[str, Any], name: str) -> None:
    search(trials=1)
    with pytest.raises(InputError, match=rf"out: expected a study with {name} = .*choose another output_dir"):
        search(trials=2, **changed)


def test_a_search_on_other_data_or_another_config_is_refused(search: Any, bar_cohort: Path, tmp_path: Path) -> None:
    search(trials=1)
    fewer = bar_cohort.with_name("fewer.csv")  # beside the scans, since paths may not leave the folder
    fewer.write_text("".join(bar_cohort.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="dataset_hash"):
        search(trials=2, manifest=fewer)
    overlay = tmp_path / "overlay.json"
    overlay.write_text('{"rate": 0.1}')
    with pytest.raises(InputError, match="config_sha256"):
        search(trials=2, config_files=[*write_config(tmp_path), str(overlay)])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"direction": "up"}, "direction: expected one of maximize, minimize, got 'up'"),
        ({"trials": 0}, "trials: expected at least 1, got 0"),
        (
            {"pruning": {"from": 3}},
            "pruning: expected whole numbers from 0 for from_epoch, startup_trials, got from = 3",
        ),
        ({"pruning": {"from_epoch": 1.5}}, "got from_epoch = 1.5"),
        ({"space": {"rat": {"low": 1, "high": 2}}}, "rat: expected a setting of"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_written(
    search: Any, settings: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        search(**settings)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_no_study_and_a_second_command_are_refused(search: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with owned_by_another_process(folder), pytest.raises(InputError, match="expected a folder that no other command"):
        search()
    (folder / "study.db").write_text("this is no database, " * 100)
    with pytest.raises(InputError, match=r"study\.db: expected the study of a search"):
        search()
