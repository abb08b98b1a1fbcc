"""Commands killed again and again, at each of their renames: the last call leaves what an undisturbed one does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.bundling import release
from dxa_monai.bundling.release import REPOSITORY, build_release
from dxa_monai.cohort_report import page
from dxa_monai.cohort_report.page import write_population_report
from dxa_monai.evaluation import measured, scanner_effects_measured, scanner_effects_table, truth_agreement
from dxa_monai.evaluation.perturbed import draw_scanners
from dxa_monai.evaluation.scanner_effects_table import evaluate_scanner_effects
from dxa_monai.evaluation.truth_agreement import evaluate_composition
from dxa_monai.figures import contact_sheet
from dxa_monai.figures.contact_sheet import write_contact_sheet
from dxa_monai.files import atomic_path
from dxa_monai.handlers.reconstruction_writer import ReconstructionWriter
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.inference.meshes import collect_meshes, predict_meshes
from dxa_monai.inference.scanner_calibration import calibrate_scanner
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.runs.check_scans import check_scans
from dxa_monai.scan.format import unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_manifest, cohort_rows
from tests.evaluation.cohort_rows import write_cohort
from tests.killing import files_in, killed_at

pytestmark = pytest.mark.long


def _analyse(data: Path, output: Path) -> None:
    analyse_scans(collect_rows(data / "scans"), output, calibration="nominal", progress=False, pages=True)


def _predict(data: Path, output: Path) -> None:
    checkpoint = REPOSITORY / "bundles" / "pseudo_dxa" / "models" / "model.pt"
    rows = collect_meshes(data / "meshes")
    predict_meshes(
        rows, checkpoint, output, mesh={"unit": "m"}, calibration="nominal", pictures=False, formats=(".npy", ".nii.gz")
    )


def _check(data: Path, output: Path) -> None:
    check_scans(cohort_manifest(), output, ScanSource())


def _release(data: Path, output: Path) -> None:
    build_release(output, names=["dxa_body_composition"])


def _reconstruct(data: Path, output: Path) -> None:
    writer = ReconstructionWriter(output)
    engine: Any = type("Engine", (), {})()
    image = torch.full((1, 6, 150, 109), 0.1)
    batch = {"relative": ["visit/a.npy"], "image": image}
    pred = VAEOutput(image, torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4))
    engine.state = type("State", (), {"batch": batch, "output": {"pred": pred}, "epoch_length": 1})()
    writer.write(engine)


def _evaluate(data: Path, output: Path) -> None:
    evaluate_composition(cohort_rows()[:2], output, 1, ["nominal"], workers=0, resamples=5)


def _calibrate(data: Path, output: Path) -> None:
    calibrate_scanner(data / "phantom.npy", output / "scanner_model.json")


def _effects(data: Path, output: Path) -> None:
    evaluate_scanner_effects(cohort_rows()[:2], output, 2, 1, ["run"], ["none", "glare"], workers=0)


def _describe_population(data: Path, output: Path) -> None:
    write_population_report(data / "people", output / "cohort.md")


def _draw_contact_sheet(data: Path, output: Path) -> None:
    write_contact_sheet(cohort_manifest(), output / "contact_sheet.png", people=1)


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "analysis": _analyse,
    "meshes": _predict,
    "check of scans": _check,
    "release": _release,
    "reconstruction": _reconstruct,
    "evaluation": _evaluate,
    "calibration": _calibrate,
    "scanner effects": _effects,
    "population": _describe_population,
    "contact sheet": _draw_contact_sheet,
}


_scanners = lru_cache(draw_scanners)


@pytest.fixture(autouse=True)
def quick_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """To calibrate and to measure virtual scanners and to draw takes longer than all else."""

    def picture(*arguments: Any, **options: Any) -> Path:
        path = next(each for each in arguments if isinstance(each, Path))
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"picture")
        return path

    monkeypatch.setattr(measured, "draw_scanners", _scanners)
    monkeypatch.setattr(truth_agreement, "bland_altman_figure", picture)
    monkeypatch.setattr(scanner_effects_table, "effect_map_figure", picture)
    monkeypatch.setattr(scanner_effects_measured, "_measure", _measured)
    monkeypatch.setattr(page, "write_distributions", picture)
    monkeypatch.setattr(contact_sheet, "save_figure", picture)


def _measured(unit: Any) -> None:
    """Numbers in the file of a scanner and its people."""
    known = {"calibration": "run", "refused": False, "flags": "", "calibration_refused": ""}
    numbers = {f"{true}{name}": 1.0 for name in scanner_effects_measured.MEASURES for true in ("", "true_")}
    records = [{name: row[name] for name in ("scan_id", "subject_id")} | known | numbers for row in unit.rows]
    with atomic_path(unit.path) as temporary:
        temporary.write_text(json.dumps({"records": records}))


@pytest.fixture(autouse=True)
def any_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever works on the package may have files that git does not track yet."""
    monkeypatch.setattr(release, "refuse_untracked", lambda *_: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, mesh_pairs: Path) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    for name in ("scans", "meshes"):
        (folder / name).mkdir()
    shutil.copy(cohort_rows()[0]["scan"], folder / "scans" / "a.npy")
    shutil.copy(next((mesh_pairs.parent / "meshes").glob("*.ply")), folder / "meshes" / "a.ply")
    _scanners(1, 0)
    write_cohort(folder / "people", meshes=False)
    phantom = StepPhantom().scan(Acquisition(), torch.Generator().manual_seed(0))
    save_scan(RawScan(unit_to_counts(np.moveaxis(phantom.numpy(), 0, -1))), folder / "phantom.npy")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_at_every_rename_ends_as_one_that_was_not(
    name: str, data: Path, tmp_path: Path
) -> None:
    whole, cut, kills = tmp_path / "whole", tmp_path / "cut", 0
    while killed_at(kills, COMMANDS[name], data, cut):
        kills += 1
    assert kills > 1
    COMMANDS[name](data, whole)
    expected = {
        file: content.replace(str(whole).encode(), str(cut).encode()) for file, content in files_in(whole).items()
    }
    assert files_in(cut) == expected
