from __future__ import annotations

import json
from pathlib import Path

import pytest

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.experiments.trainings import LOG_FILE, Training, run_trainings, train_one

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

CONFIG = {
    "imports": [
        "$from dxa_monai.errors import InputError",
        "$from dxa_monai.runs.folder import finish_run",
        "$import os",
    ],
    "output_dir": "",
    "number": 1,
    "run": [
        "$print('number', 12 // @number)",
        "$finish_run(@output_dir, number=@number, process=os.getpid())",
    ],
}


def _config(folder: Path) -> None:
    (folder / "train.json").write_text(json.dumps(CONFIG))


def _trainings(folder: Path, *numbers: int) -> list[Training]:
    files = (str(folder / "train.json"),)
    return [Training(files, {"number": number, "output_dir": str(folder / f"run{number}")}) for number in numbers]


def test_each_training_has_its_folder_log_and_settings_and_is_done_once(tmp_path: Path) -> None:
    _config(tmp_path)
    run_trainings(_trainings(tmp_path, 1, 2), workers=2, progress=False)
    before = {path: path.read_text() for path in tmp_path.rglob("finished.json")}
    assert sorted(json.loads(text)["number"] for text in before.values()) == [1, 2]
    assert "number 6" in (tmp_path / "run2" / LOG_FILE).read_text()
    run_trainings(_trainings(tmp_path, 1, 2, 3), workers=1, progress=False)
    assert all(path.read_text() == text for path, text in before.items())
    assert (tmp_path / "run3" / "finished.json").exists()


def test_a_failure_names_the_log(tmp_path: Path) -> None:
    _config(tmp_path)
    with pytest.raises(TrainingError, match=rf"run0/{LOG_FILE}: .*"):
        run_trainings(_trainings(tmp_path, 0), workers=1, progress=False)
    assert not (tmp_path / "run0" / "finished.json").exists()


def test_one_folder_for_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder of its own"):
        run_trainings(_trainings(tmp_path, 1, 1), workers=1, progress=False)


def test_a_finished_training_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    _config(tmp_path)
    (made,) = _trainings(tmp_path, 1)
    run_trainings([made], workers=1, progress=False)
    other = Training(made.config_files, {**made.settings, "number": 2})
    with pytest.raises(InputError, match=r"run1: expected a training with number = 2, got a finished one with 1"):
        run_trainings([other], workers=1, progress=False)
    (tmp_path / "train.json").write_text(json.dumps(CONFIG | {"number": 5}))
    with pytest.raises(InputError, match="config_sha256"):
        run_trainings(_trainings(tmp_path, 1), workers=1, progress=False)


@pytest.mark.parametrize("kind", [InputError, TrainingError])
def test_a_sentence_keeps_its_kind(kind: type[Exception], tmp_path: Path) -> None:
    broken = CONFIG | {"imports": [f"$from dxa_monai.errors import {kind.__name__}"]}
    raising = [f"$(_ for _ in ()).throw({kind.__name__}('path: expected this, got that.'))"]
    (tmp_path / "train.json").write_text(json.dumps(broken | {"run": raising}))
    with pytest.raises(kind, match=r"^path: expected this, got that\.$"):
        train_one(*_trainings(tmp_path, 1))


def test_an_object_is_handed_to_the_config_and_not_recorded(tmp_path: Path) -> None:
    heard: list[int] = []
    config = {"output_dir": "", "number": 1, "listener": None, "run": ["$@listener(@number)"]}
    (tmp_path / "train.json").write_text(json.dumps(config))
    train_one(*_trainings(tmp_path, 7), {"listener": heard.append})
    assert heard == [7]
    assert "listener" not in json.loads((tmp_path / "run7" / "settings.json").read_text())


def test_a_setting_may_be_none(tmp_path: Path) -> None:
    """MONAI leaves out what is None: the config would keep its own, and the record would say otherwise."""
    heard: list[int | None] = []
    config = {"output_dir": "", "number": 1, "term": {"weight": 1}, "listener": None}
    config["run"] = ["$@listener(@number)", "$@listener(@term#weight)"]
    (tmp_path / "train.json").write_text(json.dumps(config))
    settings = {"number": None, "term#weight": None, "output_dir": str(tmp_path / "run")}
    train_one(Training((str(tmp_path / "train.json"),), settings), {"listener": heard.append})
    assert heard == [None, None]
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["number"] is None
