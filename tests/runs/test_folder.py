import json
from pathlib import Path

import pytest
from monai.bundle import run

from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.runs.folder import begin_run, finish_run, read_record
from dxa_monai.runs.state_files import state_files, write_state
from dxa_monai.scan.splits import read_split

SPLIT = {name: [{"subject_id": name, "scan_id": name}] for name in ("train", "validation", "test")}


def test_record_and_split_lie_in_the_folder(tmp_path: Path) -> None:
    begin_run(tmp_path / "run", {"arm": "no_dxa"}, SPLIT)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"arm": "no_dxa"}
    assert read_split(tmp_path / "run") == SPLIT


def test_a_run_that_left_no_state_may_begin_again_and_a_finished_one_may_not(tmp_path: Path) -> None:
    begin_run(tmp_path, {"seed": 0}, SPLIT)
    begin_run(tmp_path, {"seed": 1}, SPLIT)
    finish_run(tmp_path, psnr_db=30.0)
    with pytest.raises(InputError, match=r"expected a folder without a finished run, got one with finished\.json"):
        begin_run(tmp_path, {"seed": 2}, SPLIT)
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 1}
    assert json.loads((tmp_path / "finished.json").read_text()) == {"psnr_db": 30.0}


def test_the_whole_config_lies_in_the_folder_and_does_the_same_again(tmp_path: Path) -> None:
    begin = "$begin_run(@output_dir, {'double': 2 * @number}, {'train': [], 'validation': [], 'test': []})"
    imports = ["$from dxa_monai.runs.folder import begin_run"]
    config = {
        "imports": imports,
        "output_dir": "",
        "number": 1,
        "tracking_uri": "http://anna:s3cret@host",
        "run": [begin],
    }
    (tmp_path / "train.json").write_text(json.dumps(config))
    (tmp_path / "overlay.json").write_text(json.dumps({"number": 2}))
    files = [str(tmp_path / name) for name in ("train.json", "overlay.json")]
    run(config_file=files, output_dir=str(tmp_path / "first"), number=3)
    written = tmp_path / "first" / "config.json"
    assert json.loads(written.read_text())["number"] == 3
    assert "s3cret" not in written.read_text()
    run(config_file=str(written), output_dir=str(tmp_path / "again"))
    assert json.loads((tmp_path / "again" / "run.json").read_text()) == {"double": 6}


@pytest.mark.parametrize(
    "record",
    ["[]", "[" * 100_000, '[["seed", 1]]', '{"reader": ["a"]}', '{"split_seed": "x"}', '{"training_pairs": "many"}'],
    ids=str.__len__,
)
def test_a_record_of_another_kind_is_told_by_whoever_needs_it(record: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(record)
    with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: expected the record of a run, got"):
        read_record(tmp_path / "best.pt")


def test_a_run_whose_record_is_damaged_is_not_gone_on_with(tmp_path: Path) -> None:
    begin_run(tmp_path, {"seed": 0}, SPLIT)
    write_state(tmp_path, 1, {})
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=rf"^{tmp_path / 'run.json'}: expected the record of a run, got"):
        begin_run(tmp_path, {"seed": 0}, SPLIT, resume=True)


def test_without_a_config_there_is_none(tmp_path: Path) -> None:
    begin_run(tmp_path, {}, SPLIT)
    assert not (tmp_path / "config.json").exists()


CONFIG = {
    "imports": ["$from dxa_monai.runs.folder import begin_run"],
    "output_dir": "",
    "resume": False,
    "num_workers": 0,
    "loss_def": {"_target_": "torch.nn.L1Loss", "reduction": "mean"},
    "run": ["$begin_run(@output_dir, {'seed': 0}, {'train': [], 'validation': [], 'test': []}, @resume)"],
}


def _interrupted(folder: Path) -> list[str]:
    """Config file of a run that was interrupted in ``folder / "run"``."""
    (folder / "train.json").write_text(json.dumps(CONFIG))
    files = [str(folder / "train.json")]
    run(config_file=files, output_dir=str(folder / "run"))
    write_state(folder / "run", 7, {})
    return files


def test_an_interrupted_run_is_only_gone_on_with(tmp_path: Path) -> None:
    files = _interrupted(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        run(config_file=files, output_dir=str(tmp_path / "run"))
    assert "run: expected a folder without an interrupted run, got one" in str(describe_user_error(caught.value))
    run(config_file=files, output_dir=str(tmp_path / "run"), resume=True, num_workers=3)
    finish_run(tmp_path / "run")
    assert not state_files(tmp_path / "run")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"loss_def#reduction": "sum"}, "config.json: expected to go on with loss_def#reduction mean, got sum"),
        ({"patience": 3}, "config.json: expected to go on with patience None, got 3"),
    ],
)
def test_it_is_not_gone_on_with_in_another_way(changed: dict[str, object], words: str, tmp_path: Path) -> None:
    files = _interrupted(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        run(config_file=files, output_dir=str(tmp_path / "run"), resume=True, **changed)
    assert words in str(describe_user_error(caught.value))


def test_it_is_not_gone_on_with_on_other_data(tmp_path: Path) -> None:
    record = {"seed": 0, "dataset_hash": "abc", "git_revision": "1"}
    begin_run(tmp_path, record, SPLIT)
    write_state(tmp_path, 7, {})
    begin_run(tmp_path, record | {"git_revision": "2"}, SPLIT, resume=True)
    with pytest.raises(InputError, match=r"run\.json: expected to go on with dataset_hash abc, got def"):
        begin_run(tmp_path, record | {"dataset_hash": "def"}, SPLIT, resume=True)
