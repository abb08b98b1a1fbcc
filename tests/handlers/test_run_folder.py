import json
from pathlib import Path

import pytest

from dxa_monai.errors import InputError
from dxa_monai.handlers.run_folder import begin_run, finish_run
from dxa_monai.scan.splits import read_split

SPLIT = {name: [{"subject_id": name, "scan_id": name}] for name in ("train", "validation", "test")}


def test_record_and_split_lie_in_the_folder(tmp_path: Path) -> None:
    begin_run(tmp_path / "run", {"arm": "no_dxa"}, SPLIT)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"arm": "no_dxa"}
    assert read_split(tmp_path / "run") == SPLIT


def test_interrupted_run_may_begin_again_and_a_finished_one_may_not(tmp_path: Path) -> None:
    begin_run(tmp_path, {"seed": 0}, SPLIT)
    begin_run(tmp_path, {"seed": 1}, SPLIT)
    finish_run(tmp_path, psnr_db=30.0)
    with pytest.raises(InputError, match=r"expected a folder without a finished run, got one with finished\.json"):
        begin_run(tmp_path, {"seed": 2}, SPLIT)
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 1}
    assert json.loads((tmp_path / "finished.json").read_text()) == {"psnr_db": 30.0}
