from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.evaluation.perturbed import assign_scanners, draw_scanners, rescan
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_rows


def test_a_scanner_depends_on_seed_and_number_alone() -> None:
    few, more, other = draw_scanners(1, 5), draw_scanners(2, 5), draw_scanners(1, 6)
    assert few[0].acquisition == more[0].acquisition
    assert few[0].phantom_model.as_dict() == more[0].phantom_model.as_dict()
    assert len({scanner.acquisition for scanner in (*more, *other)}) == 3
    assert few[0].phantom_model.source == "phantom"


def test_no_scanner_is_refused() -> None:
    with pytest.raises(InputError, match="scanners: expected at least 1"):
        draw_scanners(0, 0)


def test_all_visits_of_a_person_are_on_one_scanner_and_scanners_take_turns() -> None:
    rows = [{"subject_id": f"P{index // 2}"} for index in range(12)]
    scanner_of = assign_scanners(rows, 4)
    assert [scanner_of[f"P{index}"] for index in range(6)] == [0, 1, 2, 3, 0, 1]
    assert assign_scanners(rows[::-1], 4) == scanner_of


def test_rescan_on_the_cohorts_own_scanner_differs_by_noise_alone() -> None:
    row = cohort_rows()[0]
    truth = load_truth(row)
    before = np.moveaxis(counts_to_unit(load_scan(row["scan"]).counts), -1, 0)
    again = rescan(truth, Acquisition(), 0, row["scan_id"]).numpy()
    thin = before[1] < 0.2
    assert np.abs(again - before)[:2, thin].max() < 0.005
    assert not np.array_equal(again, before)


def test_noise_depends_on_seed_and_scan_alone() -> None:
    truth = load_truth(cohort_rows()[0])
    first = rescan(truth, Acquisition(), 0, "A")
    assert first.equal(rescan(truth, Acquisition(), 0, "A"))
    assert not first.equal(rescan(truth, Acquisition(), 0, "B"))
    assert not first.equal(rescan(truth, Acquisition(), 1, "A"))


def test_missing_and_damaged_truth_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="A: expected a truth in the manifest"):
        load_truth({"scan_id": "A"})
    (tmp_path / "t.npz").write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(InputError, match="expected the truth of a virtual scan"):
        load_truth({"scan_id": "A", "truth": str(tmp_path / "t.npz")})
    np.savez(tmp_path / "u.npz", region_map=np.zeros((3, 3)))
    with pytest.raises(InputError, match="expected the truth of a virtual scan"):
        load_truth({"scan_id": "A", "truth": str(tmp_path / "u.npz")})
