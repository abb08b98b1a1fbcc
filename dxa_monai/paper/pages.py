"""Tables of a report in other pages, so that these cannot say something else.

A page marks where a table stands::

    <!-- paper: table_1 -->
    (the table)
    <!-- end of table_1 -->
"""

from __future__ import annotations

import re
from pathlib import Path

from dxa_monai.errors import InputError
from dxa_monai.paper.tables import TABLES, UNREADABLE

_BLOCK = re.compile(r"<!-- paper: (\w+) -->\n(.*?)<!-- end of \1 -->", re.DOTALL)


def tables_of_page(text: str) -> list[str]:
    """Names of the tables that a page marks."""
    return [found[1] for found in _BLOCK.finditer(text)]


def with_tables(text: str, folder: str | Path) -> str:
    """A page with its tables as those in a folder of the paper are.

    Args:
        text: of the page.
        folder: with the tables of the parts, as ``configs/paper.json`` writes them.

    Raises:
        InputError: a name is none of ``TABLES``, or its numbers are not in the folder.
    """

    def filled(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise InputError(f"{name}: expected one of {', '.join(TABLES)}, got another name in a page.")
        try:
            table = TABLES[name][1](Path(folder))
        except UNREADABLE as error:
            raise InputError(f"{folder}: expected the numbers of {name}, got '{error}'.") from error
        note = f"{table.note}\n" if table.note else ""
        return f"<!-- paper: {name} -->\n\n{table.as_markdown()}\n\n{note}\n<!-- end of {name} -->".replace(
            "\n\n\n", "\n\n"
        )

    return _BLOCK.sub(filled, text)
