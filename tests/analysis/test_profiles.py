import numpy as np
import pytest

from dxa_monai.analysis.profiles import band_mean, first_crossing


def test_crossing_is_where_the_straight_profile_has_the_level() -> None:
    profile = np.array([0.0, 0.0, 1.0, 3.0, 3.0, 1.0])
    assert first_crossing(profile, 2.0, 0, 5, rising=True) == pytest.approx(2.5)
    assert first_crossing(profile, 2.0, 3, 5, rising=False) == pytest.approx(4.5)
    assert first_crossing(profile, 2.0, 3, 0, rising=False, step=-1) == pytest.approx(2.5)


def test_no_crossing_is_none() -> None:
    profile = np.zeros(5)
    assert first_crossing(profile, 1.0, 0, 4, rising=True) is None
    assert first_crossing(profile, 1.0, 3, 9, rising=True) is None


def test_band_mean_is_over_the_band_alone() -> None:
    image = np.array([[1.0, 3.0, 100.0], [5.0, 7.0, 100.0]])
    band = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(band_mean(image, band), [2.0, 0.0])
