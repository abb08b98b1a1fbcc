from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import run

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.phantom.body import BodyModel
from dxa_monai.phantom.mesh import write_ply
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import ANTHROPOMETRY_15
from tests.bodies import coarse
from tests.bundles.tiny import VAE, bundle_files


@pytest.fixture(autouse=True)
def excepthook() -> Iterator[None]:
    """The commands install a hook of their own; other tests must not see it."""
    before = sys.excepthook
    yield
    sys.excepthook = before


@pytest.fixture(scope="session")
def trained_arms(bar_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of two tiny arms, trained with the small preset's config and tracked in one MLflow database."""
    root = tmp_path_factory.mktemp("arms")
    for arm in ("no_dxa", "dxa_masked"):
        run(
            config_file=bundle_files("dxa_vae", "train.json", "preset_small.json", "mlflow.json"),
            bundle_root=str(root),
            dataset_dir=str(bar_cohort.parent),
            arm=arm,
            output_dir=str(root / arm),
            **VAE,
        )
    return {arm: root / arm for arm in ("no_dxa", "dxa_masked")}


@pytest.fixture(scope="session")
def measured_pairs(bar_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifest of other people than the pretraining's, with 15 measures."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(1)
    rows = []
    for row in read_manifest(bar_cohort):
        scan = folder / "scans" / Path(row["scan"]).name
        scan.parent.mkdir(exist_ok=True)
        scan.write_bytes(Path(row["scan"]).read_bytes())
        size = float(rng.normal(1.0, 0.1))
        measures = {name: 50.0 * size * (index + 1) for index, name in enumerate(ANTHROPOMETRY_15)}
        rows.append(row | {"subject_id": "Q" + row["subject_id"], "scan": str(scan)} | measures)
    write_manifest(rows, folder / "manifest.csv")
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def coarse_body() -> BodyMesh:
    model = BodyModel()
    return coarse(BodyMesh(model.t_pose(model.solve("F", 35, 166.0, 64.0)).vertices_m, model.faces))


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
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clouds")
