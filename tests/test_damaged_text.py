"""Tables and JSON files that people edit: whatever they hold, only the documented error comes out, in one sentence."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dxa_monai.analysis.landmarks import landmarks_from_points, read_landmarks, write_landmarks
from dxa_monai.analysis.polygons import read_polygons
from dxa_monai.errors import InputError
from dxa_monai.inference.report import read_report
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.scan.manifest import read_manifest, read_path_list
from dxa_monai.scan.splits import read_split
from tests.analysis.points import IMAGE_SHAPE, plain_points
from tests.damage import FUZZING, damaged_bytes, damaged_json, damaged_table

MEMORY_BYTES = 5e6
_MANIFEST = """subject_id,scan_id,scan,age_years,sex,mesh,note
P1,P1-1,scans/a.npy,54.2,female,meshes/a.ply,first
P1,P1-2,scans/b.npy,55.1,female,,
P2,P2-1,scans/c.npy,,male,meshes/c.ply,second
"""
_PATHS = "scan\nscans/a.npy\nscans/b.npy\nscans/c.npy\n"
_SPLIT = "split,subject_id,scan_id\ntrain,P1,P1-1\nvalidation,P2,P2-1\ntest,P3,P3-1\n"
_POLYGONS = json.dumps(
    {
        "version": 1,
        "unit": "mm",
        "polygons": {"left_thigh": [[1000.0, 350.0], [1000.0, 450.5], [1300.0, 430.0], [1300.0, 350.0]]},
    }
)


def _landmarks(folder: Path) -> str:
    write_landmarks(landmarks_from_points(plain_points(), IMAGE_SHAPE), folder / "whole.json")
    return (folder / "whole.json").read_text()


def _report(_: Path) -> str:
    names = ("scan_id", "regions", "flags", "landmarks", "landmarks_given", "scanner", "inputs_sha256")
    return json.dumps({name: [1, {"name": "a"}] for name in names})


def _scanner(_: Path) -> str:
    return json.dumps(ScannerModel().as_dict())


READERS: dict[str, tuple[str, Callable[[Path], str], Callable[[Path], Any]]] = {
    "manifest": ("a.csv", lambda _: _MANIFEST, read_manifest),
    "path list": ("a.csv", lambda _: _PATHS, read_path_list),
    "split": ("a.csv", lambda _: _SPLIT, read_split),
    "landmarks": ("a.json", _landmarks, lambda path: read_landmarks(path, IMAGE_SHAPE)),
    "polygons": ("a.json", lambda _: _POLYGONS, lambda path: read_polygons(path, IMAGE_SHAPE, PIXEL_SPACING_MM)),
    "scanner model": ("a.json", _scanner, read_scanner_model),
    "report": ("a.json", _report, read_report),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the files that the manifest names, and one beside it that it may not."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "a.json").write_text(_scanner(outside))
    read_scanner_model(outside / "a.json")  # loads the tables of attenuation, which count in no test's memory
    root = outside / "data"
    for name in ("scans/a.npy", "scans/b.npy", "scans/c.npy", "meshes/a.ply", "meshes/c.ply", "../secret.npy"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def _is_told(name: str, content: bytes, folder: Path) -> bool:
    """Read it; whether it was taken."""
    file_name, _, read = READERS[name]
    path = folder / file_name
    path.write_bytes(content)
    found, told = None, ""
    tracemalloc.start()
    try:
        found = read(path)
    except InputError as error:
        told = str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY_BYTES
    assert "\n" not in told
    assert told == "" or str(path) in told
    if name in ("manifest", "path list") and found is not None:
        paths = [Path(row[column]) for row in found for column in ("scan", "mesh") if column in row]
        assert all(each.is_relative_to(folder) and each.is_file() for each in paths)
    return told == ""


def _damaged(name: str, folder: Path, data: st.DataObject) -> bytes:
    file_name, whole, _ = READERS[name]
    text = whole(folder)
    if data.draw(st.integers(0, 3)) == 0:
        return damaged_bytes(text.encode(), data)
    return damaged_json(text, data) if file_name.endswith("json") else damaged_table(text, data)


@pytest.mark.parametrize("name", READERS)
def test_the_whole_files_are_taken(name: str, folder: Path) -> None:
    assert _is_told(name, READERS[name][1](folder).encode(), folder)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=100, **FUZZING)
@given(data=st.data())
def test_damaged_text_ends_in_a_sentence(name: str, data: st.DataObject, folder: Path) -> None:
    _is_told(name, _damaged(name, folder, data), folder)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=50, **FUZZING)
@given(content=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8"))))
def test_random_text_ends_in_a_sentence(name: str, content: bytes, folder: Path) -> None:
    _is_told(name, content, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=3000, **FUZZING)
@given(data=st.data())
def test_thousands_of_damaged_texts(name: str, data: st.DataObject, folder: Path) -> None:
    _is_told(name, _damaged(name, folder, data), folder)


@pytest.mark.parametrize("path", ["../secret.npy", "scans/../../secret.npy", "{outside}/secret.npy"])
def test_a_manifest_cannot_name_what_lies_outside(path: str, folder: Path) -> None:
    (folder / "m.csv").write_text(f"subject_id,scan\nP1,{path.format(outside=folder.parent)}\n")
    with pytest.raises(InputError, match="line 2: expected a scan inside the data folder"):
        read_manifest(folder / "m.csv")
