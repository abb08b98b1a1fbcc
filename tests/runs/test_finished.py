"""A finished run that is to be resumed ends with 0; what a kill at its very end left is tidied up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monai.bundle import run

from dxa_monai.errors import InputError
from dxa_monai.runs.finished import FINISHED, leave_if_finished, refuse_finished
from dxa_monai.runs.state_files import FOLDER, write_state


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """As a process leaves it that is killed after ``finished.json`` and before its states are gone."""
    write_state(tmp_path, 3, {"a": 1})
    (tmp_path / ".metrics.abcdefgh.partial.csv").touch()
    (tmp_path / FINISHED).write_text("{}")
    return tmp_path


def test_a_finished_run_leaves_with_zero_and_is_tidied(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        leave_if_finished(finished)
    assert left.value.code == 0
    assert "this run is finished" in capsys.readouterr().out
    assert [path.name for path in finished.iterdir()] == [FINISHED]
    with pytest.raises(InputError, match="expected a folder without a finished run"):
        refuse_finished(finished)


def test_an_unfinished_run_is_left_alone(tmp_path: Path) -> None:
    write_state(tmp_path, 3, {"a": 1})
    leave_if_finished(tmp_path)
    assert (tmp_path / FOLDER).exists()


def test_a_command_with_resume_ends_before_anything_is_made(
    finished: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.excepthook", None)
    config = {
        "imports": ["$from dxa_monai.bundling.command import begin_command"],
        "arm": "a",
        "output_dir": f"$'{finished}'",
        "resume": True,
        "initialize": ["$begin_command()", "$1 / 0"],
        "run": [],
    }
    (tmp_path / "train.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as left:
        run(config_file=str(tmp_path / "train.json"))
    assert left.value.code == 0
