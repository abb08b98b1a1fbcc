"""Bodies of the virtual cohort's model for tests that need meshes with scans."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dxa_monai.evaluation.retriangulation import clustered
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.scan.io import RawScan, save_scan


def simulated_people(folder: Path, count: int, seed: int = 11) -> list[dict[str, Any]]:
    """Manifest rows of virtual people with scan, truth in columns, and mesh (T-pose, the body model's topology)."""
    simulator = Simulator()
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        record = simulator.simulate_person(index, seed)
        visit = record.visits[0]
        save_scan(RawScan(visit.counts), folder / f"{index}.npy")
        write_ply(folder / f"{index}.ply", record.vertices_m, simulator.model.faces)
        rows.append(
            {
                "subject_id": f"B{index}",
                "scan_id": f"B{index}-1",
                "scan": str(folder / f"{index}.npy"),
                "mesh": str(folder / f"{index}.ply"),
            }
            | visit.totals
        )
    return rows


def coarse(mesh: BodyMesh) -> BodyMesh:
    """About 3,000 faces, quick to read and check."""
    return clustered(mesh, 3000)
