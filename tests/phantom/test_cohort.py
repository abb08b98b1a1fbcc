"""A cohort's bytes depend on seed and index alone; it can be interrupted, continued and grown; mistakes are told."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dxa_monai.errors import InputError
from dxa_monai.figures.contact_sheet import write_contact_sheet
from dxa_monai.phantom import cohort, simulate
from dxa_monai.phantom.cohort import generate_cohort
from dxa_monai.phantom.people.population import Person, sample_person, visit_count
from dxa_monai.phantom.simulate import PersonRecord, Simulator
from dxa_monai.phantom.tissue.projection import BodyDoesNotFit
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.format import PIXEL_SPACING_MM, pixel_area_cm2
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import BODY_MEASURES, PAPER_MEASURES
from dxa_monai.scan.regions import regional_totals

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("forked_workers")]

SEED = 2
COUNT = 4


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("[!.]*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people made by two workers."""
    path = tmp_path_factory.mktemp("cohort") / "made" / "here"
    generate_cohort(COUNT, path, SEED, workers=2, progress=False)
    return path


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator()


@pytest.fixture(scope="module")
def twice_scanned(simulator: Simulator) -> PersonRecord:
    index = next(index for index in range(100) if visit_count(index, SEED) == 2)
    return simulator.simulate_person(index, SEED)


def test_manifest_lists_what_is_there(folder: Path) -> None:
    rows = read_manifest(folder / "manifest.csv")
    assert len(rows) == sum(visit_count(index, SEED) for index in range(COUNT))
    for row in rows:
        scan = load_scan(row["scan"])
        assert scan.counts.dtype == np.uint16
        with np.load(row["truth"], allow_pickle=False) as truth:
            assert tuple(truth["pixel_spacing_mm"]) == PIXEL_SPACING_MM
            assert truth["areal_density_g_cm2"].dtype == np.float32
            found = regional_totals(truth["areal_density_g_cm2"], truth["region_map"], pixel_area_cm2())
        for name, value in found.items():
            assert row[name] == pytest.approx(value, rel=1e-8, abs=1e-12)
        assert row["mass_kg"] == pytest.approx(found["total_mass_g"] / 1000.0, rel=1e-8)
        assert all(row[name] > 0 for name in BODY_MEASURES)
        assert row["total_volume_l"] > row["torso_volume_l"]
        assert Path(row["mesh"]).read_bytes().startswith(b"ply\nformat binary_little_endian")


def test_no_limb_is_cut(folder: Path) -> None:
    for row in read_manifest(folder / "manifest.csv"):
        with np.load(row["truth"], allow_pickle=False) as truth:
            density = truth["areal_density_g_cm2"]
        edge = [density[:, 0], density[:, -1], density[:, :, 0], density[:, :, -1]]
        assert not any(side.any() for side in edge)


def test_scans_attenuate_where_the_body_is(folder: Path) -> None:
    row = read_manifest(folder / "manifest.csv")[0]
    counts = load_scan(row["scan"]).counts
    with np.load(row["truth"], allow_pickle=False) as truth:
        mass = truth["areal_density_g_cm2"].sum(axis=0)
    assert np.corrcoef(counts[..., 0][mass > 1], mass[mass > 1])[0, 1] > 0.98
    assert counts[..., 1][mass > 5].min() > counts[..., 1][mass == 0].max()


def test_cohort_record(folder: Path) -> None:
    record = json.loads((folder / "cohort.json").read_text())
    assert record["seed"] == SEED
    assert record["count"] == COUNT
    assert record["acquisition"] == Acquisition().as_dict()
    assert set(record["measures"]) == set(BODY_MEASURES)
    assert {"refused", "reposed", "versions", "content_sha256", "scans"} <= record.keys()


def test_one_worker_makes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    generate_cohort(COUNT, tmp_path, SEED, workers=1, progress=False)
    assert contents(tmp_path) == contents(folder)


def test_finished_folder_is_reused(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*") if path.is_file()}
    assert generate_cohort(COUNT, folder, SEED, progress=False) == folder / "manifest.csv"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("[!.]*") if path.is_file()} == before


def test_killed_run_continues_to_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Killed without warning after its first person, the run leaves whole people only and is then completed."""
    script = (
        "from dxa_monai.phantom.cohort import generate_cohort\n"
        "if __name__ == '__main__':\n"
        f"    generate_cohort({COUNT}, {str(tmp_path)!r}, {SEED}, workers=1, progress=False)\n"
    )
    file = tmp_path.parent / "interrupted.py"
    file.write_text(script)
    process = subprocess.Popen([sys.executable, str(file)], cwd=Path(cohort.__file__).parents[2], env=_environment())
    _wait_for_people(tmp_path, process)
    process.kill()
    process.wait()
    assert not (tmp_path / "manifest.csv").exists()
    generate_cohort(COUNT, tmp_path, SEED, workers=1, progress=False)
    assert {name: data for name, data in contents(tmp_path).items() if ".partial" not in name} == contents(folder)


def test_interrupt_tells_how_to_continue(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    output = tmp_path / "cohort"
    script.write_text(
        "from dxa_monai.phantom.cohort import generate_cohort\n"
        "if __name__ == '__main__':\n"
        f"    generate_cohort(500, {str(output)!r}, {SEED}, workers=1, progress=False)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, env=_environment(), start_new_session=True
    )
    _wait_for_people(output, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in errors.splitlines() if "Interrupted" in line and str(output) in line]
    assert "Traceback" not in errors


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(cohort.__file__).parents[2])}


def _wait_for_people(folder: Path, process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 120
    while not list(folder.glob("people/S*.json")):
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_larger_cohort_begins_with_the_smaller_and_lost_files_are_made_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    row = read_manifest(copy / "manifest.csv")[0]
    Path(row["scan"]).write_bytes(b"")
    Path(row["truth"]).unlink()
    generate_cohort(COUNT + 1, copy, SEED, workers=1, progress=False)
    grown = contents(copy)
    assert all(grown[name] == data for name, data in contents(folder).items() if "/" in name)
    with open(folder / "manifest.csv") as small, open(copy / "manifest.csv") as large:
        rows, more = list(csv.reader(small)), list(csv.reader(large))
    assert more[: len(rows)] == rows
    assert len(more) > len(rows)


def test_another_seed_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"same seed.*got a cohort made with seed 2 where 3"):
        generate_cohort(COUNT, folder, seed=3, progress=False)


def test_another_scanner_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="same acquisition"):
        generate_cohort(COUNT, folder, SEED, acquisition=Acquisition(kvp_low=90.0), progress=False)


@pytest.mark.parametrize("count", [COUNT, COUNT + 1])
def test_a_cohort_made_before_a_measure_was_added_is_refused(folder: Path, tmp_path: Path, count: int) -> None:
    """Neither reused nor grown: its people would have nothing in the new columns."""
    copy = tmp_path / "before"
    shutil.copytree(folder, copy)
    for path in (copy / "people" / "settings.json", copy / "cohort.json"):
        settings = json.loads(path.read_text())
        del settings["measures"]  # as cohorts of the paper's measures were recorded
        path.write_text(json.dumps(settings))
    before = contents(copy)
    added = ", ".join(sorted(set(BODY_MEASURES).difference(PAPER_MEASURES)))
    told = rf"before: expected .* body measures .*, got one that was made without {added}; choose another folder"
    with pytest.raises(InputError, match=told):
        generate_cohort(count, copy, SEED, progress=False)
    assert contents(copy) == before


def test_a_cohort_of_a_measure_that_is_gone_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "before"
    shutil.copytree(folder, copy)
    path = copy / "people" / "settings.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"measures": [*settings["measures"][1:], "neck_circumference_cm"]}))
    lost = settings["measures"][0]
    with pytest.raises(InputError, match=rf"made without {lost} and with neck_circumference_cm; choose"):
        generate_cohort(COUNT, copy, SEED, progress=False)


def test_a_smaller_count_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="got count 3"):
        generate_cohort(COUNT - 1, folder, SEED, progress=False)


def test_a_folder_with_another_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("subject_id,scan\n")
    with pytest.raises(InputError, match=r"another manifest\.csv"):
        generate_cohort(COUNT, tmp_path, SEED, progress=False)


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        generate_cohort(COUNT, tmp_path / "cohort", SEED, progress=False)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 2.5}, {"seed": -1}, {"seed": "a"}, {"workers": 0}])
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    arguments: dict[str, object] = {"count": 1, "seed": 0, "workers": 1, **wrong}
    with pytest.raises(InputError, match=f"{next(iter(wrong))}: expected an integer"):
        generate_cohort(output_dir=tmp_path, progress=False, **arguments)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["manifest.csv", "scans/A01.npy", "truth/A01.npz", "contact_sheet.png"])
def test_files_of_somebody_else_are_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"expected an empty folder or a cohort .*, got another {name.split('/')[0]}"):
        generate_cohort(1, tmp_path, SEED, progress=False)
    assert (tmp_path / name).read_text() == "mine"


def test_a_failing_worker_names_the_person(tmp_path: Path) -> None:
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes" / f"S{SEED}-000000.ply").mkdir()  # the mesh cannot be renamed over a folder
    with pytest.raises(InputError, match=f"S{SEED}-000000"):
        generate_cohort(1, tmp_path, SEED, workers=1, progress=False)
    assert not (tmp_path / "manifest.csv").exists()


def test_without_meshes_the_manifest_names_none(twice_scanned: PersonRecord, tmp_path: Path) -> None:
    faces = np.zeros((0, 3), dtype=np.int64)
    for name in ("scans", "truth", "people"):
        (tmp_path / name).mkdir()
    marker = cohort.write_person(twice_scanned, faces, tmp_path, save_mesh=False)
    write_manifest(marker["rows"], tmp_path / "manifest.csv")
    rows = read_manifest(tmp_path / "manifest.csv")
    assert len(rows) == 2
    assert not any("mesh" in row for row in rows)


def test_second_visit_is_the_same_person_elsewhere(twice_scanned: PersonRecord) -> None:
    first, second = twice_scanned.visits
    assert second.totals["total_mass_g"] == pytest.approx(first.totals["total_mass_g"], rel=0.01)
    assert second.totals["total_fat_g"] == pytest.approx(first.totals["total_fat_g"], rel=0.02)
    assert second.totals["total_bmc_g"] == pytest.approx(first.totals["total_bmc_g"], rel=0.03)
    assert np.abs(second.tissue.thickness_cm - first.tissue.thickness_cm).max() > 1.0
    # In the air both differ by noise alone, which often gives the same count.
    body = (first.tissue.thickness_cm > 1.0) & (second.tissue.thickness_cm > 1.0)
    assert (second.counts[body] != first.counts[body]).mean() > 0.98


def test_same_person_again_gives_the_same_bytes(simulator: Simulator, twice_scanned: PersonRecord) -> None:
    again = simulator.simulate_person(twice_scanned.person.index, SEED)
    np.testing.assert_array_equal(again.vertices_m, twice_scanned.vertices_m)
    for visit, before in zip(again.visits, twice_scanned.visits, strict=True):
        np.testing.assert_array_equal(visit.counts, before.counts)
        np.testing.assert_array_equal(visit.tissue.areal_density_g_cm2, before.tissue.areal_density_g_cm2)
    assert again.anthropometry == twice_scanned.anthropometry


def test_a_person_who_does_not_fit_is_reposed_then_refused_and_counted(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = simulate.centre_frame, []

    def narrow_field(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) <= simulate.POSE_ATTEMPTS + 1:
            raise BodyDoesNotFit("too wide")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(simulate, "centre_frame", narrow_field)
    record = simulator.simulate_person(0, SEED)
    assert record.refused == {"does not fit": 1}
    assert record.reposed == simulate.POSE_ATTEMPTS - 1 + 1
    assert record.person.attempt == 1


def test_an_unreachable_person_is_refused_and_counted(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def giant_first(index: int, seed: int, attempt: int = 0, children_share: float = 0.0) -> Person:
        person = sample_person(index, seed, attempt)
        return replace(person, mass_kg=400.0) if attempt == 0 else person

    monkeypatch.setattr(simulate, "sample_person", giant_first)
    record = simulator.simulate_person(0, SEED)
    assert record.refused == {"unreachable": 1}
    assert record.person == sample_person(0, SEED, 1)


def test_contact_sheet_is_a_picture_and_repeats(folder: Path, tmp_path: Path) -> None:
    paths = [write_contact_sheet(folder / "manifest.csv", tmp_path / f"{name}.png") for name in "ab"]
    with Image.open(paths[0]) as image:
        assert min(image.size) > 500
        assert np.asarray(image.convert("L")).std() > 20
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("wrong", [-0.1, 1.5, "half", True])
def test_a_share_of_children_out_of_range_is_refused(tmp_path: Path, wrong: object) -> None:
    with pytest.raises(InputError, match="children_share: expected a number from 0 to 1"):
        generate_cohort(1, tmp_path, SEED, progress=False, children_share=wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_another_share_of_children_is_refused(folder: Path) -> None:
    assert "children_share" not in json.loads((folder / "cohort.json").read_text())
    with pytest.raises(InputError, match="same children_share"):
        generate_cohort(COUNT, folder, SEED, progress=False, children_share=0.3)
