"""Public names of a subpackage, imported when they are first used: a light command does not load heavy modules."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a subpackage (PEP 562).

    Args:
        package: its ``__name__``.
        names: what each of its modules exports.
    """
    home = {name: module for module, exported in names.items() for name in exported}

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{home[name]}"), name)

    return get, lambda: sorted(home), sorted(home)
