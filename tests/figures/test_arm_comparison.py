from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from numpy.testing import assert_allclose

from dxa_monai.errors import InputError
from dxa_monai.figures.arm_comparison import comparison_figure, error_percent
from dxa_monai.scan.format import SCAN_SHAPE


@pytest.fixture
def scan() -> np.ndarray:
    return np.random.default_rng(0).random((6, *SCAN_SHAPE))


def test_error_is_signed_percent_of_the_range_of_the_channel() -> None:
    target = np.zeros((6, 4, 4))
    target[:, 0, 0] = np.array([0.1, 0.2, 0.4, 0.5, 0.8, 1.0])
    prediction = target.copy()
    prediction[:, 1, 1] += 0.02
    prediction[:, 2, 2] -= 0.01
    error = error_percent(prediction, target)
    assert_allclose(error[:, 1, 1], [20, 10, 5, 4, 2.5, 2])
    assert_allclose(error[:, 2, 2], [-10, -5, -2.5, -2, -1.25, -1])
    assert np.count_nonzero(error) == 12


def test_error_of_a_flat_channel_is_in_percent_of_full_scale() -> None:
    assert_allclose(error_percent(np.full((6, 3, 3), 0.51), np.full((6, 3, 3), 0.5)), 1.0)


@pytest.mark.parametrize(("arms", "rows"), [(1, 3), (2, 5)])
def test_figure_grows_with_the_arms_and_panels_have_the_proportions_of_the_body(
    tmp_path: Path, scan: np.ndarray, arms: int, rows: int
) -> None:
    path = comparison_figure(scan, {f"arm_{index}": scan + 0.01 for index in range(arms)}, tmp_path / "f.png", dpi=40)
    height, width, _ = matplotlib.image.imread(path).shape
    body_height = 0.85 * 1950 / 660.54
    assert width == pytest.approx(40 * (6 * 0.85 + 5 * 0.05 + 1.2), abs=1)
    assert height == pytest.approx(40 * (rows * body_height + (rows - 1) * 0.05 + 0.53), abs=1)


def test_a_perfect_reconstruction_is_drawn(tmp_path: Path, scan: np.ndarray) -> None:
    assert comparison_figure(scan, {"perfect": scan}, tmp_path / "f.png", dpi=40).stat().st_size > 0


def test_figure_does_not_stay_in_pyplot(tmp_path: Path, scan: np.ndarray) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    comparison_figure(scan, {"arm": scan}, tmp_path / "f.pdf", dpi=40)
    assert plt.get_fignums() == before


def test_wrong_input_leaves_no_file(tmp_path: Path, scan: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"no_dxa: expected a reconstruction of shape \(6, 150, 109\)"):
        comparison_figure(scan, {"no_dxa": scan[:, :-1]}, tmp_path / "f.png")
    with pytest.raises(InputError, match="at least one arm"):
        comparison_figure(scan, {}, tmp_path / "f.png")
    with pytest.raises(InputError, match="target"):
        comparison_figure(scan[:3], {"arm": scan[:3]}, tmp_path / "f.png")
    assert list(tmp_path.iterdir()) == []
