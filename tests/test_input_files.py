"""Whatever a path leads to, a reader reads a regular file or says in a sentence why it does not; it never waits."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dxa_monai.analysis.landmarks import read_landmarks
from dxa_monai.analysis.polygons import MOST_POLYGONS, read_polygons
from dxa_monai.errors import InputError
from dxa_monai.input_files import (
    MAX_JSON_BYTES,
    MAX_JSON_VALUES,
    MAX_RECORD_VALUES,
    files_below,
    parse_json,
    read_input,
    read_json,
    read_object,
)
from dxa_monai.mesh.parse import MESH_ENDINGS, read_triangles
from dxa_monai.networks.checkpoint import load_tensors
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.runs.state_files import newest_state
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.csv_table import MAX_TABLE_CELLS, read_lines
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE
from dxa_monai.scan.io import READ_ENDINGS, load_scan
from dxa_monai.scan.manifest import read_manifest, read_path_list
from dxa_monai.scan.splits import read_split
from dxa_monai.scan.truth import load_truth

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "manifest": ("a.csv", read_manifest),
    "path list": ("a.csv", read_path_list),
    "split": ("a.csv", read_split),
    "landmarks": ("a.json", read_landmarks),
    "polygons": ("a.json", lambda path: read_polygons(path, SCAN_SHAPE, PIXEL_SPACING_MM)),
    "scanner model": ("a.json", read_scanner_model),
    "weights": ("model.pt", load_tensors),
    "truth": ("a.npz", lambda path: load_truth({"truth": str(path), "scan_id": "a"})),
    "state": ("resume/iteration_000000001.pt", lambda path: newest_state(path.parents[1])),
    "object": ("a.json", lambda path: read_object(path, "an object")),
    **{f"scan{ending}": (f"a{ending}", load_scan) for ending in READ_ENDINGS},
    **{f"mesh{ending}": (f"a{ending}", read_triangles) for ending in MESH_ENDINGS},
}


@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "a link to nothing"])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_told_and_not_waited_for(name: str, kind: str, tmp_path: Path) -> None:
    file_name, read = READERS[name]
    path = tmp_path / file_name
    path.parent.mkdir(exist_ok=True)
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError) as told:
        read(path)
    sentence = str(told.value)
    # a split may be named by its folder, and of states the folder is told
    if name == "state":
        assert "expected a whole state" in sentence
    else:
        assert sentence.startswith(str(path))
        assert kind in sentence or (name, kind) == ("split", "a folder")


def test_a_file_over_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with open(path, "wb") as file:
        file.truncate(10**12)
    with pytest.raises(InputError, match=r"expected a list of at most 1 MB, got 1e\+06 MB; write less"):
        read_input(path, 10**6, "a list", "; write less")
    os.truncate(path, 10**6)
    assert len(read_input(path, 10**6, "a list")) == 10**6


@pytest.mark.parametrize("text", ['{"a": [1]}', '\ufeff{"a": [1]}', '\ufeff{\r\n"a": [1]\r\n}\r\n'])
def test_json_is_read_with_the_marks_and_line_ends_of_any_editor(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode())
    assert read_json(tmp_path / "a.json") == {"a": [1]}


def test_json_has_a_budget_and_names_once(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(InputError, match=f"at most {MAX_JSON_VALUES} values, got"):
        parse_json(b"[" + b"1," * MAX_JSON_VALUES + b"1]", path)
    with pytest.raises(InputError, match="every name once, got 'a' twice"):
        parse_json(b'{"a": 1, "a": 2}', path, unique=True)
    for text in (b"[" * 100_000, b'"\xff"', b"{", "{}".encode("utf-16"), b"1" * 5000):
        with pytest.raises(InputError, match=r"a.json: expected JSON text, got '"):
            parse_json(text, path)
    path.write_bytes(b" " * (MAX_JSON_BYTES + 1))
    with pytest.raises(InputError, match="expected a scanner model of at most 2 MB"):
        read_scanner_model(path)


def test_a_record_has_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [' + b"1," * MAX_RECORD_VALUES + b"1]}")
    with pytest.raises(InputError, match=f"a.json: expected a record of at most {MAX_RECORD_VALUES} values, got"):
        read_object(path, "a record")


def test_a_table_has_a_budget(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\n" * (MAX_TABLE_CELLS + 1))
    with pytest.raises(InputError, match=f"at most {MAX_TABLE_CELLS} cells"):
        read_lines(tmp_path / "a.csv")


def test_polygons_are_a_few(tmp_path: Path) -> None:
    square = [[10, 10], [10, 20], [20, 20], [20, 10]]
    named = {f"p{number}": square for number in range(MOST_POLYGONS + 1)}
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "unit": "pixel", "polygons": named}))
    with pytest.raises(InputError, match=f"at most {MOST_POLYGONS} polygons, got {MOST_POLYGONS + 1}"):
        read_polygons(tmp_path / "a.json", SCAN_SHAPE, PIXEL_SPACING_MM)


def test_a_folder_is_read_whole_and_the_rest_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.npy", "b/c.NPY", "b/notes.txt", "b/d.txt", ".hidden.npy", ".cache/e.npy", "README"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files, others = files_below(tmp_path, (".npy",))
    assert [file.relative_to(tmp_path).as_posix() for file in files] == ["a.npy", "b/c.NPY"]
    assert others == {".txt": 2, "README": 1}
    collect_scans(tmp_path)
    assert f"{tmp_path}: 2 scans; other files are left out: 2 .txt, 1 README" in capsys.readouterr().out


@pytest.mark.parametrize("collect", [collect_scans, lambda folder: files_below(folder, (".npy",))])
def test_a_link_to_a_folder_or_to_nothing_is_refused(collect: Callable[[Path], Any], tmp_path: Path) -> None:
    """Passed over in silence, two of three scans would be missing."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.npy").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.npy").touch()
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="more: expected a folder, got a link to one; give the folder that it leads"):
        collect(tmp_path / "data")
    (tmp_path / "data" / "more").unlink()
    (tmp_path / "data" / "c.npy").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"c\.npy: expected a file, got a link to nothing"):
        collect(tmp_path / "data")
