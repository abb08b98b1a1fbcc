import numpy as np
import pytest

from dxa_monai.scan.regions import BONE_AREA_THRESHOLD_G_CM2, REGION_GROUPS, Region, regional_totals

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
