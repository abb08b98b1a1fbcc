import numpy as np
import pytest

from dxa_monai.analysis.upright import clean_silhouette, smooth_maps, turned_upright

SPACING_MM = (13.0, 6.06)


@pytest.mark.parametrize("tilt_deg", [-8.0, 0.0, 5.0])
def test_a_leaning_line_stands_upright_and_points_come_back(tilt_deg: float) -> None:
    shape = (120, 130)
    rows, columns = np.indices(shape)
    tilt = np.deg2rad(tilt_deg)
    along_mm = (rows - 59.5) * SPACING_MM[0]
    line_column = 64.5 + np.tan(tilt) * along_mm / SPACING_MM[1]
    image = np.exp(-(((columns - line_column) / 2.0) ** 2))
    scan = turned_upright(image, image, image > 0.5, SPACING_MM, tilt)
    inner = scan.bone_g_cm2[25:-25]
    peaks = inner.argmax(axis=1)
    assert np.ptp(peaks) <= 1
    middle = np.column_stack([np.arange(25.0, 25 + len(peaks)), np.full(len(peaks), peaks.mean())])
    back = scan.to_image(middle)
    expected = 64.5 + np.tan(tilt) * (back[:, 0] - 59.5) * SPACING_MM[0] / SPACING_MM[1]
    np.testing.assert_allclose(back[:, 1], expected, atol=0.8)


def test_mirrored_twice_is_the_scan() -> None:
    image = np.random.default_rng(0).random((40, 30))
    scan = turned_upright(image, image, image > 0.5, SPACING_MM, 0.05)
    again = scan.mirrored().mirrored()
    np.testing.assert_array_equal(again.bone_g_cm2, scan.bone_g_cm2)
    assert not np.array_equal(scan.mirrored().bone_g_cm2, scan.bone_g_cm2)


def test_specks_are_removed_and_a_hand_is_kept() -> None:
    body = np.zeros((60, 60), dtype=bool)
    body[5:55, 20:40] = True
    body[30:38, 5:11] = True
    body[2, 2] = True
    expected = body.copy()
    expected[2, 2] = False
    np.testing.assert_array_equal(clean_silhouette(body), expected)
    assert not clean_silhouette(np.zeros((4, 4), dtype=bool)).any()


def test_values_that_are_not_finite_count_nothing() -> None:
    density = np.ones((3, 20, 20))
    body = np.ones((20, 20), dtype=bool)
    density[:, 3, 3] = np.nan
    density[:, 9, 9] = np.inf
    soft, bone, _ = smooth_maps(density, body, SPACING_MM)
    assert np.isfinite(soft).all()
    assert np.isfinite(bone).all()
