"""The first day's report names bad scans and copies and stops at neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run

from dxa_monai.scan.io import RawScan, save_scan
from tests.runs.test_screened_scans import table
from tests.scan.test_duplicates import person

CONFIG = Path(__file__).parents[2] / "configs" / "check_scans.json"


def test_the_command_lists_bad_scans_and_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans = {"a": person(0), "b": person(1), "c": person(0), "d": person(1), "e": person(2)}
    for name, counts in scans.items():
        save_scan(RawScan(counts), tmp_path / f"{name}.npy")
    np.save(tmp_path / "e.npy", np.zeros(4))
    people = {"a": "P0", "b": "P1", "c": "P2", "d": "P1", "e": "P3"}
    rows = "\n".join(f"{people[name]},{name}.npy" for name in scans)
    (tmp_path / "manifest.csv").write_text(f"subject_id,scan\n{rows}\n")
    run(config_file=str(CONFIG), manifest=str(tmp_path / "manifest.csv"), output_dir=str(tmp_path / "out"), workers=1)
    assert [row["scan_id"] for row in table(tmp_path / "out" / "quarantine.csv")] == ["e"]
    pairs = [(row["scan_id_1"], row["scan_id_2"]) for row in table(tmp_path / "out" / "duplicates.csv")]
    assert pairs == [("a", "c"), ("b", "d")]
    told = capsys.readouterr().out
    assert "1 of 5 scans cannot be used" in told
    assert "2 pairs of scans look like one scan, 1 of them under two subject_ids" in told
