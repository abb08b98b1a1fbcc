"""CSV files as lists of cells, with the line each came from, so that an error can name it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.input_files import read_input

Cells = list[str]

MAX_TABLE_BYTES = 50_000_000
"""A hundred thousand scans with all that is known of them."""
MAX_TABLE_CELLS = 5_000_000


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
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
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
    if missing:
        wanted = f"{'a column' if len(missing) == 1 else 'columns'} {' and '.join(missing)}"
        raise InputError(f"{path}: expected {wanted}, got {', '.join(header)}{hint}.")
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


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the columns of the rows; what a row lacks, or holds as None, is an empty cell. Whole or not there.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    output_folder(path.parent)
    # the names of files may have bytes that are no characters: they are written as escapes
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([row.get(name) for name in columns] for row in rows)
