from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.measure_scatter import learning_curve_figure, scatter_figure


def test_scatter_is_drawn_with_the_same_bytes_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(30.0, 5.0, 40)
    pairs = {f"measure {index}": (truth + rng.normal(size=40), truth) for index in range(6)}
    path = scatter_figure(pairs, tmp_path / "a.png", ["F", "M"] * 20, "title")
    assert imread(path)[..., :3].std() > 0.02
    assert scatter_figure(pairs, tmp_path / "b.png", ["F", "M"] * 20, "title").read_bytes() == path.read_bytes()
    assert scatter_figure({"a": ([1.0], [1.0])}, tmp_path / "c.png", ["F"]).is_file()


@pytest.mark.parametrize("pairs", [{}, {"a": ([1.0, 2.0], [1.0])}, {"a": ([], [])}])
def test_what_cannot_be_drawn_is_refused(pairs: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        scatter_figure(pairs, tmp_path / "a.png", ["F"])
    assert list(tmp_path.iterdir()) == []


def test_learning_curve_draws_every_arm(tmp_path: Path) -> None:
    table = pd.DataFrame(
        [
            {"arm": arm, "training_pairs": pairs, "r2": level, "r2_low": level - 0.1, "r2_high": level + 0.05}
            for arm, start in (("one", 0.5), ("two", 0.7))
            for pairs, level in ((50, start), (885, start + 0.2))
        ]
    )
    both = imread(learning_curve_figure(table, tmp_path / "both.png"))
    one = imread(learning_curve_figure(table[table["arm"] == "one"], tmp_path / "one.png"))
    assert both.shape == one.shape
    assert not np.array_equal(both, one)
    with pytest.raises(InputError, match="at least one arm"):
        learning_curve_figure(table.iloc[:0], tmp_path / "none.png")
