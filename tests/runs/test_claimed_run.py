"""Which folders a training can have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.runs.folder import FILES, begin_run, claim_run
from dxa_monai.runs.outputs import NOTE_NAME

SPLIT: dict[str, list[dict[str, str]]] = {"train": [], "validation": [], "test": []}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_somebody_else_ends_the_training_before_it_begins(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{name}: expected no such file|expected a folder without a finished run"):
        begin_run(tmp_path, {"arm": "a"}, SPLIT)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "{}"


def test_a_run_of_before_there_were_notes_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"dataset_hash": "", "git_revision": "", "arm": "a"}))
    (tmp_path / "metrics.csv").write_text("epoch\n")
    claim_run(tmp_path)
    begin_run(tmp_path, {"arm": "a"}, SPLIT)
    assert (tmp_path / NOTE_NAME).is_file()
    assert json.loads((tmp_path / "run.json").read_text()) == {"arm": "a"}
