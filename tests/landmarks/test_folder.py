"""What a folder has to hold, and what is told where it does not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.errors import InputError
from dxa_monai.landmarks.folder import LandmarkFolder
from tests.landmarks.conftest import NAMES, session_of

NOTE = ".made_by_dxa_monai"


def change(path: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_scans_are_listed_those_that_ask_for_a_look_first(run: Path) -> None:
    def flag(report: dict[str, Any]) -> None:
        report["flags"].append({"name": "metal", "sentence": "There is metal.", "fatal": True})

    assert LandmarkFolder(run).scan_ids == [NAMES[1], NAMES[0]]  # flagged arms_touch
    change(run / f"{NAMES[0]}.json", flag)
    folder = LandmarkFolder(run)
    assert folder.scan_ids[0] == "A01"
    assert "metal" in folder.listing()[0]["flags"]
    (run / f"{NAMES[1]}.json").unlink()
    folder = LandmarkFolder(run)
    assert folder.scan_ids[0] == NAMES[1]
    assert folder.listing()[0] == {"scan_id": NAMES[1], "flags": ["no report"], "fatal": True, "by_hand": False}
    with pytest.raises(InputError, match="expected the report that inference writes, got none; run inference again"):
        folder.session(0)
    with pytest.raises(InputError, match="scan: expected a number below 2, got 2"):
        folder.session(2)


def test_a_study_that_is_moved_as_a_whole_still_works(run: Path, tmp_path: Path) -> None:
    shutil.move(run.parent, tmp_path / "elsewhere")
    assert session_of(tmp_path / "elsewhere" / "run").state()["scan_id"] == "A01"
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "run")
    assert session_of(tmp_path / "link").state()["scan_id"] == "A01"


def test_other_folders_are_refused_in_one_sentence(tmp_path: Path) -> None:
    for make, words in (
        (lambda path: None, "got no such folder"),
        (lambda path: path.mkdir(), "got an empty folder"),
        (lambda path: (path / "notes.txt").write_text("mine"), "got one that does not say how its scans were read"),
        (lambda path: (path / NOTE).write_text('{"made": ["A01.json"]}'), "does not say how its scans were read"),
        (lambda path: (path / NOTE).write_text('{"made": 3}'), "what commands have made in this folder, got another"),
        (lambda path: (shutil.rmtree(path), path.write_text("")), "got a file"),
    ):
        make(tmp_path / "folder")
        with pytest.raises(InputError, match=rf"{tmp_path}/folder.*: expected .*{words}"):
            LandmarkFolder(tmp_path / "folder")


def test_raw_scans_that_were_moved_are_told(run: Path) -> None:
    scans = run.parent / "study" / "scans"
    (scans / "0.npy").rename(scans / "other.npy")
    with pytest.raises(
        InputError, match=r"0\.npy: expected the raw scan that A01\.json was made from, got no such file"
    ):
        session_of(run)
    assert session_of(run, NAMES[1]).state()["scan_id"] == NAMES[1]
    scans.rename(scans.with_name("elsewhere"))
    with pytest.raises(InputError, match=r"npy: expected the raw scan of .*, got no such file; run inference into"):
        LandmarkFolder(run)


def test_a_scanner_that_is_gone_is_told(run: Path) -> None:
    (run / "scanner_model.json").unlink()
    with pytest.raises(InputError, match=r"scanner_model\.json: expected a scanner model, got no such file"):
        LandmarkFolder(run)


def _another_scan(run: Path) -> None:
    scans = run.parent / "study" / "scans"
    shutil.copy(scans / "1.npy", scans / "0.npy")


def _another_scanner(run: Path) -> None:
    change(run / "scanner_model.json", lambda model: model.update(photons_per_pixel=12345.0))


def _other_options(run: Path) -> None:
    change(run / NOTE, lambda note: note["analyses"]["options"][0].update(method="q_scan"))


@pytest.mark.parametrize("edit", [_another_scan, _another_scanner, _other_options])
def test_a_report_that_was_made_from_something_else_is_refused(edit: Callable[[Path], None], run: Path) -> None:
    edit(run)
    with pytest.raises(
        InputError, match=r"A01\.json: expected the report of .*0\.npy with the scanner and options that"
    ):
        session_of(run)


def test_a_report_of_another_version_is_told(run: Path) -> None:
    def of_another(report: dict[str, Any]) -> None:
        report["inputs_sha256"] = "0" * 64
        report["versions"]["dxa_monai"] = "0.1.0"

    change(run / "A01.json", of_another)
    with pytest.raises(InputError, match=r"A01\.json: expected a report of version .*, got one of 0\.1\.0"):
        session_of(run)


@pytest.mark.parametrize(
    "edit",
    [
        lambda entry: entry.update(scans=[]),
        lambda entry: entry.update(scans={"A01": ["x"]}),
        lambda entry: entry.update(scans={"A01": [7, 0]}),
        lambda entry: entry.update(scans={"A01": ["x.npy", 1]}),
        lambda entry: entry.update(scans={"A01": ["x.npy", True]}),
        lambda entry: entry.update(options={}),
        lambda entry: entry["options"][0].pop("method"),
        lambda entry: entry["options"][0].update(method="magic"),
        lambda entry: entry["options"][0].update(predicted="no"),
        lambda entry: entry["options"][0].update(bone_settings={"smoothing_mm": "7"}),
        lambda entry: entry["options"][0].update(bone_settings={"unknown": 7}),
        lambda entry: entry["options"][0].update(source={"channels": ["air_low"]}),
        lambda entry: entry["options"][0].update(source={"reader": 1}),
        lambda entry: entry["options"][0].update(wheel={"bone": [["cheese", 1.0]]}),
        lambda entry: entry["options"][0].update(scanner=5),
        lambda entry: entry["options"][0].update(scanner={"file": 5}),
        lambda entry: entry["options"][0].update(scanner={"values": {"beam": 1}}),
        lambda entry: entry["options"][0].update(polygons=5),
        lambda entry: entry["options"][0].update(landmarks=["x"]),
        lambda entry: entry["options"][0].update(device="magic"),
    ],
)
def test_a_note_that_inference_did_not_write_is_refused(edit: Callable[[dict[str, Any]], Any], run: Path) -> None:
    change(run / NOTE, lambda note: edit(note["analyses"]))
    with pytest.raises(InputError, match=r"\.made_by_dxa_monai: .*expected|does not say how its scans were read"):
        LandmarkFolder(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scan_id", "B"),
        ("scan", 5),
        ("flags", [{"name": "metal"}]),
        ("flags", 5),
        ("regions", {"total": {"fat_g": "much"}}),
        ("regions", []),
        ("landmarks", []),
        ("landmarks_given", "no"),
        ("age_years", "old"),
        ("indices", [1]),
    ],
)
def test_a_report_that_inference_did_not_write_is_none(key: str, value: Any, run: Path) -> None:
    change(run / "A01.json", lambda report: report.update({key: value}))
    assert {each["scan_id"]: each["flags"] for each in LandmarkFolder(run).listing()}["A01"] == ["no report"]


def test_what_a_note_names_is_read_as_a_scan_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("secret")
    change(run / NOTE, lambda note: note["analyses"]["scans"].update({"A01": ["../../diary.txt", 0]}))
    with pytest.raises(InputError, match=r"diary\.txt: expected ") as told:
        session_of(run)
    assert "secret" not in str(told.value)


def test_a_name_that_leads_out_of_the_folder_is_refused(run: Path) -> None:
    change(run / NOTE, lambda note: note["analyses"]["scans"].update({"../../A01": ["../study/scans/0.npy", 0]}))
    with pytest.raises(InputError, match="expected a path inside"):
        LandmarkFolder(run)
