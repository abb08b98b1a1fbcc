import numpy as np
import pytest

from dxa_monai.scan.regions import (
    BONE_AREA_THRESHOLD_G_CM2,
    REGION_GROUPS,
    Region,
    android_gynoid,
    regional_totals,
    weighted_totals,
)

PIXEL_AREA_CM2 = 0.7878


@pytest.fixture
def body() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    regions = rng.integers(0, len(Region), (30, 20))
    density = rng.uniform(0, 20, (3, 30, 20)) * (regions > 0)
    density[2] *= 0.02
    return density, regions


def test_groups_add_up(body: tuple[np.ndarray, np.ndarray]) -> None:
    totals = regional_totals(*body, PIXEL_AREA_CM2)
    for quantity in ("fat_g", "lean_g", "bmc_g", "mass_g", "bone_area_cm2"):
        parts = {name: totals[f"{name}_{quantity}"] for name in REGION_GROUPS}
        assert parts["arms"] == pytest.approx(parts["left_arm"] + parts["right_arm"])
        assert parts["trunk"] == pytest.approx(parts["ribs"] + parts["spine"] + parts["pelvis"])
        assert parts["total"] == pytest.approx(parts["subtotal"] + parts["head"])
        assert parts["subtotal"] == pytest.approx(parts["trunk"] + parts["arms"] + parts["legs"])


def test_total_mass_is_the_sum_over_pixels(body: tuple[np.ndarray, np.ndarray]) -> None:
    totals = regional_totals(*body, PIXEL_AREA_CM2)
    assert totals["total_mass_g"] == pytest.approx(body[0].sum() * PIXEL_AREA_CM2, rel=1e-12)
    fat_share = 100 * body[0][0].sum() / body[0].sum()
    assert totals["total_fat_percent"] == pytest.approx(fat_share)


def test_bmd_is_over_bone_area_only() -> None:
    density = np.zeros((3, 2, 2))
    density[2] = [[1.0, 0.5], [0.9 * BONE_AREA_THRESHOLD_G_CM2, 0.0]]
    totals = regional_totals(density, np.full((2, 2), int(Region.LEFT_LEG)), 2.0)
    assert totals["left_leg_bone_area_cm2"] == 4.0
    assert totals["left_leg_bmd_g_cm2"] == pytest.approx(0.75)
    assert totals["left_leg_bmc_g"] == pytest.approx(2.0 * (1.5 + 0.9 * BONE_AREA_THRESHOLD_G_CM2))


def test_empty_region_has_zeros() -> None:
    totals = regional_totals(np.zeros((3, 2, 2)), np.zeros((2, 2), dtype=int), 1.0)
    assert set(totals.values()) == {0.0}


def standing_body(tilt: float = 0.0) -> np.ndarray:
    """Head above row 10, pelvis line at row 40 (rising by ``tilt`` rows a column), legs from row 60, arms beside."""
    regions = np.zeros((100, 41), dtype=np.uint8)
    rows, columns = np.indices(regions.shape)
    regions[:10, 15:26] = Region.HEAD
    regions[10:, 5:36] = np.where(np.abs(columns - 20) < 3, Region.SPINE, Region.RIBS)[10:, 5:36]
    pelvis = (regions > Region.RIGHT_LEG) & (rows > 39.5 - tilt * (columns - 20))
    regions[pelvis] = Region.PELVIS
    regions[60:, 5:20] = Region.RIGHT_LEG
    regions[60:, 20:36] = Region.LEFT_LEG
    regions[10:70, :5] = Region.RIGHT_ARM
    regions[10:70, 36:] = Region.LEFT_ARM
    return regions


def test_android_is_a_fifth_of_the_way_to_the_neck_and_gynoid_twice_as_high() -> None:
    android, gynoid = android_gynoid(standing_body())
    # neck line at 9.5, pelvis line at 39.5: android 6 rows high, gynoid from 9 to 21 rows below the pelvis line
    expected = np.zeros((100, 41))
    expected[34:40, 5:36] = 1.0
    np.testing.assert_allclose(android, expected)
    expected = np.zeros((100, 41))
    expected[49:61, 5:36] = 1.0
    np.testing.assert_allclose(gynoid, expected)


def test_android_and_gynoid_take_part_of_the_pixels_at_their_edges() -> None:
    regions = standing_body()
    regions[9] = regions[10]  # the neck line one row higher: 31 rows, android 6.2 rows
    android, gynoid = android_gynoid(regions)
    np.testing.assert_allclose(android[[33, 34, 39, 40], 20], [0.2, 1.0, 1.0, 0.0])
    np.testing.assert_allclose(android.sum(axis=0)[5:36], 6.2)
    np.testing.assert_allclose(gynoid.sum(axis=0)[5:36], 12.4)


def test_android_and_gynoid_lean_with_the_pelvis_line() -> None:
    android, _ = android_gynoid(standing_body(tilt=0.2))
    rows = np.arange(100)
    centre = (android * rows[:, None]).sum(axis=0)[5:36] / android.sum(axis=0)[5:36]
    assert np.polyfit(np.arange(5, 36), centre, 1)[0] == pytest.approx(-0.2, abs=0.03)


@pytest.mark.parametrize("gone", [Region.HEAD, Region.PELVIS])
def test_without_head_or_pelvis_there_is_no_android_or_gynoid(gone: Region) -> None:
    regions = standing_body()
    regions[regions == gone] = Region.BACKGROUND
    totals = regional_totals(np.ones((3, *regions.shape)), regions, 1.0)
    assert {totals[name] for name in totals if name.startswith(("android", "gynoid"))} == {0.0}


def test_android_and_gynoid_are_in_no_sum() -> None:
    regions = standing_body()
    density = np.random.default_rng(0).uniform(0, 5, (3, *regions.shape)) * (regions > 0)
    totals = regional_totals(density, regions, 0.5)
    assert totals["android_mass_g"] == pytest.approx(0.5 * density[:, 34:40, 5:36].sum())
    assert totals["gynoid_fat_g"] == pytest.approx(0.5 * density[0, 49:61, 5:36].sum())
    assert totals["total_mass_g"] == pytest.approx(0.5 * density.sum())
    assert "android" not in REGION_GROUPS


def test_weighted_totals_of_whole_pixels_are_those_of_the_region(body: tuple[np.ndarray, np.ndarray]) -> None:
    density, regions = body
    totals = regional_totals(density, regions, PIXEL_AREA_CM2)
    for quantity, value in weighted_totals(density, regions == Region.SPINE, PIXEL_AREA_CM2).items():
        assert value == pytest.approx(totals[f"spine_{quantity}"])
