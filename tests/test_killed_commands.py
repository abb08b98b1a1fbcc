"""Commands killed at their renames, just before each and just after: the next call leaves what an undisturbed one does.

The commands run in processes that are forked and end at once, so that nothing of theirs is tidied up.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from dxa_monai.bundling import release
from dxa_monai.bundling.release import REPOSITORY, build_release
from dxa_monai.handlers.reconstruction_writer import ReconstructionWriter
from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.inference.meshes import collect_meshes, predict_meshes
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.runs.check_scans import check_scans
from dxa_monai.runs.ownership import LOCK_NAME
from dxa_monai.scan.source import ScanSource
from tests.analysis.cohort import cohort_manifest, cohort_rows

KILLED, FINISHED = 77, 0


def _analyse(data: Path, output: Path) -> None:
    analyse_scans(collect_rows(data / "scans"), output, calibration="nominal", progress=False)


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


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "analysis": _analyse,
    "meshes": _predict,
    "check of scans": _check,
    "release": _release,
    "reconstruction": _reconstruct,
}


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
    return folder


def _killed_at(moment: int, command: Callable[[Path, Path], None], data: Path, output: Path) -> None:
    """Run a command and end its process before (even moments) or after (odd ones) a rename."""
    replace, left = os.replace, moment // 2

    def counting(source: Any, target: Any, **others: Any) -> None:
        nonlocal left
        if left == 0 and moment % 2 == 0:
            os._exit(KILLED)
        replace(source, target, **others)
        if left == 0:
            os._exit(KILLED)
        left -= 1

    os.replace = counting
    torch.set_num_threads(1)
    command(data, output)
    os._exit(FINISHED)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK_NAME
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_was_killed_at_every_rename_ends_as_one_that_was_not(
    name: str, data: Path, tmp_path: Path
) -> None:
    whole, cut, kills = tmp_path / "whole", tmp_path / "cut", 0
    for moment in count():
        arguments = (moment, COMMANDS[name], data, cut)
        process = multiprocessing.get_context("fork").Process(target=_killed_at, args=arguments)
        process.start()
        process.join()
        if process.exitcode == FINISHED:
            break
        assert process.exitcode == KILLED
        kills += 1
    assert kills > 1
    COMMANDS[name](data, whole)
    expected = {
        file: content.replace(str(whole).encode(), str(cut).encode()) for file, content in _files(whole).items()
    }
    assert _files(cut) == expected
