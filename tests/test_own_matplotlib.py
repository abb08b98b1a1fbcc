"""Figures look the same whatever the user's environment asks of matplotlib."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.own_matplotlib import in_own_style


@in_own_style
def _draw(path: Path) -> bytes:
    figure = new_figure(2.0, 2.0, layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1e6])
    axes.set_title("A$_$B ${$ %s \\alpha")
    return save_figure(figure, path, dpi=50).read_bytes()


OTHERS = [
    {"text.usetex": True},
    {"axes.formatter.use_mathtext": True},
    {"axes.facecolor": "black", "font.size": 30},
    {"text.parse_math": True},
]


@pytest.mark.parametrize("settings", OTHERS)
def test_the_settings_of_a_user_change_nothing_and_are_kept(settings: dict[str, object], tmp_path: Path) -> None:
    plain = _draw(tmp_path / "plain.png")
    with matplotlib.rc_context(settings):
        assert _draw(tmp_path / "a.png") == plain
        assert {name: matplotlib.rcParams[name] for name in settings} == settings


@pytest.mark.parametrize("backend", ["module://nowhere_to_be_found.backend", "nonsense", "Agg"])
def test_a_backend_that_is_not_there_is_no_obstacle(backend: str, tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from dxa_monai.figures.panels import new_figure, save_figure\n"
        f"save_figure(new_figure(1.0, 1.0), {str(tmp_path / 'a.png')!r}, 50)\n"
        f"assert os.environ['MPLBACKEND'] == {backend!r}"
    )
    environment = os.environ | {"MPLBACKEND": backend}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "a.png").exists()
