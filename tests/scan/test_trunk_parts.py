"""Ribs by side and the spine above and below T12: halves that make up their regions, and where the vertebrae are."""

from __future__ import annotations

import numpy as np
import pytest

from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.phantom.skeleton.placed import place_skeleton
from dxa_monai.scan.regions import Region, regional_totals
from dxa_monai.scan.trunk_parts import THORACOLUMBAR_SHARE, TRUNK_PARTS, trunk_part_totals, trunk_parts

HEAD, RIBS, SPINE, PELVIS = (int(region) for region in (Region.HEAD, Region.RIBS, Region.SPINE, Region.PELVIS))


def _chest(tilt: float = 0.0) -> np.ndarray:
    """Head of ten rows, chest of 50 with a spine six columns wide, pelvis of ten rows."""
    codes = np.zeros((72, 41), dtype=np.uint8)
    codes[:10, 15:26], codes[10:60, 5:36], codes[60:70, 5:36] = HEAD, RIBS, PELVIS
    for row in range(10, 60):
        start = 18 + round(tilt * (row - 35))
        codes[row, start : start + 5] = SPINE
    return codes


@pytest.mark.parametrize("tilt", [0.0, 0.2, -0.2])
def test_parts_make_up_their_regions(tilt: float) -> None:
    codes = _chest(tilt)
    parts = trunk_parts(codes)
    assert tuple(parts) == TRUNK_PARTS
    assert np.array_equal(parts["left_ribs"] + parts["right_ribs"], codes == RIBS)
    assert np.allclose(parts["thoracic_spine"] + parts["lumbar_spine"], codes == SPINE)
    left, right = parts["left_ribs"] > 0, parts["right_ribs"] > 0
    for row in range(10, 60):  # the patient's left is at the high columns
        assert np.flatnonzero(right[row]).max() < np.flatnonzero(codes[row] == SPINE).min()
        assert np.flatnonzero(left[row]).min() > np.flatnonzero(codes[row] == SPINE).max()


def test_the_spine_is_cut_at_its_share_of_the_way_to_the_neck() -> None:
    lumbar = trunk_parts(_chest())["lumbar_spine"].sum() / 5.0  # rows of five pixels
    assert lumbar == pytest.approx(THORACOLUMBAR_SHARE * 50.0)


def test_totals_of_the_parts_add_up() -> None:
    codes = _chest(0.1)
    maps = np.random.default_rng(0).uniform(0.0, 2.0, (3, *codes.shape))
    parts, whole = trunk_part_totals(maps, codes, 0.8), regional_totals(maps, codes, 0.8)
    for quantity in ("fat_g", "lean_g", "bmc_g", "mass_g", "bone_area_cm2"):
        assert parts[f"left_ribs_{quantity}"] + parts[f"right_ribs_{quantity}"] == pytest.approx(
            whole[f"ribs_{quantity}"]
        )
        assert parts[f"thoracic_spine_{quantity}"] + parts[f"lumbar_spine_{quantity}"] == pytest.approx(
            whole[f"spine_{quantity}"]
        )


@pytest.mark.parametrize("gone", [Region.HEAD, Region.SPINE, Region.PELVIS])
def test_without_head_spine_or_pelvis_there_are_no_parts(gone: Region) -> None:
    codes = _chest()
    codes[codes == int(gone)] = 0
    assert all(not share.any() for share in trunk_parts(codes).values())


def test_the_cut_is_within_two_and_a_half_centimetres_of_the_twelfth_thoracic_disc() -> None:
    simulator = Simulator()
    person = sample_person(3, 77)
    body, frame, _ = simulator._lie_down(person, simulator.phenotype(person), 0)
    assert body is not None
    assert frame is not None
    skeleton = place_skeleton(body, simulator.model, person.frame_scale, person.asymmetry)
    rest = skeleton.skeleton
    middles = [skeleton.vertices_m[rest.select(f"vertebra_{name}")].mean(axis=0) for name in ("T12", "L1")]
    disc_row = frame.to_pixels(np.mean(middles, axis=0)[None])[0, 1]
    regions = simulator.scan(person, body, frame, 0).tissue.region_map
    parts = trunk_parts(regions)
    rows = np.arange(regions.shape[0])
    boundary = rows[parts["lumbar_spine"].sum(axis=1) > 0].min()
    assert abs(boundary - disc_row) * frame.pixel_spacing_mm[0] < 25.0
