"""Whom arms are judged on: the split of their runs, nobody whom a network has seen, scans read as in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation.held_out import TrainedArm, held_out_people, trained_arms
from dxa_monai.runs.folder import read_record
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import Split, split_by_subject, write_split
from tests.evaluation.run_folders import run_folder, split_in_order

REVERSED = CHANNELS[::-1]


@pytest.fixture
def split(bar_cohort: Path) -> Split:
    return split_by_subject(read_manifest(bar_cohort), seed=3)


def _arms(*checkpoints: Path) -> list[TrainedArm]:
    return [TrainedArm(f"arm{index}", (path,)) for index, path in enumerate(checkpoints)]


def _moved(split: Split, source: str, target: str) -> Split:
    """The split with one person in another part."""
    person = split[source][0]["subject_id"]
    moved = [row for row in split[source] if row["subject_id"] == person]
    kept = [row for row in split[source] if row["subject_id"] != person]
    return split | {source: kept, target: [*split[target], *moved]}


def test_split_and_source_come_from_the_run_folder(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    reader = {"channels": list(REVERSED), "pixel_spacing_mm": [13.0, 6.5], "spatial_shape": [150, 109]}
    path = run_folder(tmp_path / "run", split, split_seed=7, reader=reader)
    people = held_out_people(bar_cohort, _arms(path))
    assert (people.part, people.rows, people.training_rows) == ("test", split["test"], split["train"])
    assert people.source == ScanSource(REVERSED, (13.0, 6.5))
    assert people.split_seed == 7


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_every_part_of_the_runs_own_split_can_be_evaluated(
    part: str, split: Split, bar_cohort: Path, tmp_path: Path
) -> None:
    paths = [run_folder(tmp_path / name, split) for name in ("a", "b")]
    people = held_out_people(bar_cohort, _arms(*paths), part)
    assert (people.rows, people.training_rows) == (split[part], split["train"])


@pytest.mark.parametrize("as_file", [False, True])
def test_another_split_file_wins(as_file: bool, split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run", split)
    test = split["test"]
    fewer = split | {"test": [row for row in test if row["subject_id"] == test[0]["subject_id"]]}
    assert len(fewer["test"]) < len(test)
    (tmp_path / "own").mkdir()
    file = write_split(fewer, tmp_path / "own")
    people = held_out_people(bar_cohort, _arms(path), split_file=file if as_file else file.parent)
    assert people.rows == fewer["test"]


@pytest.mark.parametrize("seen_in", ["train", "validation"])
@pytest.mark.parametrize("as_seed", [False, True])
def test_a_person_whom_another_network_has_seen_is_refused(
    seen_in: str, as_seed: bool, split: Split, bar_cohort: Path, tmp_path: Path
) -> None:
    person = split["test"][0]["subject_id"]
    first = run_folder(tmp_path / "first", split)
    second = run_folder(tmp_path / "second", _moved(split, "test", seen_in))
    arms = [TrainedArm("arm", (first, second))] if as_seed else _arms(first, second)
    count = len({row["subject_id"] for row in split["test"]})
    with pytest.raises(
        InputError, match=rf"second: expected .* not seen the people of test, got subject '{person}'.*\(1 of {count} in"
    ):
        held_out_people(bar_cohort, arms)


def test_a_person_of_the_training_is_refused_in_another_split_file(
    split: Split, bar_cohort: Path, tmp_path: Path
) -> None:
    path = run_folder(tmp_path / "run", split)
    (tmp_path / "own").mkdir()
    file = write_split(_moved(split, "train", "test"), tmp_path / "own")
    with pytest.raises(InputError, match=rf"run: expected .* got subject '{split['train'][0]['subject_id']}' in its"):
        held_out_people(bar_cohort, _arms(path), split_file=file)


def test_networks_of_other_people_are_refused(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    """No test person was seen, but the baselines of one network's people do not belong beside the other network."""
    first = run_folder(tmp_path / "first", split)
    second = run_folder(tmp_path / "second", _moved(split, "train", "validation"))
    told = r"^arms: expected networks trained on the same people, got different training people in .*first and .*second"
    with pytest.raises(InputError, match=told):
        held_out_people(bar_cohort, _arms(first, second))


def test_people_in_another_order_are_the_same_people(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    first = run_folder(tmp_path / "first", split)
    second = run_folder(tmp_path / "second", split | {"train": split["train"][::-1]})
    assert held_out_people(bar_cohort, _arms(first, second)).training_rows == split["train"]


def test_a_network_without_split_is_told(
    split: Split, bar_cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, bare = run_folder(tmp_path / "first", split), run_folder(tmp_path / "bare", None)
    assert held_out_people(bar_cohort, _arms(first, bare)).rows == split["test"]
    told = f"{tmp_path / 'bare'}: no split.csv beside the network, so nobody can tell which people it has seen\n"
    assert capsys.readouterr().out == told


def test_without_any_split_nobody_is_held_out(bar_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split\.csv: expected a CSV file, got no such file"):
        held_out_people(bar_cohort, _arms(run_folder(tmp_path / "bare", None)))


def test_an_unknown_part_is_refused(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part: expected one of train, validation, test, got 'tset'"):
        held_out_people(bar_cohort, _arms(run_folder(tmp_path / "run", split)), "tset")


def test_a_split_of_another_manifest_is_refused(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    other = split | {"train": [{"subject_id": "X", "scan_id": "X-1"}]}
    with pytest.raises(InputError, match=r"expected a scan_id of the manifest, got 'X-1'"):
        held_out_people(bar_cohort, _arms(run_folder(tmp_path / "run", other)))


def _two_readers(split: Split, folder: Path) -> list[TrainedArm]:
    readers = ({"channels": None, "pixel_spacing_mm": [13.0, 6.5]}, {"channels": list(REVERSED)})
    return _arms(*(run_folder(folder / name, split, reader=each) for name, each in zip("ab", readers, strict=True)))


def test_runs_that_read_their_scans_in_different_ways_are_refused(
    split: Split, bar_cohort: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"b: expected scans that are read as in .*a .*got .*--reader#channels"):
        held_out_people(bar_cohort, _two_readers(split, tmp_path))
    with pytest.raises(InputError, match="--reader#pixel_spacing_mm"):
        held_out_people(bar_cohort, _two_readers(split, tmp_path), declared=ScanSource(REVERSED))


def test_a_declared_source_wins(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    declared = ScanSource(REVERSED, (13.0, 6.0))
    assert held_out_people(bar_cohort, _two_readers(split, tmp_path), declared=declared).source == declared


def test_what_is_not_declared_is_read_as_in_training(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    arms = _two_readers(split, tmp_path)[:1]
    assert held_out_people(bar_cohort, arms, declared=ScanSource(REVERSED)).source == ScanSource(REVERSED, (13.0, 6.5))


def test_without_record_scans_are_read_as_files_declare(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run", split)
    assert read_record(path) == {}
    assert held_out_people(bar_cohort, _arms(path)).source == ScanSource()
    assert held_out_people(bar_cohort, _arms(path)).split_seed == 0


@pytest.mark.parametrize("content", ['{"reader": {"cha', "[1, 2]", "3", '{"reader": {"colour": 1}}', '{"reader": 3}'])
def test_a_broken_record_is_told(content: str, split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run", split)
    (path.parent / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json: expected"):
        held_out_people(bar_cohort, _arms(path))


@pytest.mark.parametrize("given", ["a.pt", Path("a.pt"), ["a.pt"]])
def test_one_checkpoint_is_one_seed(given: Any) -> None:
    assert trained_arms({"x": given}) == [TrainedArm("x", (Path("a.pt"),))]


def test_arms_keep_their_order_and_their_seeds() -> None:
    arms = trained_arms({"z": ["1.pt", "2.pt"], "a": "3.pt"})
    assert [(arm.name, [str(path) for path in arm.checkpoints]) for arm in arms] == [
        ("z", ["1.pt", "2.pt"]),
        ("a", ["3.pt"]),
    ]


@pytest.mark.parametrize("arms", [{}, {"a": []}, {"a": "1.pt", "b": []}])
def test_no_arm_is_refused(arms: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="arms: expected at least one arm and its checkpoint, got none"):
        trained_arms(arms)


def test_the_name_of_a_baseline_is_refused() -> None:
    with pytest.raises(InputError, match="expected names of trained arms, got 'training_mean', which names a baseline"):
        trained_arms({"a": "1.pt", "training_mean": "2.pt"}, ("scan", "training_mean"))


def test_label_tells_the_variant() -> None:
    assert [TrainedArm("a", (), variant).label for variant in ("", "frozen")] == ["a", "a frozen"]


def test_split_in_order_takes_people_whole(bar_cohort: Path) -> None:
    split = split_in_order(read_manifest(bar_cohort), 4, 2)
    assert [len({row["subject_id"] for row in rows}) for rows in split.values()] == [4, 2, 14]
