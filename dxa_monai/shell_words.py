"""A command as it is typed into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def as_typed(arguments: Sequence[str]) -> str:
    """Words of a command line; lists and mappings have Python's single quotes, so that the shell's are double ones."""
    return " ".join(
        f'"{word}"' if "'" in word and not set(word) & set('"$`\\!') else shlex.quote(word) for word in arguments
    )
