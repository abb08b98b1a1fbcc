from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.search_overview import search_figure


def _table(trials: int = 20) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rate = 10 ** rng.uniform(-4, -2, trials)
    return pd.DataFrame(
        {
            "trial": range(trials),
            "state": (["complete"] * 3 + ["pruned", "failed"]) * (trials // 5),
            "psnr_db": 36 - np.square(np.log10(rate) + 2.7) + rng.normal(0, 0.1, trials),
            "rate": rate,
            "batch_size": rng.choice(["4", "16", "8"], trials),
        }
    )


def test_figure_is_drawn_with_the_same_bytes_again(tmp_path: Path) -> None:
    def draw(name: str, **more: object) -> Path:
        return search_figure(_table(), tmp_path / name, "psnr_db", ["rate", "batch_size"], logarithmic=["rate"], **more)

    first = draw("a.png", importances={"rate": 0.9, "batch_size": 0.1})
    assert imread(first)[..., :3].std() > 0.02
    assert draw("b.png", importances={"rate": 0.9, "batch_size": 0.1}).read_bytes() == first.read_bytes()
    assert draw("c.png").read_bytes() != first.read_bytes()
    assert draw("d.png", greater_is_better=False).read_bytes() != (tmp_path / "c.png").read_bytes()


def test_one_trial_is_enough_and_none_is_not(tmp_path: Path) -> None:
    search_figure(_table()[:1], tmp_path / "one.png", "psnr_db", ["rate"])
    with pytest.raises(InputError, match="at least one complete trial"):
        search_figure(_table()[:0], tmp_path / "none.png", "psnr_db", ["rate"])
