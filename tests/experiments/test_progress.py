from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from dxa_monai.experiments.progress import part_done, trainings_bar


def _at(folder: Path, epoch: int, epochs: int = 4) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"max_epochs": epochs}))
    (folder / "metrics.csv").write_text("epoch,train/loss\n" + "".join(f"{each + 1},0.5\n" for each in range(epoch)))
    return folder


def test_a_training_is_as_far_as_its_epochs(tmp_path: Path) -> None:
    assert part_done(_at(tmp_path, 3)) == 0.75
    (tmp_path / "finished.json").write_text("{}")
    assert part_done(tmp_path) == 1.0


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"max_epochs": null}', '{"max_epochs": 0}'])
def test_a_training_that_tells_nothing_has_done_nothing(record: str, tmp_path: Path) -> None:
    assert part_done(tmp_path) == 0.0
    _at(tmp_path, 3)
    (tmp_path / "run.json").write_text(record)
    assert part_done(tmp_path) == 0.0


def test_the_bar_follows_trainings_that_go_on_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [_at(tmp_path / "one", 0), _at(tmp_path / "two", 4)]
    with trainings_bar(folders, every_s=0.01):
        _at(folders[0], 2)
        until = time.monotonic() + 20.0
        shown = ""
        while "| 1.5/2 " not in shown and time.monotonic() < until:
            time.sleep(0.02)
            shown += capsys.readouterr().err
        assert "trainings:  75%|" in shown
        _at(folders[0], 4)
    assert "trainings: 100%|" in capsys.readouterr().err


def test_no_bar_where_none_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with trainings_bar([tmp_path], shown=False):
        pass
    assert capsys.readouterr().err == ""
