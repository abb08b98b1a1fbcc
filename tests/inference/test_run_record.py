"""What a folder remembers of how its scans were analysed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dxa_monai.analysis.bone import BoneSettings
from dxa_monai.errors import InputError
from dxa_monai.inference.run_record import RunRecord, note_analysis
from dxa_monai.inference.scan_analysis import ScanAnalysis
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.scanner_model import ScannerModel, write_scanner_model
from dxa_monai.runs.outputs import NOTE_NAME, write_note
from dxa_monai.scan.source import ScanSource

CHANNELS = ["air_low", "air_high", "bone_low", "bone_high", "tissue_low", "tissue_high"]


def row(scan_id: str, scan: Path | str) -> dict[str, str]:
    return {"scan_id": scan_id, "scan": str(scan)}


def everything(folder: Path) -> ScanAnalysis:
    return ScanAnalysis(
        ScannerModel(photons_per_pixel=5e5, source="phantom"),
        folder / "polygons.json",
        BoneSettings(threshold_g_cm2=0.1 + 0.2, coarse_rounds=2),
        torch.device("cpu"),
        ScanSource(channels=CHANNELS, pixel_spacing_mm=(13.0, 6.1), zero_counts=[1, 2, 3, 4, 5, 6.5]),
        WheelSegments.thick(),
        "q_scan",
        True,
    )


@pytest.mark.parametrize("model_file", ["scanner.json", None])
def test_an_analysis_is_recalled_as_it_was(model_file: str | None, tmp_path: Path) -> None:
    analysis, out = everything(tmp_path), tmp_path / "out"
    out.mkdir()
    file = None if model_file is None else tmp_path / model_file
    if file is not None and analysis.model is not None:
        write_scanner_model(analysis.model, file)
    note_analysis(out, [row("A", tmp_path / "a.npy")], analysis, file, tmp_path / "edited")
    noted = RunRecord(out).scan("A")
    assert noted.path == tmp_path / "a.npy"
    assert noted.landmarks_dir == tmp_path / "edited"
    assert noted.analysis == analysis


def test_a_scanner_of_each_scan_and_that_of_the_folder(tmp_path: Path) -> None:
    note_analysis(tmp_path, [row("A", "a.npy")], ScanAnalysis())
    assert RunRecord(tmp_path).scan("A").analysis.model is None
    calibrated = ScannerModel(source="scan")
    write_scanner_model(calibrated, tmp_path / "scanner_model.json")
    note_analysis(tmp_path, [row("A", "a.npy")], ScanAnalysis(calibrated))
    assert json.loads((tmp_path / NOTE_NAME).read_text())["analyses"]["options"][0]["scanner"] == {
        "file": "scanner_model.json"
    }
    # one that no file holds
    nominal = ScannerModel(photons_per_pixel=3e5)
    note_analysis(tmp_path, [row("B", "b.npy")], ScanAnalysis(nominal))
    record = RunRecord(tmp_path)
    assert record.scan("A").analysis.model == calibrated
    assert record.scan("B").analysis.model == nominal
    (tmp_path / "scanner_model.json").unlink()
    with pytest.raises(InputError, match=r"scanner_model\.json: expected a scanner model, got no such file"):
        RunRecord(tmp_path).scan("A")


def test_calls_with_other_scans_and_options_add_up(tmp_path: Path) -> None:
    write_note(tmp_path, made=["A.json"])
    one, other = ScanAnalysis(), ScanAnalysis(method="q_scan")
    note_analysis(tmp_path, [row("A", "a.npy"), row("B", "b.npy")], one)
    note_analysis(tmp_path, [row("C", "c.npy"), row("B", "b2.npy")], other)
    record = RunRecord(tmp_path)
    assert record.scan_ids == ["A", "B", "C"]
    assert [record.scan(each).analysis for each in "ABC"] == [one, other, other]
    assert record.scan("B").path == Path("b2.npy").absolute()
    note_analysis(tmp_path, [row("A", "a.npy")], other)
    note = json.loads((tmp_path / NOTE_NAME).read_text())
    assert len(note["analyses"]["options"]) == 1  # what no scan was read with is forgotten
    assert note["made"] == ["A.json"]


def test_paths_are_those_from_the_folder_and_links_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "4f2a").write_text("")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a.npy").symlink_to(tmp_path / "store" / "4f2a")
    (tmp_path / "shortcut").symlink_to(tmp_path / "scans")
    out = tmp_path / "runs" / "out"
    out.mkdir(parents=True)
    note_analysis(out, [row("A", tmp_path / "shortcut" / "a.npy")], ScanAnalysis())
    assert json.loads((out / NOTE_NAME).read_text())["analyses"]["scans"] == {"A": ["../../scans/a.npy", 0]}
    assert RunRecord(out).scan("A").path == tmp_path / "scans" / "a.npy"


def test_a_damaged_record_is_refused_and_made_anew_by_the_next_call(tmp_path: Path) -> None:
    write_note(tmp_path, analyses={"options": [], "scans": {"A": ["a.npy", 0]}})
    with pytest.raises(InputError, match=r"\.made_by_dxa_monai: expected what inference noted of its scans, got"):
        RunRecord(tmp_path)
    note_analysis(tmp_path, [row("A", "a.npy")], ScanAnalysis())
    assert RunRecord(tmp_path).scan_ids == ["A"]
