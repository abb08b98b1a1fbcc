"""``body_composition.csv`` as it is read again: whose scan, when, with which scanner, and its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dxa_monai.errors import InputError
from dxa_monai.inference.report import ABOUT_COLUMNS, STANDING_ENDINGS
from dxa_monai.scan.csv_table import read_table
from dxa_monai.scan.manifest import numeric_columns
from dxa_monai.scan.people import as_date, is_number


class CompositionRow(NamedTuple):
    """A scan.

    Attributes:
        subject_id: whose it is.
        scan_id: its name.
        scanner: how the scanner was calibrated.
        flags: names, in order.
        visit: cell of the column that orders visits; empty if none was asked for.
        values: its numbers by measure; without those that it does not have.
    """

    subject_id: str
    scan_id: str
    scanner: str
    flags: tuple[str, ...]
    visit: str
    values: dict[str, float]


class CompositionTable(NamedTuple):
    """All scans of a table that have numbers, and the measures in the order of its columns."""

    rows: list[CompositionRow]
    measures: list[str]


def read_composition(path: str | Path, visit: str = "") -> CompositionTable:
    """The scans of a ``body_composition.csv`` that have numbers.

    Args:
        path: of the table.
        visit: column that orders the scans of a person; empty: none is needed.

    Raises:
        InputError: it is no such table, a column is missing, a measure is no number, or a scan is there twice.
    """
    needed = ["subject_id", "scan_id", *([visit] if visit else [])]
    hint = f"; {visit} says when a scan was taken, and is repeated from the manifest" if visit else ""
    lines = read_table(Path(path), needed, hint)
    columns = list(lines[0][1])
    lacking = [name for name in ("scanner", "flags") if name not in columns]
    if lacking:
        raise InputError(f"{path}: expected a body_composition.csv, got a table without {' and '.join(lacking)}.")
    numeric = numeric_columns(Path(path), lines)
    measures = [
        name
        for name in columns
        if name in numeric and name not in (*ABOUT_COLUMNS, visit) and not name.endswith(STANDING_ENDINGS)
    ]
    rows: dict[str, CompositionRow] = {}
    for line, row in lines:
        if row["scan_id"] in rows:
            raise InputError(f"{path}, line {line}: expected each scan once, got '{row['scan_id']}' again.")
        values = {name: float(row[name]) for name in measures if row[name]}
        rows[row["scan_id"]] = CompositionRow(
            row["subject_id"],
            row["scan_id"],
            row["scanner"],
            tuple(row["flags"].split()),
            row[visit] if visit else "",
            values,
        )
    found = [row for row in rows.values() if row.values]
    if not found:
        raise InputError(f"{path}: expected scans with numbers, got {len(rows)} without.")
    return CompositionTable(found, [name for name in measures if any(name in row.values for row in found)])


def moment(row: CompositionRow, column: str, path: str | Path) -> tuple[int, float]:
    """What orders the visits of a person: dates among themselves, numbers among themselves.

    Raises:
        InputError: the cell is neither a date (2026-11-30 or 20261130) nor a number.
    """
    date = as_date(row.visit)
    if date:
        return 0, float(date)
    if is_number(row.visit):
        return 1, float(row.visit)
    raise InputError(
        f"{path}: expected a date (2026-11-30) or a number in column {column}, got '{row.visit}' for scan "
        f"'{row.scan_id}'."
    )
