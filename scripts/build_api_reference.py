"""Writes docs/api.md, the public names and what their docstrings say: ``python -m scripts.build_api_reference``."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.files import atomic_path

SUBPACKAGES = (
    *("scan", "physics", "analysis", "mesh", "phantom", "networks", "losses", "metrics"),
    *("training", "evaluation", "experiments", "inference", "landmarks"),
)
PAGE = REPOSITORY / "docs" / "api.md"
_HEAD = """# API reference

The names that subpackages export, from their docstrings; arguments, shapes, units and errors stand there
(`help(dxa_monai.scan.ScanSource)`). Examples: [python.md](python.md). Made by `python -m scripts.build_api_reference`.
"""


def first_sentence(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    text = inspect.getdoc(thing) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def signature(thing: Any) -> str:
    """Names of the arguments, with defaults that are plain."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return ""
    shown = []
    for each in parameters:
        star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        plain = isinstance(each.default, (bool, int, float, str, type(None)))
        shown.append(f"{star}{each.name}" + (f"={each.default!r}" if plain and each.default is not each.empty else ""))
    return f"({', '.join(shown)})"


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for name in SUBPACKAGES:
        package = importlib.import_module(f"dxa_monai.{name}")
        parts.append(f"## dxa_monai.{name}\n\n{first_sentence(package)}\n\n| name | |\n|---|---|")
        for exported in package.__all__:
            thing = getattr(package, exported)
            if callable(thing):
                parts.append(f"| `{exported}{signature(thing)}` | {first_sentence(thing)} |")
            else:
                parts.append(f"| `{exported}` | a constant |")
        parts.append("")
    return "\n".join(parts)


def main(path: Path = PAGE) -> Path:
    """Write the page."""
    with atomic_path(path) as temporary:
        temporary.write_text(page(), encoding="utf-8")
    return path


if __name__ == "__main__":
    print(main())
