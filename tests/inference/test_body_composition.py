from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.figures.scan_report import composition_figure
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.inference.scanner_calibration import calibrate_scanner
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import unit_to_counts
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_manifest


def analyse(folder: Path, output: Path, **arguments: Any) -> list[dict[str, str]]:
    path = analyse_scans(collect_rows(folder), output, progress=False, **arguments)
    return list(csv.DictReader(path.open()))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder with two scans of the cohort."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for file in sorted((cohort_manifest().parent / "scans").glob("*.npy"))[:2]:
        shutil.copy(file, folder)
    return folder


def _contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_manifest_in_table_reports_landmarks_and_pictures_out(tmp_path: Path) -> None:
    table = analyse(cohort_manifest(), tmp_path, draw=composition_figure)
    rows = collect_rows(cohort_manifest())
    assert [row["scan_id"] for row in table] == [row["scan_id"] for row in rows]
    for row, known in zip(table, rows, strict=True):
        assert row["subject_id"] == known["subject_id"]
        assert row["scanner"] == "scan"
        assert float(row["total_mass_g"]) == pytest.approx(1000.0 * known["mass_kg"], rel=0.01)
        report = json.loads((tmp_path / f"{row['scan_id']}.json").read_text())
        assert report["regions"]["total"]["fat_g"] == float(row["total_fat_g"])
        assert (tmp_path / f"{row['scan_id']}.png").read_bytes()[:4] == b"\x89PNG"
        assert (tmp_path / "landmarks" / f"{row['scan_id']}.json").is_file()
    assert read_scanner_model(tmp_path / "scanner_model.json").source == "scan"


def test_what_is_there_is_kept_and_what_was_lost_is_made_again(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = analyse(scans, output)
    before = _contents(output)
    lost = sorted(output.glob("S*.json"))[0]
    lost.unlink()
    assert analyse(scans, output) == first
    after = _contents(output)
    changed = {name for name in before if after[name][0] != before[name][0]}
    assert changed == {lost.name, f"landmarks/{lost.name}", "body_composition.csv"}
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_edited_landmarks_are_used_and_never_overwritten(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = analyse(scans, output)[0]
    path = output / "landmarks" / f"{first['scan_id']}.json"
    content = json.loads(path.read_text())
    for name in ("right_neck", "left_neck"):
        content["landmarks"][name][0] += 3.0
    path.write_text(json.dumps(content))
    edited = analyse(scans, output, landmarks_dir=output / "landmarks")[0]
    assert float(edited["head_mass_g"]) > float(first["head_mass_g"]) + 100.0
    assert float(edited["total_mass_g"]) == pytest.approx(float(first["total_mass_g"]))
    with pytest.raises(InputError, match="got edited ones; use them with --landmarks"):
        analyse(scans, output)
    assert json.loads(path.read_text()) == content


def test_maps_and_dicom_objects_on_request_are_kept_and_follow_the_study(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    rows = collect_rows(scans)[:1]
    scan_id = rows[0]["scan_id"]
    asked: dict[str, Any] = {"progress": False, "maps": True, "dicom": True, "calibration": "scan"}
    analyse_scans(rows, output, **asked)
    report = json.loads((output / f"{scan_id}.json").read_text())
    (values,) = [nib.load(output / "maps" / f"{scan_id}_{name}.nii.gz") for name in ("fat_g_cm2",)]
    regions = np.asarray(nib.load(output / "maps" / f"{scan_id}_regions.nii.gz").dataobj)
    area_cm2 = float(np.prod(values.header.get_zooms()[::2])) / 100.0
    fat_g = float(np.asarray(values.dataobj, dtype=np.float64)[regions > 0].sum() * area_cm2)
    assert fat_g == pytest.approx(report["regions"]["total"]["fat_g"], rel=1e-5)
    assert nib.aff2axcodes(values.affine) == ("L", "A", "I")
    assert {path.name for path in (output / "dicom").iterdir()} == {
        f"{scan_id}_{kind}.dcm" for kind in ("density", "regions", "report")
    }
    assert set(json.loads((output / ".made_by_dxa_monai").read_text())["made"]) >= {
        f"dicom/{scan_id}_report.dcm",
        f"maps/{scan_id}_fat_g_cm2.nii.gz",
    }
    before = _contents(output)
    analyse_scans(rows, output, **asked)
    assert {name: made for name, made in _contents(output).items() if before[name] != made}.keys() <= {
        "body_composition.csv"
    }
    analyse_scans([rows[0] | {"study_instance_uid": "1.2.840.7"}], output, **asked)
    linked = json.loads((output / f"{scan_id}.json").read_text())
    assert linked["dicom"]["study_instance_uid"] == "1.2.840.7" != report["dicom"]["study_instance_uid"]
    assert linked["regions"] == report["regions"]


def _edit(path: Path) -> None:
    content = json.loads(path.read_text())
    for name in ("right_neck", "left_neck"):
        content["landmarks"][name][0] += 3.0
    path.write_text(json.dumps(content))


def test_only_edited_landmarks_count_and_only_their_scans_are_done_again(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    first = analyse(scans, output)
    paths = [output / "landmarks" / f"{row['scan_id']}.json" for row in first]
    reports = [output / f"{row['scan_id']}.json" for row in first]
    before = reports[1].stat().st_mtime_ns
    _edit(paths[0])
    (output / "landmarks" / "nobody.json").write_text("{}")
    capsys.readouterr()
    for folder in (output, tmp_path / "other"):
        table = analyse(scans, folder, landmarks_dir=output / "landmarks", scanner_model=output / "scanner_model.json")
        given = [json.loads((folder / path.name).read_text())["landmarks_given"] for path in reports]
        assert given == [True, False]
        assert table[1] == first[1]  # its flags, too
        told = capsys.readouterr().out
        assert "Landmarks given by a person: 1 of 2 scans" in told
        assert "1 files of landmarks are of no scan of this run and are not used: nobody.json" in told
    assert reports[1].stat().st_mtime_ns == before


def test_edited_landmarks_that_are_not_given_are_told_though_the_report_is_there(scans: Path, tmp_path: Path) -> None:
    first = analyse(scans, tmp_path)[0]
    _edit(tmp_path / "landmarks" / f"{first['scan_id']}.json")
    with pytest.raises(InputError, match="got edited ones; use them with --landmarks"):
        analyse(scans, tmp_path)


def test_landmarks_under_another_spelling_are_refused(scans: Path, tmp_path: Path) -> None:
    first = analyse(scans, tmp_path / "out")[0]
    path = tmp_path / "out" / "landmarks" / f"{first['scan_id']}.json"
    path.rename(path.with_suffix(".JSON"))
    with pytest.raises(InputError, match=r"expected landmarks named S.*\.json, got S.*\.JSON"):
        analyse(scans, tmp_path / "other", landmarks_dir=path.parent)


def test_a_scanner_that_no_scan_is_of_is_refused_and_told(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyse(scans, tmp_path / "out")
    told = capsys.readouterr().out
    assert "Scanner of 2 scans: calibrated with people's scans" in told
    assert "Flags of 2 scans: no_phantom 2" in told
    model = json.loads((tmp_path / "out" / "scanner_model.json").read_text())
    model["beam"]["kvp_high"] += 6.0
    (tmp_path / "other.json").write_text(json.dumps(model))
    with pytest.raises(InputError, match=r"other\.json: expected the scanner of these scans, got one .* in all 2"):
        analyse(scans, tmp_path / "wrong", scanner_model=tmp_path / "other.json")
    assert len(list(csv.DictReader((tmp_path / "wrong" / "body_composition.csv").open()))) == 2
    analyse(scans, tmp_path / "network", scanner_model=tmp_path / "other.json", predicted=True)


def _damage(name: str, folder: Path) -> None:
    victim = sorted(folder.glob("*.npy"))[0]
    counts = load_scan(victim).counts
    if name == "truncated":
        victim.write_bytes(victim.read_bytes()[:5000])
    elif name == "empty":
        save_scan(RawScan(np.broadcast_to(counts[0, 0], counts.shape).copy()), victim)
    elif name == "no air":
        rough = np.random.default_rng(0).uniform(0.6, 1.0, (*counts.shape[:2], 1))
        save_scan(RawScan((counts[70, 54] * rough).astype(np.uint16)), victim)
    elif name == "arm":
        arm = np.broadcast_to(counts[0, 0], counts.shape).copy()
        arm[40:90, 5:20] = counts[40:90, 5:20]
        save_scan(RawScan(arm), victim)


@pytest.mark.parametrize(
    ("damage", "flag", "words"),
    [
        ("truncated", "failed", "expected a whole .npy file"),
        ("empty", "empty_scan", "The scan is empty"),
        ("no air", "no_open_air", "open air"),
        ("arm", "not_a_whole_body", "is no whole body"),
    ],
)
def test_a_bad_scan_gets_a_sentence_and_the_run_goes_on(
    damage: str, flag: str, words: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _damage(damage, scans)
    with pytest.raises(InputError, match="expected numbers of all 2 scans, got none of 1"):
        analyse(scans, tmp_path / "out")
    assert words in capsys.readouterr().err
    bad, good = csv.DictReader((tmp_path / "out" / "body_composition.csv").open())
    assert bad["flags"] == flag
    assert bad["total_fat_g"] == ""
    assert float(good["total_fat_g"]) > 0.0


def test_a_zero_that_is_not_0_is_found_and_changes_nothing(scans: Path, tmp_path: Path) -> None:
    """Electronics that add the same to all channels, or what a channel reads in open air declared."""
    before = [float(row["total_fat_g"]) for row in analyse(scans, tmp_path / "before")]
    files = sorted(scans.glob("*.npy"))
    for file in files:
        save_scan(RawScan(load_scan(file).counts + np.uint16(700)), file)
    raised = analyse(scans, tmp_path / "raised")
    assert [float(row["total_fat_g"]) for row in raised] == pytest.approx(before, abs=100.0)
    zero = json.loads((tmp_path / "raised" / f"{files[0].stem}.json").read_text())["zero"]
    assert zero["source"] == "open air"
    declared = ScanSource(zero_counts=zero["counts"])
    model = tmp_path / "raised" / "scanner_model.json"
    rows = analyse(scans, tmp_path / "declared", source=declared, scanner_model=model)
    assert float(rows[0]["total_fat_g"]) == pytest.approx(before[0], abs=1000.0)
    assert "zero_mismatch" not in rows[0]["flags"]
    wrong = ScanSource(zero_counts=[count + 30 for count in zero["counts"]])
    rows = analyse(scans, tmp_path / "wrong", source=wrong, scanner_model=model)
    assert "zero_mismatch" in rows[0]["flags"]
    assert "declared zero" in (tmp_path / "wrong" / f"{files[0].stem}.json").read_text()


def _outside(content: dict[str, Any]) -> None:
    content["landmarks"]["crotch"] = [500.0, 50.0]


def _crossing(content: dict[str, Any]) -> None:
    points = content["landmarks"]
    points["right_spine_lower"][1], points["left_spine_lower"][1] = 70.0, 40.0


@pytest.mark.parametrize(("edit", "words"), [(_outside, "expected crotch inside the image"), (_crossing, "expected ")])
def test_impossible_landmarks_fail_their_scan_alone(
    edit: Callable[[dict[str, Any]], None], words: str, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    analyse(scans, tmp_path / "first")
    path = sorted((tmp_path / "first" / "landmarks").glob("*.json"))[0]
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="got none of 1"):
        analyse(scans, tmp_path / "second", landmarks_dir=path.parent)
    assert words in capsys.readouterr().err
    bad, good = csv.DictReader((tmp_path / "second" / "body_composition.csv").open())
    assert (bad["flags"], bad["total_fat_g"]) == ("failed", "")
    assert good["total_fat_g"] != ""


def test_polygons_are_columns_and_faulty_ones_end_the_run_at_once(scans: Path, tmp_path: Path) -> None:
    path = tmp_path / "polygons.json"
    square = [[60, 30], [60, 70], [90, 70], [90, 30]]
    path.write_text(json.dumps({"version": 1, "unit": "pixel", "polygons": {"belly": square}}))
    row = analyse(scans, tmp_path / "out", polygons_file=path)[0]
    assert 0.0 < float(row["belly_mass_g"]) < float(row["total_mass_g"])
    path.write_text(
        json.dumps({"version": 1, "unit": "pixel", "polygons": {"belly": [square[i] for i in (0, 2, 1, 3)]}})
    )
    with pytest.raises(InputError, match="not to intersect itself"):
        analyse(scans, tmp_path / "other", polygons_file=path)
    assert not list((tmp_path / "other").glob("*.json"))


def test_a_folder_holds_the_polygons_of_each_scan(
    scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "polygons"
    folder.mkdir()
    first, second = (row["scan_id"] for row in analyse(scans, tmp_path / "none"))
    square = [[60, 30], [60, 70], [90, 70], [90, 30]]
    for scan_id, name in ((first, "belly"), ("nobody", "belly")):
        content = {"version": 1, "unit": "pixel", "polygons": {name: square}}
        (folder / f"{scan_id}.json").write_text(json.dumps(content))
    rows = {row["scan_id"]: row for row in analyse(scans, tmp_path / "out", polygons_file=folder)}
    assert float(rows[first]["belly_mass_g"]) > 0.0
    assert rows[second]["belly_mass_g"] == ""
    assert "1 files of polygons are of no scan of this run and are not used: nobody.json" in capsys.readouterr().out


def test_a_second_reader_is_chosen_and_both_are_told(scans: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = analyse(scans, output)
    second = analyse(scans, output, method="q_scan")  # the first's reports are not taken for it
    for one, other in zip(first, second, strict=True):
        report = json.loads((output / f"{one['scan_id']}.json").read_text())
        told = report["other_reading"]
        assert (report["method"], told["method"]) == ("q_scan", "newton")
        assert told["total_fat_g"] == float(one["total_fat_g"])
        difference = 100.0 * (float(other["total_fat_g"]) / float(one["total_fat_g"]) - 1.0)
        assert told["difference_percent"]["total_fat_g"] == pytest.approx(difference, abs=1e-3)
        assert told["wheel"]["k_ratio"] == pytest.approx(1.0, abs=0.02)
    with pytest.raises(InputError, match="method: expected one of newton, q_scan, got 'magic'"):
        analyse(scans, output, method="magic")


def test_calibration_is_chosen_and_told(scans: Path, tmp_path: Path) -> None:
    phantom = StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0))
    save_scan(RawScan(unit_to_counts(np.moveaxis(phantom.numpy(), 0, -1))), tmp_path / "phantom.npy")
    calibrate_scanner(tmp_path / "phantom.npy", tmp_path / "models" / "scanner.json")
    fat = {}
    for name, arguments in {
        "phantom": {"scanner_model": tmp_path / "models" / "scanner.json"},
        "scan": {"calibration": "scan"},
        "nominal scanner": {"calibration": "nominal"},
    }.items():
        row = analyse(scans, tmp_path / name, **arguments)[0]
        assert row["scanner"] == name
        fat[name] = float(row["total_fat_g"])
        assert ("scanner_mismatch" in row["flags"]) == (name == "nominal scanner")
        assert ("no_phantom" in row["flags"]) == (name == "scan")
    assert fat["scan"] == pytest.approx(fat["phantom"], abs=1500.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"calibration": "magic"}, "calibration: expected one of"),
        ({"scanner_model": "nowhere.json"}, "nowhere.json"),
        ({"landmarks_dir": "nowhere"}, "nowhere: expected a folder of landmarks"),
    ],
)
def test_wrong_arguments_are_told_in_one_sentence(
    arguments: dict[str, Any], words: str, scans: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        analyse(scans, tmp_path / "out", **arguments)


def test_files_of_others_in_the_folder_of_the_outputs_are_kept(scans: Path, tmp_path: Path) -> None:
    name = next(scans.glob("*.npy")).stem
    for other in (f"{name}.json", f"{name}.png", "body_composition.csv", f"landmarks/{name}.json"):
        folder = tmp_path / other.replace("/", "_")
        (folder / other).parent.mkdir(parents=True)
        (folder / other).write_text("mine")
        with pytest.raises(InputError, match=f"{other}: expected no such file, or one that this command made"):
            analyse(scans, folder, draw=composition_figure, calibration="nominal")
        assert [path.read_text() for path in folder.rglob("*") if path.is_file()] == ["mine"]


def test_outputs_beside_the_scans_are_theirs_alone(scans: Path) -> None:
    before = {path: path.read_bytes() for path in scans.iterdir()}
    for _ in range(2):
        assert len(analyse(scans, scans, calibration="nominal")) == len(before)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("calibration", ["run", "nominal"])
def test_a_scan_with_the_name_of_the_scanner_is_refused(scans: Path, tmp_path: Path, calibration: str) -> None:
    next(scans.glob("*.npy")).rename(scans / "scanner_model.npy")
    with pytest.raises(InputError, match=r"scanner_model\.json: expected a file of its own for every output"):
        analyse(scans, tmp_path / "out", calibration=calibration)
    assert not (tmp_path / "out").exists()


def test_the_scanner_of_another_study_is_not_taken(scans: Path, tmp_path: Path) -> None:
    analyse(scans, tmp_path / "out")
    first, second = sorted(scans.glob("*.npy"))
    first.unlink()
    analyse(scans, tmp_path / "out")  # one of the scans that it was calibrated with is enough
    shutil.copy(sorted((cohort_manifest().parent / "scans").glob("*.npy"))[2], second)
    with pytest.raises(InputError, match=r"out/scanner_model\.json: expected the scanner of these scans, got one that"):
        analyse(scans, tmp_path / "out")
    assert len(analyse(scans, tmp_path / "out", scanner_model=tmp_path / "out" / "scanner_model.json")) == 1


def test_names_with_dollars_and_bytes_that_are_no_characters(scans: Path, tmp_path: Path) -> None:
    odd = ("A$_$B", b"caf\xe9".decode("utf-8", "surrogateescape"))
    for path, name in zip(sorted(scans.glob("*.npy")), odd, strict=True):
        path.rename(scans / f"{name}.npy")
    table = analyse(scans, tmp_path / "out", draw=composition_figure, calibration="nominal")
    assert [row["scan_id"] for row in table] == ["A$_$B", "caf\\udce9"]
    assert all((tmp_path / "out" / f"{name}.png").is_file() for name in odd)
