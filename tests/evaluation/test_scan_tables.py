"""The same tables, numbers and lines for everything that predicts scans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from dxa_monai.evaluation.arms import Findings
from dxa_monai.evaluation.held_out import HeldOutPeople
from dxa_monai.evaluation.scan_tables import scan_findings
from dxa_monai.evaluation.scans import MEASURES, ORIGINAL
from dxa_monai.scan.source import ScanSource
from tests.evaluation.test_image_quality_tables import quality_table

SCANS = {"a-1": "a", "a-2": "a", "b-1": "b", "c-1": "c"}
PEOPLE = HeldOutPeople(
    "test", [{"scan_id": scan, "subject_id": person} for scan, person in SCANS.items()], [], ScanSource(), 0
)


@pytest.fixture
def measured() -> pd.DataFrame:
    """An arm that is 1 off the scan in everything, seed by seed; nobody knows the truth."""
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for scan, person in SCANS.items():
        values = rng.uniform(100.0, 200.0, len(MEASURES))
        for arm, seed, off in ((ORIGINAL, 0, 0.0), ("net", 0, 1.0), ("net", 1, -1.0)):
            ids = {"scan_id": scan, "subject_id": person, "arm": arm, "seed": seed}
            rows.append(ids | dict(zip(MEASURES, values + off, strict=True)))
    return pd.DataFrame(rows)


def _findings(measured: pd.DataFrame, composition: bool) -> Findings:
    quality = quality_table({"training_mean": [20.0, 22.0, 24.0, 26.0], "net": [21.0, 23.0, 25.0, 27.0]})
    without_image = {"training_mean": np.full((len(SCANS), len(MEASURES)), 150.0)} if len(measured) else {}
    return scan_findings(quality, measured, without_image, PEOPLE, 0, lambda folder: {}, composition)


def test_images_and_composition_make_six_tables(measured: pd.DataFrame) -> None:
    found = _findings(measured, composition=True)
    images = ["image_quality", "image_quality_differences", "image_quality_per_scan"]
    bodies = ["composition", "composition_differences", "composition_per_scan"]
    assert list(found.tables) == [*images, *bodies]
    assert found.metrics["net/psnr_db"] == pytest.approx(24.0)
    assert found.metrics["net/total_fat_g_rmse_of_scan"] == pytest.approx(1.0)
    assert set(found.tables["composition"]["arm"]) == {"training_mean", "net"}
    assert set(found.tables["composition_per_scan"]["reference"]) == {"scan"}
    text = "\n".join(found.text)
    assert "Image quality on 3 people held out" in text
    assert "Body composition against the analysis of the true scan, R2 (RMSE):" in text


def test_a_line_tells_that_there_was_no_body_where_one_was_looked_for() -> None:
    for composition in (True, False):
        found = _findings(pd.DataFrame(), composition)
        assert list(found.tables) == ["image_quality", "image_quality_differences", "image_quality_per_scan"]
        told = "No body composition: a whole body was found in none of the 4 scans." in found.text
        assert told == composition
