"""The page: one text with its style and scripts inside, and the policy that lets a browser run these alone."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files

_STYLE, _SCRIPTS = "page.css", ("picture.js", "page.js")


@cache
def page() -> bytes:
    """The page, the same for every folder: what is in a folder is fetched by its scripts and shown as text."""
    style = f"<style>{_asset(_STYLE)}</style>"
    scripts = "\n".join(f"<script>{_asset(name)}</script>" for name in _SCRIPTS)
    text = _asset("page.html").replace("<!-- style -->", style).replace("<!-- scripts -->", scripts)
    return text.encode("utf-8")


@cache
def content_security_policy() -> str:
    """Nothing from elsewhere, no script or style but the page's own, by their SHA-256."""
    scripts = " ".join(_hash(_asset(name)) for name in _SCRIPTS)
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(_asset(_STYLE))}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _asset(name: str) -> str:
    return files("dxa_monai.landmarks").joinpath("data", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode()}'"
