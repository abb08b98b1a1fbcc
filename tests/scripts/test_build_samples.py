"""The sample person is what its script makes, and what its page says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dxa_monai.mesh.io import load_mesh
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest
from scripts.build_samples import SAMPLES, main

FILES = ["README.md", "body.ply", "manifest.csv", "scan.npz"]


def test_the_script_writes_what_is_committed(tmp_path: Path) -> None:
    main(tmp_path / "samples")
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == FILES
    assert sorted(path.name for path in SAMPLES.iterdir()) == FILES
    made, there = (load_scan(folder / "scan.npz") for folder in (tmp_path / "samples", SAMPLES))
    # another processor may round a count otherwise, as it may in any cohort
    assert np.abs(made.counts.astype(int) - there.counts.astype(int)).max() <= 1
    assert made.pixel_spacing_mm == there.pixel_spacing_mm
    for name in ("README.md", "manifest.csv"):
        assert (tmp_path / "samples" / name).read_text() == (SAMPLES / name).read_text()
    meshes = [load_mesh(folder / "body.ply") for folder in (tmp_path / "samples", SAMPLES)]
    assert np.allclose(meshes[0].vertices_m, meshes[1].vertices_m, atol=1e-5)


def test_the_manifest_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = read_manifest(SAMPLES / "manifest.csv")
    assert (row["subject_id"], row["scan_id"]) == ("SAMPLE", "scan")
    assert {"age_years", "sex", "height_cm", "mass_kg", "mesh"} <= set(row)
