"""The page's numbers are those that inference writes with the saved landmarks, and nothing else is written."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.scan.regions import Region
from dxa_monai.scan.source import ScanSource
from tests.landmarks.conftest import NAMES, contents, session_of

TOLD = ("regions", "flags", "indices", "landmarks_given")


def report(run: Path, scan_id: str = NAMES[0]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / f"{scan_id}.json").read_text())
    return read


def moved(points: dict[str, list[float]], name: str = "left_neck", rows: float = 2.34567) -> dict[str, list[float]]:
    return points | {name: [points[name][0] + rows, points[name][1]]}


def test_points_that_nobody_has_moved_have_the_numbers_of_the_report(run: Path) -> None:
    for scan_id in NAMES:
        state = session_of(run, scan_id).state()
        assert state["points"] == state["found"] == state["saved"] == report(run, scan_id)["landmarks"]
        for name in TOLD:
            assert state["now"][name] == state["before"][name] == report(run, scan_id)[name]


def _plain(folder: Path, analysed: Path) -> dict[str, Any]:
    return {}


def _each_by_itself(folder: Path, analysed: Path) -> dict[str, Any]:
    return {"calibration": "scan", "method": "q_scan"}


def _everything_given(folder: Path, analysed: Path) -> dict[str, Any]:
    path = folder / "polygons.json"
    square = [[60, 30], [60, 70], [90, 70], [90, 30]]
    path.write_text(json.dumps({"version": 1, "unit": "pixel", "polygons": {"belly": square}}))
    shutil.copy(analysed / "run" / "scanner_model.json", folder / "model.json")
    zero = report(analysed / "run")["zero"]["counts"]
    source = ScanSource(pixel_spacing_mm=(13.0, 6.1), zero_counts=zero)
    return {"scanner_model": folder / "model.json", "polygons_file": path, "source": source, "calibration": "nominal"}


def _nominal(folder: Path, analysed: Path) -> dict[str, Any]:
    return {"calibration": "nominal", "predicted": True}


@pytest.mark.parametrize("options", [_plain, _each_by_itself, _everything_given, _nominal])
def test_numbers_are_those_that_inference_writes_with_the_saved_landmarks(
    options: Any, scans: Path, analysed: Path, tmp_path: Path
) -> None:
    given, run = options(tmp_path, analysed), tmp_path / "run"
    rows = collect_rows(scans / "manifest.csv")
    analyse_scans(rows, run, progress=False, **given)
    session = session_of(run)
    before = session.state()["now"]
    points = moved(moved(session.state()["points"]), "right_hip", -1.5)
    numbers = session.numbers(points)
    assert numbers["regions"]["head"] != before["regions"]["head"]
    assert numbers["regions"]["right_leg"] != before["regions"]["right_leg"]
    assert session.save(points, session.state()["version"])["path"] == str(run / "landmarks" / "A01.json")
    analyse_scans(rows, run, progress=False, landmarks_dir=run / "landmarks", **given)
    for name in TOLD:
        assert report(run)[name] == numbers[name]
    # and the report that was made with them is where the next session begins
    again = session_of(run).state()
    assert again["points"] == again["saved"] == report(run)["landmarks"] != again["found"]
    assert again["before"] == {name: numbers[name] for name in TOLD}


def test_landmarks_moved_back_are_those_found(run: Path) -> None:
    session = session_of(run)
    state = session.state()
    session.save(moved(state["points"]), state["version"])
    session.save(state["points"], session.state()["version"])
    assert session.numbers(state["found"])["landmarks_given"] is False
    rows = collect_rows(run.parent / "study" / "manifest.csv")
    analyse_scans(rows, run, progress=False)  # does not ask for --landmarks
    assert report(run)["landmarks_given"] is False


def test_the_regions_are_those_between_the_points(run: Path) -> None:
    session = session_of(run)
    state = session.state()
    codes = [
        np.frombuffer(base64.b64decode(each["region_map"]), np.uint8).reshape(state["image_shape"])
        for each in (state["now"], session.numbers(moved(state["points"])))
    ]
    heads = [int((each == Region.HEAD).sum()) for each in codes]
    assert heads[1] > heads[0] > 100
    assert {name: len(base64.b64decode(picture)) for name, picture in state["pictures"].items()} == {
        name: 150 * 109 for name in ("low energy", "soft tissue", "bone mineral")
    }


def test_saving_writes_the_landmarks_of_one_scan_and_nothing_else(run: Path) -> None:
    before = contents(run.parent)
    session = session_of(run)
    state = session.state()
    told = session.save(moved(state["points"]), state["version"])
    after = contents(run.parent)
    assert {name for name in after if before.get(name) != after[name]} == {"run/landmarks/A01.json"}
    assert before.keys() == after.keys()
    assert session.state()["version"] == told["version"] != state["version"]


def test_landmarks_that_are_not_there_yet_are_claimed(run: Path) -> None:
    shutil.rmtree(run / "landmarks")
    session = session_of(run)
    state = session.state()
    assert (state["version"], state["saved"]) == ("", None)
    session.save(moved(state["points"]), "")
    assert session.state()["points"] == session.state()["saved"] != state["points"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"crotch": [500.0, 50.0]}, "A01: expected crotch inside the image"),
        ({"crotch": [float("nan"), 50.0]}, "expected finite numbers for crotch"),
        ({"crotch": "here"}, r"expected crotch as \[row, column\]"),
        ({"nose": [3.0, 4.0]}, "expected only known landmarks, got 'nose'"),
        ({"right_spine_lower": [75.0, 70.0], "left_spine_lower": [75.0, 40.0]}, "A01: expected right_spine_lower at a"),
    ],
)
def test_impossible_points_are_told_and_not_saved(change: dict[str, Any], words: str, run: Path) -> None:
    session = session_of(run)
    state, before = session.state(), contents(run)
    points = state["points"] | change
    with pytest.raises(InputError, match=words):
        session.numbers(points)
    with pytest.raises(InputError, match=words):
        session.save(points, state["version"])
    assert contents(run) == before


def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(run: Path) -> None:
    session = session_of(run)
    state = session.state()
    path = run / "landmarks" / "A01.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(
        InputError, match=r"A01\.json: expected the landmarks that the page was opened with, got others"
    ):
        session.save(moved(state["points"]), state["version"])


def test_a_folder_that_a_command_is_writing_is_not_written(run: Path) -> None:
    session = session_of(run)
    state, before = session.state(), contents(run)
    code = "import sys; from dxa_monai.runs.ownership import own_folder; own_folder(sys.argv[1]); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="expected a folder that no other command is writing"):
            session.save(moved(state["points"]), state["version"])
        other.communicate(b"\n")
    assert contents(run) == before
    session.save(moved(state["points"]), state["version"])


def test_faulty_landmarks_are_told_and_can_be_replaced(run: Path) -> None:
    path = run / "landmarks" / "A01.json"
    path.write_text("{")
    session = session_of(run)
    state = session.state()
    assert "A01.json: expected JSON text" in state["remark"]
    assert state["points"] == state["found"]
    session.save(moved(state["points"]), state["version"])
    assert session.state()["remark"] == ""


def test_landmarks_of_another_folder_are_where_a_session_begins(run: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    shutil.copytree(run / "landmarks", given)
    content = json.loads((given / "A01.json").read_text())
    content["landmarks"] = moved(content["landmarks"], rows=1.2345678)  # more decimals than a report has
    (given / "A01.json").write_text(json.dumps(content))
    analyse_scans(collect_rows(run.parent / "study" / "manifest.csv"), run, progress=False, landmarks_dir=given)
    state = session_of(run).state()
    assert state["points"] == report(run)["landmarks"] != state["found"]
    assert state["saved"] == state["found"]
    assert state["before"]["landmarks_given"]


@pytest.mark.parametrize("link", ["landmarks", "landmarks/A01.json", "A01.json"])
def test_links_out_of_the_folder_are_refused(link: str, run: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.move(run / link, outside)
    (run / link).symlink_to(outside)
    before = contents(outside) if outside.is_dir() else outside.read_bytes()
    with pytest.raises(InputError, match=r"A01\.json: expected a path inside .*run, got one that leads to .*outside"):
        session_of(run)
    assert (contents(outside) if outside.is_dir() else outside.read_bytes()) == before
