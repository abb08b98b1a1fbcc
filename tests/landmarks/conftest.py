"""A folder that inference wrote, of two scans; one of them has a name that is HTML."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from dxa_monai.inference.body_composition import analyse_scans, collect_rows
from dxa_monai.landmarks.folder import LandmarkFolder
from dxa_monai.landmarks.server import LandmarkServer
from dxa_monai.landmarks.session import ScanSession
from dxa_monai.scan.manifest import write_manifest
from tests.analysis.cohort import cohort_rows

NAMES = ("A01", "<img src=x onerror=\"document.title='ran'\">")


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``study/`` with a manifest and its scans. Do not write there."""
    study = tmp_path_factory.mktemp("landmarks") / "study"
    (study / "scans").mkdir(parents=True)
    rows = []
    for number, (row, name) in enumerate(zip(cohort_rows(), NAMES, strict=False)):
        shutil.copy(row["scan"], study / "scans" / f"{number}.npy")
        known = {each: row[each] for each in ("subject_id", "age_years", "sex", "height_cm", "mass_kg")}
        rows.append(known | {"scan_id": name, "scan": f"scans/{number}.npy"})
    write_manifest(rows, study / "manifest.csv")
    return study


@pytest.fixture(scope="session")
def analysed(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``study/`` and, of inference, ``run/`` beside it. Do not write there."""
    both = tmp_path_factory.mktemp("analysed")
    shutil.copytree(scans, both / "study")
    analyse_scans(collect_rows(both / "study" / "manifest.csv"), both / "run", progress=False)
    return both


@pytest.fixture
def run(analysed: Path, tmp_path: Path) -> Path:
    """A copy of the folder that inference wrote; the raw scans lie in ``../study`` of it."""
    shutil.copytree(analysed, tmp_path / "both")
    return tmp_path / "both" / "run"


@pytest.fixture
def server(run: Path) -> Iterator[LandmarkServer]:
    with LandmarkServer(LandmarkFolder(run)) as running:
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def session_of(run: Path, scan_id: str = NAMES[0]) -> ScanSession:
    """The session of a scan."""
    folder = LandmarkFolder(run)
    return folder.session(folder.scan_ids.index(scan_id))


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".in_use"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
