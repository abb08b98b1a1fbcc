"""Which ``dxa_monai`` runs a bundle: the bundle's own, or another that happens to be installed."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dxa_monai


def version_remark(metadata: Mapping[str, Any]) -> str | None:
    """One sentence if a ``dxa_monai`` of another version than the bundle's runs or is installed; None otherwise.

    A downloaded bundle holds the ``dxa_monai`` that it was released with, of the bundle's own version. Python finds
    that one when the command runs in the bundle's folder; from elsewhere it may find an installed one.

    Args:
        metadata: the bundle's ``metadata.json``; where it names no version nothing is said.
    """
    wanted, running = metadata.get("version"), dxa_monai.__version__
    if wanted is None:
        return None
    package = Path(dxa_monai.__file__).resolve().parent
    if running != wanted:
        return (
            f"{package}: expected dxa_monai {wanted}, the version of this bundle, got {running}; "
            "run a downloaded bundle in its own folder, which holds the right one."
        )
    installed = _installed_version()
    if package.parent.name == metadata.get("name") and installed not in (None, wanted):
        return f"dxa_monai {installed} is installed, but not used: this bundle runs with its own {wanted}, {package}."
    return None


def _installed_version() -> str | None:
    try:
        return importlib.metadata.version("dxa_monai")
    except importlib.metadata.PackageNotFoundError:
        return None
