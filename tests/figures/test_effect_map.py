from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.effect_map import FIELD_COLOURS, effect_map_figure

TITLES = {"glare": "glare", "export": "export"}


def _table() -> pd.DataFrame:
    cells = [
        ("glare", "0.1 %", "told", "standing"),
        ("glare", "1 %", "silent", "none"),
        ("export", "10 bits", "accurate", "none"),
        ("export", "8 bits", "told", "effect"),
    ]
    rows = []
    for effect, strength, verdict, warning in cells:
        numbers = (np.nan, np.nan) if warning == "effect" else (12.3, -0.5)
        row = {"effect": effect, "strength": strength, "calibration": "run", "warning": warning, "refused_share": 0.1}
        for short in ("fat", "lean", "bmc"):
            row |= {f"{short}_bias_percent": numbers[0], f"{short}_r2": numbers[1], f"{short}_passes": verdict}
        rows.append(row)
    return pd.DataFrame(rows)


def test_fields_have_their_verdicts_colours_and_the_file_the_same_bytes_again(tmp_path: Path) -> None:
    path = effect_map_figure(_table(), tmp_path / "a.png", TITLES, "title")
    image = imread(path)[..., :3]
    for colour in FIELD_COLOURS.values():
        assert (np.abs(image - np.array(to_rgb(colour))).max(axis=-1) < 0.01).mean() > 0.01
    assert effect_map_figure(_table(), tmp_path / "b.png", TITLES, "title").read_bytes() == path.read_bytes()


def test_a_cell_of_one_calibration_alone_leaves_the_other_ones_field_empty(tmp_path: Path) -> None:
    table = pd.concat([_table(), _table().iloc[:1].assign(calibration="phantom")])
    assert effect_map_figure(table, tmp_path / "a.png", TITLES).is_file()


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="table: expected at least one effect"):
        effect_map_figure(_table().iloc[:0], tmp_path / "a.png", TITLES)
