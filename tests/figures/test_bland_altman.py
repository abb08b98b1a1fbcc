from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.bland_altman import bland_altman_figure


def test_a_panel_each_and_the_same_bytes_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(30.0, 5.0, 50)
    pairs = {f"measure {index}": (truth + rng.normal(size=50), truth) for index in range(7)}
    path = bland_altman_figure(pairs, tmp_path / "a.png", ["F", "M"] * 25, "title")
    image = imread(path)
    assert image.shape[1] > image.shape[0] > 100
    assert image[..., :3].std() > 0.02
    assert bland_altman_figure(pairs, tmp_path / "b.png", ["F", "M"] * 25, "title").read_bytes() == path.read_bytes()


def test_one_scan_and_no_difference_are_drawn(tmp_path: Path) -> None:
    assert bland_altman_figure({"a": ([1.0], [1.0])}, tmp_path / "a.png").is_file()


@pytest.mark.parametrize("pairs", [{}, {"a": ([1.0, 2.0], [1.0])}, {"a": ([], [])}])
def test_what_cannot_be_drawn_is_refused(pairs: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        bland_altman_figure(pairs, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
