"""Compiled functions where there is no place for them on disk."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from dxa_monai.compiled import compiled


def _sum(first: float, second: float) -> float:
    return first + second


def test_without_a_place_on_disk_a_function_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def refuse(*functions: Any, cache: bool = False) -> Any:
        if cache:
            raise RuntimeError("cannot cache function '_sum': no locator available for file")
        return njit(*functions)

    monkeypatch.setattr(numba, "njit", refuse)
    assert compiled(_sum)(1.0, 2.0) == 3.0
