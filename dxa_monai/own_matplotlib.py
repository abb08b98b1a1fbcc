"""matplotlib as this package wants it, whatever the user's environment says.

``MPLBACKEND`` may name a backend that only a notebook has, and matplotlib then cannot be imported at all; a user's
``matplotlibrc`` may ask for LaTeX, or for other fonts and colours. Names of scans are text: ``$`` begins no formula.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

_VARIABLE = "MPLBACKEND"
_chosen = os.environ.pop(_VARIABLE, None)
try:
    import matplotlib
    import matplotlib.style
    from matplotlib.path import Path as Outline
finally:
    if _chosen is not None:
        os.environ[_VARIABLE] = _chosen
if _chosen:
    with suppress(ValueError):  # not one that this environment has: figures are drawn without any
        matplotlib.rcParams["backend"] = _chosen

__all__ = ["Outline", "in_own_style"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_own_style(draw: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """A function that draws with matplotlib's defaults, text as text; the user's own settings are there again after."""

    @functools.wraps(draw)
    def drawn(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        with matplotlib.style.context(["default", {"text.parse_math": False}]):
            return draw(*args, **kwargs)

    return drawn
