"""Templates of pages, filled in: what comes from outside is text, whatever it looks like."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dxa_monai.files import atomic_path


def render(template: str, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """The text of a template of ``dxa_monai/pages/data``.

    Args:
        template: its name; ``.html.jinja`` escapes its values, ``.md.jinja`` does not.
        filters: besides ``code``, which shows what stands between backquotes as code.
        values: that the template names.
    """
    environment = Environment(
        loader=PackageLoader("dxa_monai.pages", "data"),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"code": with_code, **(filters or {})}
    return environment.get_template(template).render(**values).rstrip() + "\n"


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
