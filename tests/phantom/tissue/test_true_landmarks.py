"""True landmarks cut the true silhouette into the true regions."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.analysis.landmark_finder import find_landmarks
from dxa_monai.analysis.landmarks import LANDMARK_NAMES, Landmarks, landmarks_from_points
from dxa_monai.analysis.region_cuts import region_map_from_landmarks
from dxa_monai.evaluation.agreement import dice
from dxa_monai.phantom.simulate import Visit
from dxa_monai.phantom.tissue.projection import Frame
from dxa_monai.scan.regions import REGION_GROUPS
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_people, cohort_rows


def visits() -> list[Visit]:
    return [visit for record in cohort_people()[0] for visit in record.visits]


def as_landmarks(visit: Visit) -> Landmarks:
    assert visit.landmarks is not None
    points = {
        name: (float(row), float(column)) for name, (row, column) in zip(LANDMARK_NAMES, visit.landmarks, strict=True)
    }
    return landmarks_from_points(points, visit.tissue.region_map.shape)


def overlaps(landmarks: Landmarks, regions: np.ndarray) -> dict[str, float]:
    cut = region_map_from_landmarks(landmarks, regions > 0)
    return {name: dice(np.isin(cut, codes), np.isin(regions, codes)) for name, codes in REGION_GROUPS.items()}


def test_they_cut_the_true_regions_and_no_worse_than_those_that_rules_find() -> None:
    true, by_rules = [], []
    for visit in visits():
        regions = visit.tissue.region_map
        found = find_landmarks(visit.tissue.areal_density_g_cm2, regions > 0, visit.frame.pixel_spacing_mm).landmarks
        assert found is not None
        true.append(overlaps(as_landmarks(visit), regions))
        by_rules.append(overlaps(found, regions))
    for name in REGION_GROUPS:
        reached = np.mean([each[name] for each in true])
        assert reached > 0.96, name
        assert reached > np.mean([each[name] for each in by_rules]) - 0.005, name


def test_a_cohort_keeps_them_beside_the_scan() -> None:
    for row, visit in zip(cohort_rows(), visits(), strict=True):
        assert np.array_equal(load_truth(row).landmarks, visit.landmarks)


def test_points_move_with_the_frame() -> None:
    frame, other = Frame(-0.3, 0.9), Frame(-0.3 + 0.00606, 0.9 - 0.026)
    point = np.array([[0.1, 0.0, 0.2]])
    expected = other.to_pixels(point)[0, [1, 0]] - frame.to_pixels(point)[0, [1, 0]]
    assert frame.displacement_px(other) == pytest.approx(expected)
    assert frame.displacement_px(other) == pytest.approx([-2.0, -1.0])
