"""Rules and network against the true landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.evaluation.landmark_agreement import evaluate_landmarks, group_table, name_table
from dxa_monai.evaluation.landmark_measured import DICE_REGIONS
from tests.analysis.cohort import cohort_rows

RELEASED = REPOSITORY / "bundles" / "dxa_body_composition" / "models" / "landmarks.pt"


def scan(person: str, apart_cm: float, found: bool = True, group: str = "adults") -> dict[str, object]:
    apart = {f"{name}_cm": apart_cm if found else np.nan for name in LANDMARK_NAMES}
    overlap = {f"dice_{name}": 0.9 if found else np.nan for name in DICE_REGIONS}
    about = {"scan_id": person, "subject_id": person, "group": group, "finder": "rules", "ms": 1.0}
    return about | {"found": found, "seen": len(LANDMARK_NAMES)} | apart | overlap


def test_a_scan_without_landmarks_has_no_correct_one() -> None:
    measured = pd.DataFrame([scan("A", 1.0), scan("B", 4.0), scan("C", np.nan, found=False), scan("D", 2.0)])
    row = group_table(measured, resamples=50).iloc[0]
    assert (row["people"], row["scans"], row["found_percent"]) == (4, 4, 75.0)
    assert row["correct_percent"] == pytest.approx(50.0)
    assert row["correct_percent_of_found"] == pytest.approx(200.0 / 3.0)
    assert row["correct_percent_low"] <= 50.0 <= row["correct_percent_high"]
    assert row["median_cm"] == pytest.approx(2.0)
    assert row["dice_arms"] == pytest.approx(0.9)
    names = name_table(measured).set_index("landmark")
    assert names.loc["crotch", "correct_percent"] == pytest.approx(200.0 / 3.0)


def test_of_parts_of_a_body_only_what_is_found_counts() -> None:
    measured = pd.DataFrame([scan("A", np.nan, found=False, group="parts of a body")])
    assert "correct_percent" not in group_table(measured, resamples=10)


def test_people_are_measured_in_all_ways(tmp_path: Path) -> None:
    files = evaluate_landmarks(cohort_rows()[:1], tmp_path / "out", RELEASED, scanners=1, copies=1, resamples=20)
    table = pd.read_csv(files["landmarks"])
    assert set(table["group"]) == {"adults", "another scanner", "moved copies", "parts of a body"}
    assert set(table["finder"]) == {"rules", "network", "rules, then network"}
    of_network = table[table["finder"] == "network"].set_index("group")
    assert of_network["correct_percent"].drop("parts of a body").min() > 90.0
    assert of_network.loc["parts of a body", "found_percent"] == 0.0
    assert len(pd.read_csv(files["landmarks_by_name"])) == 3 * len(LANDMARK_NAMES)


def test_people_without_true_landmarks_are_told(tmp_path: Path) -> None:
    row = dict(cohort_rows()[0])
    with np.load(row["truth"]) as stored:
        np.savez(tmp_path / "old.npz", **{name: stored[name] for name in stored if name != "landmarks"})
    row["truth"] = str(tmp_path / "old.npz")
    with pytest.raises(
        InputError, match=r"old\.npz: expected the 24 landmarks that cohorts have since 0\.9\.0, got none"
    ):
        evaluate_landmarks([row], tmp_path / "out", RELEASED, scanners=1, copies=0, resamples=10)
