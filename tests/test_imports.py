"""Modules of the package import each other in one direction."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import dxa_monai

PACKAGE = Path(dxa_monai.__file__).parent


def _imports() -> dict[str, set[str]]:
    """What of the package every module imports: at its top, in functions, and for type checkers only."""
    files = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                modules = {f"{node.module}.{alias.name}" for alias in node.names} & set(files)
                named |= modules or {str(node.module)}
        found[module] = named & set(files) - {module}
    return found


def test_no_two_modules_need_each_other() -> None:
    imports = _imports()
    assert imports["dxa_monai.phantom.body.table"] >= {"dxa_monai.phantom.body.model"}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
