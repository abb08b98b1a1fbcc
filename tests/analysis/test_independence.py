"""The analysis shares material tables with the simulator and nothing else: no spectrum, no detector, no body."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dxa_monai

PACKAGE = Path(dxa_monai.__file__).parent
FORBIDDEN = ("dxa_monai.physics.spectra", "dxa_monai.physics.response", "dxa_monai.physics.acquisition")
ANALYSIS = sorted(f"dxa_monai.analysis.{path.stem}" for path in (PACKAGE / "analysis").glob("[a-z]*.py"))


def _file(module: str) -> Path | None:
    stem = PACKAGE.parent.joinpath(*module.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imports(module: str) -> set[str]:
    """Modules of this package that a module imports when it runs, in functions too, but not for type checkers only."""
    path = _file(module)
    assert path is not None
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(str(node.module))
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {name for name in found if name.startswith("dxa_monai") and _file(name) is not None}


def _chains(start: str) -> dict[str, list[str]]:
    """Every module reached from ``start`` and the chain of imports that leads there."""
    chains = {start: [start]}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        for name in sorted(_imports(module)):
            if name not in chains:
                chains[name] = [*chains[module], name]
                waiting.append(name)
    return chains


@pytest.mark.parametrize("module", ANALYSIS)
def test_analysis_reaches_no_spectrum_detector_or_phantom_body(module: str) -> None:
    for name, chain in _chains(module).items():
        allowed = name not in FORBIDDEN and not name.startswith("dxa_monai.phantom")
        assert allowed, " -> ".join(chain)


def test_the_simulator_does_reach_them() -> None:
    reached = _chains("dxa_monai.phantom.cohort")
    assert set(FORBIDDEN) <= set(reached)
    assert "dxa_monai.physics.scanner_model" not in reached
