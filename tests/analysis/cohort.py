"""A few virtual people on disk, simulated once for all tests that need whole bodies."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.phantom.cohort import write_person
from dxa_monai.phantom.simulate import PersonRecord, Simulator
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest

COHORT_SEED = 3
PEOPLE = (0, 1, 5)
_KEEP: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache(maxsize=1)
def cohort_people() -> tuple[list[PersonRecord], Any]:
    """The people as they were simulated, and the faces of their meshes."""
    simulator = Simulator()
    return [simulator.simulate_person(index, COHORT_SEED) for index in PEOPLE], simulator.model.faces


@lru_cache(maxsize=1)
def cohort_manifest() -> Path:
    """Manifest of three people, each with all visits; the folder lives as long as the test run. Do not write there."""
    _KEEP.append(tempfile.TemporaryDirectory())
    folder = Path(_KEEP[0].name)
    for name in ("scans", "truth", "people"):
        (folder / name).mkdir()
    people, faces = cohort_people()
    rows: list[dict[str, Any]] = []
    for record in people:
        rows += write_person(record, faces, folder, save_mesh=False)["rows"]
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


def cohort_rows() -> list[dict[str, Any]]:
    """Rows of the manifest."""
    return read_manifest(cohort_manifest())


def raw_scan(index: int = 0) -> np.ndarray:
    """``(6, H, W)`` float32 of one scan; a copy."""
    return np.moveaxis(counts_to_unit(load_scan(cohort_rows()[index]["scan"]).counts), -1, 0).copy()
