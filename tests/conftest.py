"""Small data that tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dxa_monai.scan.format import SCAN_SHAPE
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import write_manifest


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
