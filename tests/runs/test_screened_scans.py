"""Screening of a split: who remains stays where he was, copies are told."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.runs.folder import FINISHED
from dxa_monai.runs.screened_scans import DUPLICATES_NAME, screen_scans, screen_split
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.quarantine import QUARANTINE_NAME, BadScanPolicy
from dxa_monai.scan.source import ScanSource
from tests.scan.test_duplicates import noisy, person

QUARANTINE = BadScanPolicy("quarantine", 0.5)
Split = dict[str, list[dict[str, Any]]]


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def split(tmp_path: Path) -> Split:
    """Six people in three parts."""
    rows = []
    for number in range(6):
        path = tmp_path / "scans" / f"s{number}.npy"
        path.parent.mkdir(exist_ok=True)
        save_scan(RawScan(person(number)), path)
        rows.append({"subject_id": f"P{number}", "scan_id": f"s{number}", "scan": str(path), "mesh": f"{number}.ply"})
    return {"train": rows[:3], "validation": rows[3:5], "test": rows[5:]}


def damage(split: Split, part: str, place: int) -> str:
    path = split[part][place]["scan"]
    np.save(path, np.zeros((3, 3)))
    return str(path)


def test_whole_scans_all_stay(split: Split, tmp_path: Path) -> None:
    assert screen_split(split, tmp_path / "run", BadScanPolicy(), ScanSource()) == split
    assert not (tmp_path / "run").exists()


def test_bad_scans_leave_and_nobody_moves(split: Split, tmp_path: Path) -> None:
    paths = [damage(split, "train", 1), damage(split, "validation", 0)]
    kept = screen_split(split, tmp_path / "run", QUARANTINE, ScanSource())
    assert {part: [row["scan_id"] for row in rows] for part, rows in kept.items()} == {
        "train": ["s0", "s2"],
        "validation": ["s4"],
        "test": ["s5"],
    }
    listed = table(tmp_path / "run" / QUARANTINE_NAME)
    assert [(row["subject_id"], row["part"], row["path"]) for row in listed] == [
        ("P1", "train", paths[0]),
        ("P3", "validation", paths[1]),
    ]
    assert all("expected counts of shape" in row["reason"] for row in listed)
    assert screen_split(split, tmp_path / "again", QUARANTINE, ScanSource()) == kept


def test_stop_is_the_first_bad_scan(split: Split, tmp_path: Path) -> None:
    damage(split, "test", 0)
    first = damage(split, "validation", 1)
    with pytest.raises(InputError) as error:
        screen_split(split, tmp_path / "run", BadScanPolicy(), ScanSource())
    assert str(error.value).startswith(first)


def test_a_part_without_scans_is_told(split: Split, tmp_path: Path) -> None:
    damage(split, "test", 0)
    with pytest.raises(InputError, match="expected scans in test, got none"):
        screen_split(split, tmp_path / "run", QUARANTINE, ScanSource())


def test_a_part_may_stay_unseen(split: Split, tmp_path: Path) -> None:
    damage(split, "test", 0)
    damage(split, "train", 0)
    kept = screen_split(split, tmp_path / "run", QUARANTINE, ScanSource(), parts=("train", "validation"))
    assert kept == split | {"train": split["train"][1:]}
    assert len(table(tmp_path / "run" / QUARANTINE_NAME)) == 1


def test_bodies_are_looked_at_where_the_scan_is_good(split: Split, tmp_path: Path) -> None:
    damage(split, "train", 0)
    seen: list[str] = []

    def check(rows: Any) -> list[str]:
        seen.extend(row["scan_id"] for row in rows)
        return ["2.ply: no body." if row["mesh"] == "2.ply" else "" for row in rows]

    kept = screen_split(split, tmp_path / "run", QUARANTINE, ScanSource(), check_bodies=check)
    assert seen == ["s1", "s2", "s3", "s4", "s5"]
    assert [row["scan_id"] for row in kept["train"]] == ["s1"]
    assert table(tmp_path / "run" / QUARANTINE_NAME)[1]["path"] == "2.ply"


def test_copies_across_parts_are_listed_or_refused(
    split: Split, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_scan(RawScan(noisy(np.roll(person(0), (1, 1), (0, 1)), 20.0)), split["test"][0]["scan"])
    assert screen_split(split, tmp_path / "run", BadScanPolicy(), ScanSource()) == split
    (row,) = table(tmp_path / "run" / DUPLICATES_NAME)
    assert [row[name] for name in ("subject_id_1", "part_1", "subject_id_2", "part_2")] == ["P0", "train", "P5", "test"]
    assert "s0 (train) and s5 (test)" in caplog.text
    with pytest.raises(InputError, match=r"duplicates\.csv: .* got 1 pairs: s0 \(train\) and s5 \(test\)\."):
        screen_split(split, tmp_path / "error", BadScanPolicy(), ScanSource(), "error")
    screen_split(split, tmp_path / "ignore", BadScanPolicy(), ScanSource(), "ignore")
    assert not (tmp_path / "ignore").exists()


def test_two_scans_of_one_person_are_no_leak(split: Split, tmp_path: Path) -> None:
    save_scan(RawScan(person(0)), split["train"][1]["scan"])
    split["train"][1]["subject_id"] = "P0"
    screen_split(split, tmp_path / "run", BadScanPolicy(), ScanSource(), "error")
    assert not (tmp_path / "run").exists()


def test_copies_within_a_part_are_listed_and_no_error(split: Split, tmp_path: Path) -> None:
    save_scan(RawScan(person(0)), split["train"][1]["scan"])
    screen_split(split, tmp_path / "run", BadScanPolicy(), ScanSource(), "error")
    assert len(table(tmp_path / "run" / DUPLICATES_NAME)) == 1


def test_a_finished_run_is_left_alone(split: Split, tmp_path: Path) -> None:
    (tmp_path / FINISHED).write_text("{}")
    with pytest.raises(InputError, match="without a finished run"):
        screen_split(split, tmp_path, QUARANTINE, ScanSource())
    assert not (tmp_path / QUARANTINE_NAME).exists()


def test_inference_loses_only_the_bad_one(split: Split, tmp_path: Path) -> None:
    data = [{"image": row["scan"], "scan_id": row["scan_id"], "relative": row["scan_id"]} for row in split["train"]]
    damage(split, "train", 1)
    assert screen_scans(data, tmp_path / "run", BadScanPolicy(), ScanSource()) == data
    assert screen_scans(data, tmp_path / "run", QUARANTINE, ScanSource()) == [data[0], data[2]]
    assert [row["scan_id"] for row in table(tmp_path / "run" / QUARANTINE_NAME)] == ["s1"]
    with pytest.raises(InputError, match="at most 2 %"):
        screen_scans(data, tmp_path / "run", BadScanPolicy("quarantine"), ScanSource())
