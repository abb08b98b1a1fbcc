"""How large a mesh file may be, so that a file that lies about its size cannot fill the memory."""

from __future__ import annotations

from pathlib import Path

from dxa_monai.errors import InputError

MAX_FILE_BYTES = 500_000_000
"""Default limit of a file and, for glTF, of all buffers together."""

MAX_TEXT_BYTES = 200_000_000
"""Limit of a file of text, which takes several times its own size while it is read."""

MAX_ELEMENTS = 5_000_000
"""Limit of vertices and of faces: ten times a dense body scan, and below the 2**24 faces of ``torch.multinomial``."""


def check_element_count(path: Path, count: int, what: str) -> None:
    """Refuse more than ``MAX_ELEMENTS`` vertices or faces.

    Raises:
        InputError: there are more.
    """
    if count > MAX_ELEMENTS:
        raise InputError(f"{path}: expected at most {MAX_ELEMENTS} {what}, got {count}.")


def check_text_size(path: Path, size: int) -> None:
    """Refuse text of more than ``MAX_TEXT_BYTES``.

    Raises:
        InputError: it is longer.
    """
    if size > MAX_TEXT_BYTES:
        raise InputError(
            f"{path}: expected at most {MAX_TEXT_BYTES / 1e6:g} MB of text, got {size / 1e6:.0f} MB: "
            "export the binary form of the format."
        )
