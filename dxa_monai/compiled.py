"""Functions that numba compiles, kept on disk for the next process where there is a place for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """``numba.njit``; where neither package nor home can be written to (a container), compiled in each process."""
    kept: Any
    try:
        kept = numba.njit(cache=True)(function)
    except RuntimeError:  # "no locator available"
        kept = numba.njit(function)
    return kept
