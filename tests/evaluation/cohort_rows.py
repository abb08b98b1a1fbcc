"""A manifest of people who were never simulated, for the tests of the population's tables and page."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dxa_monai.cohort_report.build import COLUMNS, GIRTHS, SIDED
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.scan.manifest import write_manifest

TRIANGLE = np.array([[0, 1, 2]], dtype=np.int64)


def write_cohort(folder: Path, people: int = 200, meshes: bool = True, children: int = 20) -> Path:
    """Every second person a woman; the first person has two visits; the meshes' size follows the mass."""
    rng = np.random.default_rng(0)
    (folder / "scans").mkdir(parents=True)
    (folder / "meshes").mkdir()
    rows = []
    for index in range(people):
        child = index < children
        height = 140.0 if child else rng.normal(162.0 if index % 2 else 176.0, 7.0)
        mass = rng.normal(28.0, 4.0) * (height / 100.0) ** 2
        fat = rng.normal(40.0 if index % 2 else 28.0, 5.0)
        row = {
            "subject_id": f"S{index:03d}",
            "sex": "F" if index % 2 else "M",
            "age_years": rng.uniform(8, 18) if child else rng.uniform(18, 89),
            "height_cm": height,
            "total_mass_g": 1000.0 * mass,
            "total_fat_percent": fat,
            "total_fat_g": 10.0 * mass * fat,
            "total_lean_g": 10.0 * mass * (97.0 - fat),
            "total_bmc_g": 30.0 * mass,
            "total_bmd_g_cm2": rng.normal(1.1, 0.1),
            "total_bone_area_cm2": 1950.0,
            "waist_circumference_cm": 90.0,
            "hip_circumference_cm": 100.0,
        }
        # A tenth of everything in every region, and a tenth more on the left.
        row |= {name: row.get(f"total_{name.split('_', 1)[1]}", 40.0) / 10.0 for name in COLUMNS if name not in row}
        row |= {f"left_{name}": 1.1 * row[f"right_{name}"] for name in SIDED}
        row |= {girth.column: 0.2 * height + 0.5 * mass for girth in GIRTHS if girth.column not in row}
        for visit in range(2 if index == 0 else 1):
            scan = f"scans/S{index:03d}_V{visit + 1}.npy"
            (folder / scan).touch()
            rows.append({**row, "scan": scan, "total_bmc_g": row["total_bmc_g"] * (1.0 + visit)})
            if meshes:
                rows[-1]["mesh"] = f"meshes/S{index:03d}.ply"
        vertices = mass * np.eye(3) + rng.standard_normal((3, 3))
        write_ply(folder / f"meshes/S{index:03d}.ply", vertices, TRIANGLE)
    write_manifest(rows, folder / "manifest.csv")
    return folder
