from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.analysis.composition import QUANTITIES, REPORTED_REGIONS, BodyComposition
from dxa_monai.analysis.flags import Flag
from dxa_monai.analysis.indices import INDICES
from dxa_monai.analysis.reference_curves import read_reference
from dxa_monai.errors import InputError
from dxa_monai.evaluation.composition_rows import read_composition
from dxa_monai.inference.report import (
    as_report,
    fingerprint,
    read_report,
    table_row,
    with_person,
    write_composition_table,
    write_report,
)
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.collect import check_scan_ids

TOTALS = {
    f"{region}_{quantity}": 1.0 + 10.0 * i + j
    for i, region in enumerate((*REPORTED_REGIONS, "left_thigh"))
    for j, quantity in enumerate(QUANTITIES)
}
ROW = {"scan_id": "A", "subject_id": "P", "scan": "/data/somewhere/A.npy", "sex": "F", "total_fat_g": 1e6}


def analysis(*flags: Flag, totals: dict[str, float] = TOTALS) -> BodyComposition:
    empty = np.zeros((2, 2), dtype=bool)
    areal = np.zeros((3, 2, 2), dtype=np.float32)
    correction = find_correction(torch.zeros(6, 30, 20), ScannerModel())
    return BodyComposition(areal, empty, None, False, empty.astype(np.uint8), totals, flags, correction)


def test_a_report_comes_back_from_its_file(tmp_path: Path) -> None:
    report = as_report(ROW, analysis(Flag("metal", "There is metal.")), ScannerModel(), "abc")
    write_report(report, tmp_path / "A.json")
    assert read_report(tmp_path / "A.json") == json.loads(json.dumps(report))
    assert report["regions"]["left_arm"]["bmd_g_cm2"] == TOTALS["left_arm_bmd_g_cm2"]
    assert set(report["regions"]) == {*REPORTED_REGIONS, "left_thigh"}
    assert report["scanner"]["calibration"] == "nominal scanner"
    assert set(report["units"]) == {*QUANTITIES, *INDICES}
    assert report["versions"]["dxa_monai"]


def test_the_table_holds_what_the_report_holds(tmp_path: Path) -> None:
    row = table_row(as_report(ROW, analysis(Flag("metal", "There is metal.")), ScannerModel(), "abc"))
    refused = table_row(
        as_report(ROW | {"scan_id": "B"}, analysis(Flag("empty_scan", ".", True), totals={}), ScannerModel(), "")
    )
    write_composition_table([row, refused], tmp_path / "t.csv", ["left_thigh"])
    first, second = csv.DictReader((tmp_path / "t.csv").open())
    assert {name: float(first[name]) for name in TOTALS} == TOTALS  # the truth in the manifest's row does not leak in
    assert (first["scan_id"], first["sex"], first["flags"], first["scan"]) == ("A", "F", "metal", "A.npy")
    assert second["flags"] == "empty_scan"
    assert all(second[name] == "" for name in TOTALS)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"regions": {}'])
def test_what_is_no_report_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "A.json").write_text(content)
    assert read_report(tmp_path / "A.json") is None
    assert read_report(tmp_path / "B.json") is None


def test_fingerprint_changes_with_all_that_numbers_depend_on(tmp_path: Path) -> None:
    scan = tmp_path / "A.npy"
    scan.write_bytes(b"one")
    base = fingerprint(scan, ScannerModel(), (13.0, 6.06), None, {}, {"a": 1})
    assert fingerprint(scan, ScannerModel(), (13.0, 6.06), None, {}, {"a": 1}) == base
    others = {
        fingerprint(scan, ScannerModel(photons_per_pixel=2.0), (13.0, 6.06), None, {}, {"a": 1}),
        fingerprint(scan, ScannerModel(), (13.1, 6.06), None, {}, {"a": 1}),
        fingerprint(scan, ScannerModel(), (13.0, 6.06), None, {"x": [(1.0, 2.0)]}, {"a": 1}),
        fingerprint(scan, ScannerModel(), (13.0, 6.06), None, {}, {"a": 2}),
    }
    scan.write_bytes(b"two")
    others.add(fingerprint(scan, ScannerModel(), (13.0, 6.06), None, {}, {"a": 1}))
    assert len(others | {base}) == 6


def test_scans_of_one_name_are_refused() -> None:
    rows = [{"scan_id": "A", "scan": "x/A.npy"}, {"scan_id": "A", "scan": "y/A.npy"}]
    with pytest.raises(InputError, match=r"y/A.npy: expected a file name of its own"):
        check_scan_ids(rows)


def test_what_a_manifest_says_now_gives_the_indices() -> None:
    row = {"scan_id": "A", "scan": "a.npy"}
    unknown = as_report(row, analysis(), ScannerModel(), "abc")
    assert unknown["indices"]["fat_mass_index_kg_m2"] is None
    assert unknown["indices_missing"]["fat_mass_index_kg_m2"] == "height_cm is not known"
    known = with_person(unknown, row | {"height_cm": 200.0, "mass_kg": 80.0, "sex": "f", "age_years": 40.0})
    fat_kg = TOTALS["total_fat_g"] / 1e3
    assert known["indices"]["fat_mass_index_kg_m2"] == pytest.approx(fat_kg / 4.0, rel=1e-5)
    assert known["indices_missing"] == {}
    cells = table_row(known)
    assert cells["low_lean_ewgsop2"] == "yes"
    assert cells["indices_missing"] == ""
    assert table_row(unknown)["indices_missing"].startswith("fat_mass_index_kg_m2: height_cm is not known; ")
    assert with_person(known, row) == unknown


def test_a_reference_places_values_in_report_and_table(tmp_path: Path) -> None:
    reference = read_reference("nhanes_white")
    row = {"scan_id": "A", "scan": "a.npy", "subject_id": "P", "sex": "F", "age_years": 50.0, "height_cm": 165.0}
    totals = TOTALS | {"total_fat_percent": 40.8, "total_bmc_g": 1841.0}
    report = as_report(row, analysis(totals=totals), ScannerModel(), "abc", reference)
    placed = report["reference"]["standings"]
    assert placed["total_fat_percent"] == {"z": 0.0, "percentile": 50.0, "median": 40.8}
    assert placed["total_bmc_g"]["z"] == pytest.approx(-1.0, abs=0.1)
    assert with_person(report, row, reference) == report
    assert "reference" not in with_person(report, row)
    moved = with_person(report, row | {"age_years": 15.0}, reference)
    assert moved["reference"]["standings"] == {}
    write_composition_table(
        [table_row(report), table_row(moved | {"scan_id": "B"})], tmp_path / "t.csv", reference=reference
    )
    first, second = csv.DictReader((tmp_path / "t.csv").open())
    assert (first["total_fat_percent_z"], first["total_fat_percent_percentile"]) == ("0.0", "50.0")
    assert first["reference_population"].startswith("White adults of the United States")
    assert first["reference_missing"] == ""
    assert second["total_fat_percent_z"] == ""
    assert "total_bmc_g: the reference is of ages from 20 to 80, got 15 years" in second["reference_missing"]
    assert not [name for name in read_composition(tmp_path / "t.csv").measures if name.endswith("_z")]
