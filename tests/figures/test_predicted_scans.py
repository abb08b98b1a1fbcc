from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.predicted_scans import Prediction, people_page, prediction_figure
from dxa_monai.mesh.io import BodyMesh

TETRAHEDRON = BodyMesh(
    np.array([[-0.4, 0.0, 0.0], [0.4, 0.0, 0.0], [0.0, -0.3, 0.2], [0.0, 0.0, 1.7]]),
    np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]]),
)


def _prediction(error: float = 0.01, target: bool = True) -> Prediction:
    scan = np.linspace(0.1, 0.5, 6 * 150 * 109).reshape(6, 150, 109)
    return Prediction("somebody", TETRAHEDRON, scan if target else None, scan + error)


def test_error_is_a_percentage_of_the_channel_s_range() -> None:
    prediction = _prediction(error=0.01)
    span = np.ptp(np.asarray(prediction.target)[0])
    np.testing.assert_allclose(prediction.error[0], 100 * 0.01 / span, rtol=1e-6)
    assert prediction.psnr_db == pytest.approx(40.0)


def test_figures_are_written_and_not_empty(tmp_path: Path) -> None:
    with_truth = imread(prediction_figure(_prediction(), tmp_path / "three.png"))
    alone = imread(prediction_figure(_prediction(target=False), tmp_path / "alone.png"))
    page = imread(people_page([_prediction(0.01 * index) for index in range(1, 4)], tmp_path / "page.png"))
    assert with_truth.shape[0] > 2 * alone.shape[0]
    for picture in (with_truth, alone, page):
        assert picture[..., :3].std() > 0.05
    # the error of too high a prediction is red in the last row
    lower = with_truth[int(0.8 * len(with_truth)) :, int(0.4 * with_truth.shape[1]) : int(0.85 * with_truth.shape[1])]
    assert (lower[..., 0] - lower[..., 2]).mean() > 0.1


def test_a_page_needs_people_with_true_scans(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        people_page([], tmp_path / "page.png")
    with pytest.raises(InputError, match="expected a true scan"):
        people_page([_prediction(target=False)], tmp_path / "page.png")
