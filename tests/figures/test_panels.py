from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import draw_points, grid_of_panels, measure_panels, new_figure, save_figure


def test_what_the_last_row_lacks_is_empty() -> None:
    figure, grid = grid_of_panels(5, 2.0, 1.5, columns=3, heading=0.5)
    assert (figure.get_figwidth(), figure.get_figheight()) == (6.0, 3.5)
    assert [axis.axison for axis in figure.axes] == [True] * 5 + [False]
    assert len(grid) == 5


def test_every_group_has_its_points_and_colour() -> None:
    values, truth = np.arange(6.0), np.arange(6.0) + 0.5
    _, (panel,) = measure_panels({"a_cm": (values, truth)}, 6, 2.0, 2.0)
    draw_points(panel, panel.truth, panel.values, ["F", "M", "F", "M", "X", "X"])
    lines = panel.axis.get_lines()
    assert [line.get_label() for line in lines] == ["F", "M", "X"]
    assert len({line.get_color() for line in lines}) == 3
    np.testing.assert_array_equal(lines[1].get_xdata(), truth[[1, 3]])
    np.testing.assert_array_equal(lines[1].get_ydata(), values[[1, 3]])


@pytest.mark.parametrize("scans", [0, 2, 4])
def test_another_number_of_scans_is_refused_by_name(scans: int) -> None:
    with pytest.raises(InputError, match=r"a_cm: expected as many values as true ones"):
        measure_panels({"a_cm": ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])}, scans, 2.0, 2.0)


@pytest.mark.parametrize("ending", [".png", "", ".pdf", ".svg"])
def test_the_ending_names_the_format(tmp_path: Path, ending: str) -> None:
    path = save_figure(new_figure(1.0, 1.0), tmp_path / f"sheet{ending}", dpi=50)
    beginning = path.read_bytes()[:5]
    assert beginning == {".pdf": b"%PDF-", ".svg": b"<?xml"}.get(ending, b"\x89PNG\r")


def test_a_png_has_the_same_bytes_again_and_the_size_it_was_given(tmp_path: Path) -> None:
    first, second = (save_figure(new_figure(2.0, 1.0), tmp_path / f"{name}.png", dpi=50) for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert b"matplotlib" not in first.read_bytes().lower()
    assert imread(first).shape[:2] == (50, 100)
