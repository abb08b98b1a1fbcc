"""The rules, the released network, and the network where the rules find none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.analysis.landmark_finder import LandmarkFinder, LandmarkResult, find_landmarks
from dxa_monai.analysis.landmarks import LANDMARK_NAMES, Landmarks
from dxa_monai.analysis.quality import landmark_flags
from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.errors import InputError
from dxa_monai.inference import landmark_finders
from dxa_monai.inference.landmark_finders import FINDERS, NetworkFinder, check_finder, finder_record, landmark_finder
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.landmark_net import LandmarkNetwork, other_side
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.truth import load_truth
from tests.analysis.cohort import cohort_rows, raw_scan

RELEASED = REPOSITORY / "bundles" / "dxa_body_composition" / "models" / "landmarks.pt"
SPACING = (13.0, 6.06)


def network() -> LandmarkFinder:
    return landmark_finder("network", RELEASED)


def person(index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True maps, body and landmarks."""
    truth = load_truth(cohort_rows()[index])
    assert truth.landmarks is not None
    return truth.areal_density_g_cm2, truth.region_map > 0, truth.landmarks


def points(landmarks: Landmarks | None) -> np.ndarray:
    assert landmarks is not None
    return np.array([landmarks.point(name) for name in LANDMARK_NAMES])


def apart_mm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm((first - second) * SPACING, axis=1)


def test_the_released_network_is_small_and_finds_people_it_was_not_trained_on() -> None:
    assert RELEASED.stat().st_size < 1_000_000
    for index in range(len(cohort_rows())):
        areal, body, true = person(index)
        found = network()(areal, body, SPACING)
        assert found.flags == ("placed_by_network",)
        assert np.median(apart_mm(points(found.landmarks), true)) < 10.0
        assert (apart_mm(points(found.landmarks), true) < 30.0).mean() > 0.9


def test_a_body_that_lies_elsewhere_has_its_landmarks_there() -> None:
    areal, body, _ = person()
    before = points(network()(areal, body, SPACING).landmarks)
    for rows, columns in ((0, 3), (-2, 0), (1, -4)):
        moved = np.roll(areal, (rows, columns), axis=(1, 2)), np.roll(body, (rows, columns), axis=(0, 1))
        assert not moved[1][[0, -1]].any()
        after = points(network()(*moved, SPACING).landmarks)
        assert apart_mm(after, before + np.array([rows, columns])).max() < 12.0


def test_a_mirrored_body_has_mirrored_landmarks() -> None:
    areal, body, _ = person()
    before = network()(areal, body, SPACING).landmarks
    after = network()(areal[:, :, ::-1], body[:, ::-1], SPACING).landmarks
    assert before is not None
    assert after is not None
    for name in LANDMARK_NAMES:
        row, column = after.point(other_side(name))
        assert (row, body.shape[1] - 1 - column) == pytest.approx(before.point(name), abs=1e-3)


@pytest.mark.parametrize("finer", [2, 3])
def test_finer_pixels_have_the_same_points_in_millimetres(finer: int) -> None:
    areal, body, _ = person()
    before = points(network()(areal, body, SPACING).landmarks)
    fine = np.kron(areal, np.ones((1, finer, finer))), np.kron(body, np.ones((finer, finer))) > 0
    after = points(network()(*fine, (SPACING[0] / finer, SPACING[1] / finer)).landmarks)
    assert apart_mm((after + 0.5) / finer - 0.5, before).max() < 0.01


def test_other_pixels_have_nearly_the_same_points() -> None:
    areal, body, _ = person()
    before = points(network()(areal, body, SPACING).landmarks)
    share = np.array([120 / 150, 132 / 109])
    other = np.stack([zoom(each, share, order=1, grid_mode=True, mode="grid-constant") for each in areal])
    after = network()(other, other.sum(axis=0) > 0.5, (SPACING[0] / share[0], SPACING[1] / share[1])).landmarks
    assert apart_mm((points(after) + 0.5) / share - 0.5, before).max() < 12.0


def test_in_parts_of_a_body_it_finds_none() -> None:
    areal, body, true = person()
    crotch = int(true[LANDMARK_NAMES.index("crotch"), 0])
    rows = np.arange(body.shape[0])[:, None]
    for kept in (body & (rows > crotch), body & (rows < crotch)):
        assert network()(areal * kept, kept, SPACING).landmarks is None
    assert network()(areal[:, ::-1], body[::-1], SPACING).landmarks is None


def test_where_the_rules_find_landmarks_nothing_changes() -> None:
    for index in range(len(cohort_rows())):
        areal, body, _ = person(index)
        assert landmark_finder("rules_then_network", RELEASED)(areal, body, SPACING) == find_landmarks(
            areal, body, SPACING
        )


def test_where_they_find_none_the_network_does_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    areal, body, _ = person()
    none = LandmarkResult(None, ("no_head",))
    monkeypatch.setattr(landmark_finders, "find_landmarks", lambda *_: none)
    both = landmark_finder("rules_then_network", RELEASED)
    found = both(areal, body, SPACING)
    assert found.landmarks == network()(areal, body, SPACING).landmarks
    assert found.flags == ("no_head", "placed_by_network")
    (flag,) = landmark_flags(found.flags, True)
    assert flag.name == "landmarks_by_network"
    assert not flag.fatal
    assert "the rules found none (no head on shoulders" in flag.sentence
    assert both(areal[:, ::-1], body[::-1], SPACING) == none


def test_a_scan_of_the_network_has_numbers_and_a_flag() -> None:
    raw = torch.from_numpy(raw_scan())
    by_rules = analyse_scan(raw, ScannerModel())
    asked = analyse_scan(raw, ScannerModel(), find=landmark_finder("network", RELEASED))
    told = {flag.name: flag for flag in asked.flags}["landmarks_by_network"]
    assert told.sentence == "A network placed all cut lines, as was asked for: look at the picture."
    assert not told.fatal
    assert asked.totals["total_fat_g"] == pytest.approx(by_rules.totals["total_fat_g"])
    again = analyse_scan(raw, ScannerModel(), find=landmark_finder("rules_then_network", RELEASED))
    assert again.totals == by_rules.totals
    assert again.flags == by_rules.flags


def test_what_is_none_of_them_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^landmark_finder: expected one of rules, network, rules_then_network, got"):
        check_finder("guess", None)
    with pytest.raises(InputError, match=r"^landmark_network: expected the network that network asks, got None\.$"):
        check_finder("network", None)
    missing = tmp_path / "none.pt"
    with pytest.raises(InputError, match=r"none\.pt: expected a file of network weights, got no such file\.$"):
        check_finder("network", missing)
    save_network(LandmarkNetwork(["crotch"], (2,) * 6), tmp_path / "other.pt")
    with pytest.raises(InputError, match="expected a network of the 24 landmarks, got one of 1 others"):
        check_finder("network", tmp_path / "other.pt")
    check_finder(FINDERS[0], None)


def test_an_untrained_network_finds_none() -> None:
    torch.manual_seed(0)
    areal, body, _ = person()
    assert NetworkFinder(LandmarkNetwork(features=(2,) * 6))(areal, body, SPACING).landmarks is None


def test_reports_depend_on_the_network(tmp_path: Path) -> None:
    assert finder_record("rules", RELEASED) == {}
    noted = finder_record("rules_then_network", RELEASED)
    assert noted["landmark_finder"] == "rules_then_network"
    save_network(LandmarkNetwork(features=(2,) * 6), tmp_path / "other.pt")
    assert finder_record("rules_then_network", tmp_path / "other.pt") != noted
