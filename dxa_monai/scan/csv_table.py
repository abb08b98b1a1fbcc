"""CSV files as lists of cells, with the line each came from, so that an error can name it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_input

Cells = list[str]

MAX_TABLE_BYTES = 50_000_000
"""A hundred thousand scans with all that is known of them."""
MAX_TABLE_CELLS = 5_000_000

_MOST_NAMED = 20
"""Columns of a header that a sentence repeats; `body_composition.csv` has over 150."""
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
"""What some programs put between cells instead."""

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet takes for a formula, or, behind apostrophes, what :func:`harmless` has made of one."""


def harmless(cell: Any) -> Any:
    """A cell as it is written: text that a spreadsheet would take for a formula is put behind an apostrophe.

    Numbers are numbers, also as text. :func:`as_meant` gives back what was there.
    """
    if not isinstance(cell, str) or _FORMULA.match(cell) is None or _is_number(cell):
        return cell
    return f"'{cell}"


def as_meant(cell: str) -> str:
    """A cell without the apostrophe of :func:`harmless`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.startswith(("\t", "\r"))


def read_lines(path: Path) -> list[tuple[int, Cells]]:
    """Line number (the first is 1) and stripped cells of every line that is not blank.

    Raises:
        InputError: the file is missing, empty, too large, not UTF-8 or not CSV.
    """
    content = read_input(path, MAX_TABLE_BYTES, "a CSV file")
    cells_and_lines = sum(content.count(mark) for mark in (b",", b"\n", b"\r"))
    if cells_and_lines > MAX_TABLE_CELLS:
        raise InputError(f"{path}: expected a CSV file of at most {MAX_TABLE_CELLS} cells, got {cells_and_lines}.")
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [as_meant(cell.strip()) for cell in cells]) for cells in reader]
        if any("\0" in cell for _, cells in lines for cell in cells):
            raise csv.Error("a null character")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a CSV file in UTF-8, got '{error}'.") from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        raise InputError(f"{path}: expected a CSV file with rows, got an empty file.")
    return lines


def read_table(path: Path, required: Sequence[str], hint: str = "") -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column name of every row below the header.

    Args:
        path: CSV file whose first line names the columns.
        required: columns that must be there and filled in every row.
        hint: added to the sentence when one of them is missing.

    Raises:
        InputError: as :func:`read_lines`, or the header lacks a required column or repeats one, there is no row, a row
            has more or fewer cells than the header, or a required cell is empty.
    """
    (_, header), *lines = read_lines(path)
    missing = [name for name in required if name not in header]
    other = next((mark for mark in _OTHER_SEPARATORS if len(header) == 1 and mark in header[0]), None)
    if missing and other is not None:
        raise InputError(
            f"{path}: expected cells separated by commas, got {_OTHER_SEPARATORS[other]} in the header {header[0]!r}."
        )
    if missing:
        wanted = f"{'a column' if len(missing) == 1 else 'columns'} {' and '.join(missing)}"
        raise InputError(f"{path}: expected {wanted}, got {_named(header, missing)}{hint}.")
    for name, count in Counter(header).items():
        if count > 1 or not name:
            raise InputError(
                f"{path}: expected a name of its own for every column, got '{name}' in {', '.join(header)}."
            )
    if not lines:
        raise InputError(f"{path}: expected at least one row, got only a header.")
    rows = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise InputError(f"{path}, line {line}: expected {len(header)} cells, got {len(cells)}.")
        row = dict(zip(header, cells, strict=True))
        for name in required:
            if not row[name]:
                raise InputError(f"{path}, line {line}: expected a value in column {name}, got an empty cell.")
        rows.append((line, row))
    return rows


def _named(header: Sequence[str], missing: Sequence[str]) -> str:
    """The columns of a header in a sentence; of a wide one those alike to the missing ones, or else the first."""
    if len(header) <= _MOST_NAMED:
        return ", ".join(header)
    alike = dict.fromkeys(each for name in missing for each in get_close_matches(name, header, 2))
    named = list(alike) or list(header[:_MOST_NAMED])
    return f"{', '.join(named)} and {len(header) - len(named)} others"


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the columns of the rows; what a row lacks, or holds as None, is an empty cell. Whole or not there.

    Text that a spreadsheet would take for a formula is written as :func:`harmless` gives it, and read back as it was.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    output_folder(path.parent)
    with atomic_path(path) as temporary, _row_file(temporary) as file:
        writer = csv.writer(file, lineterminator=_ROW_END)
        writer.writerow(map(harmless, columns))
        writer.writerows([harmless(row.get(name)) for name in columns] for row in rows)


def write_frame(path: Path, table: pd.DataFrame, float_format: str = "%.6g") -> None:
    """Write a data frame without its index as :func:`write_table` writes rows, with numbers in the given format.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    with atomic_path(path) as temporary, _row_file(temporary) as file:
        table.rename(columns=harmless).map(harmless).to_csv(
            file, index=False, float_format=float_format, lineterminator=_ROW_END
        )


_ROW_END = "\r\n"
"""What ends a row for ``csv``: of the line breaks in a cell, Python before 3.13 quotes only those that are in it."""


class _RowFile(io.TextIOWrapper):
    """A file that is handed row by row, each with :data:`_ROW_END`, and ends its lines with ``\\n``."""

    def write(self, text: str, /) -> int:
        return super().write(text.removesuffix(_ROW_END) + "\n")


def _row_file(path: Path) -> _RowFile:
    # the names of files may have bytes that are no characters: they are written as escapes
    return _RowFile(path.open("wb"), encoding="utf-8", errors="backslashreplace", newline="")
