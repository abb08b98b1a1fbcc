"""Templates of pages, filled in: what comes from outside is text, whatever it looks like."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dxa_monai.files import atomic_path


def render(template: str, **values: Any) -> str:
    """The text of a template of ``dxa_monai/pages/data``.

    Args:
        template: its name; ``.html.jinja`` escapes its values, ``.md.jinja`` does not.
        values: and functions, that the template names; ``code`` shows what stands between backquotes as code.
    """
    return _environment(template.endswith(".html.jinja")).get_template(template).render(**values).rstrip() + "\n"


@cache
def _environment(escaped: bool) -> Environment:
    """Keeps the templates that it has read."""
    environment = Environment(
        loader=PackageLoader("dxa_monai.pages", "data"),
        autoescape=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = with_code
    return environment


def write_page(path: Path, text: str) -> None:
    """Write a page; it is whole or not there."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def inlined(path: Path) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def with_code(text: object) -> Markup:
    """Text with its ``code`` as HTML."""
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(each) if place % 2 else escape(each) for place, each in enumerate(parts)
    )
