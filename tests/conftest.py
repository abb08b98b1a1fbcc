"""Small data that tests of several folders share."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.parallel import worker_pool
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.phantom.body.model import BodyModel
from dxa_monai.scan.format import SCAN_SHAPE
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import BODY_MEASURES
from tests.bodies import coarse
from tests.bundles.processes import PRELOADED

if threading.current_thread() is threading.main_thread():
    # a shell starts what runs in the background deaf to Ctrl-C, and children inherit that; some tests interrupt them
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the same examples in every run, however busy the machine is: what passed here passes elsewhere; `--hypothesis-profile
# default` tries others
settings.register_profile("same_examples", derandomize=True, deadline=None)
settings.load_profile("same_examples")


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Reports go to another process as UTF-8, and their logs may show paths that are not: as escapes."""
    return _as_utf8((yield))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _as_utf8(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_utf8(each) for each in value)
    return value


def bar_scan(width: int, rng: np.random.Generator) -> RawScan:
    """A vertical bar of tissue that attenuates the low energy more, with noise."""
    counts = np.zeros((*SCAN_SHAPE, 6))
    counts[...] = [10, 15, 600, 1100, 1300, 1700]
    centre = SCAN_SHAPE[1] // 2
    counts[10:140, centre - width : centre + width] += [2500, 3200, 2400, 3000, 2450, 3100]
    counts += rng.normal(0, 5, counts.shape)
    return RawScan(np.clip(np.rint(counts), 0, 16383).astype(np.uint16))


@pytest.fixture(scope="session")
def bar_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of 20 people with bars of various widths; the first five have two scans."""
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(0)
    rows = []
    for person in range(20):
        width = int(rng.integers(10, 40))
        for visit in range(1, 3 if person < 5 else 2):
            scan_id = f"P{person:02d}-{visit}"
            save_scan(bar_scan(width, rng), folder / "scans" / f"{scan_id}.npy")
            rows.append(
                {
                    "subject_id": f"P{person:02d}",
                    "scan_id": scan_id,
                    "scan": f"scans/{scan_id}.npy",
                    "age_years": float(20 + 3 * person),
                }
            )
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def measured_pairs(bar_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of other people than the pretraining's, with all body measures."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = []
    for row in read_manifest(bar_cohort):
        scan = folder / "scans" / Path(row["scan"]).name
        scan.parent.mkdir(exist_ok=True)
        scan.write_bytes(Path(row["scan"]).read_bytes())
        size = float(rng.normal(1.0, 0.1))
        measures = {
            name: size * (20.0 + index) * (100.0 if name.endswith("_cm2") else 1.0)
            for index, name in enumerate(BODY_MEASURES)
        }
        rows.append(row | {"subject_id": "Q" + row["subject_id"], "scan": str(scan)} | measures)
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def body_model() -> BodyModel:
    """The body model, loaded once for all tests (some seconds)."""
    return BodyModel()


@pytest.fixture(scope="session")
def coarse_body(body_model: BodyModel) -> BodyMesh:
    woman = body_model.solve("F", 35, 166.0, 64.0)
    return coarse(BodyMesh(body_model.t_pose(woman).vertices_m, body_model.faces))


@pytest.fixture(scope="session")
def mesh_pairs(bar_cohort: Path, coarse_body: BodyMesh, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of other people than the pretraining's, each with a mesh of a size of their own."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = []
    for row in read_manifest(bar_cohort):
        person = "Q" + row["subject_id"]
        scan, mesh = folder / "scans" / Path(row["scan"]).name, folder / "meshes" / f"{person}.ply"
        for path in (scan, mesh):
            path.parent.mkdir(exist_ok=True)
        scan.write_bytes(Path(row["scan"]).read_bytes())
        if not mesh.exists():
            write_ply(mesh, coarse_body.vertices_m * rng.normal(1.0, 0.05, 3), coarse_body.faces)
        rows.append(row | {"subject_id": person, "scan": str(scan), "mesh": str(mesh)})
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def _server_of_workers() -> None:
    """A process that has imported what workers need, and forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    with worker_pool.inherited_by_workers():
        process = context.Process(target=int)
        process.start()
    process.join()


@pytest.fixture
def forked_workers(_server_of_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes that are there at once: to import torch and MONAI takes each of them ten seconds otherwise."""
    monkeypatch.setattr(worker_pool, "START_METHOD", "forkserver")
