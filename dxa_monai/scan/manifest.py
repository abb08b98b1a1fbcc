"""The manifest: a CSV file that lists scans, one row each, with what is known about them.

==============  ========  =============================================================================
column          required  meaning
==============  ========  =============================================================================
``subject_id``  yes       the person; all scans of a person stay in one split
``scan``        yes       file of the raw scan, relative to the data folder
``scan_id``     no        name of the scan, unique; by default the file name without its ending
``age_years``   no        age at this scan
``sex``         no        as written by the user
``height_cm``   no
``mass_kg``     no
``mesh``        no        file of a body surface, relative to the data folder
``truth``       no        file of the true areal densities (virtual scans)
``patient_id``, no        person and study of DICOM objects, see :mod:`dxa_monai.dicom.study`; text
...
others          no        kept; a column that ends in a unit (``NUMERIC_ENDINGS``) holds numbers only
==============  ========  =============================================================================
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import path_inside
from dxa_monai.scan.csv_table import read_lines, read_table, write_table
from dxa_monai.scan.io import READ_ENDINGS, file_stem
from dxa_monai.scan.people import check_sexes, check_subjects, check_values, is_number

Row = dict[str, Any]

REQUIRED_COLUMNS = ("subject_id", "scan")
PATH_COLUMNS = ("scan", "mesh", "truth")
STUDY_COLUMNS = (
    *("patient_id", "patient_name", "patient_birth_date"),
    *("study_instance_uid", "study_id", "study_date", "accession_number"),
)
"""What DICOM objects of an analysis are linked by; see :mod:`dxa_monai.dicom.study`."""
TEXT_COLUMNS = ("subject_id", "scan_id", "sex", *PATH_COLUMNS, *STUDY_COLUMNS)
COLUMNS = ("subject_id", "scan_id", "scan", "age_years", "sex", "height_cm", "mass_kg", "mesh", "truth")
"""The columns this project knows, in the order they are written; any others follow in alphabetical order."""
NUMERIC_ENDINGS = ("_years", "_mm", "_cm", "_cm2", "_l", "_kg", "_g", "_g_cm2", "_percent", "_fraction")


def read_manifest(
    path: str | os.PathLike[str], data_root: str | os.PathLike[str] | None = None, of: str = "scan"
) -> list[Row]:
    """Read a manifest.

    Args:
        path: CSV file with a header, comma-separated, UTF-8.
        data_root: data folder that the paths are relative to and must stay in; None: the manifest's folder.
        of: column that every row has to have, "scan" or "mesh"; without a ``scan_id`` rows are called after its files.

    Returns:
        One dictionary a row. ``scan``, ``mesh`` and ``truth`` are absolute paths. A column that holds numbers only
        comes as float, any other as str, and so do ``sex`` and whatever ends in ``_id``. What is empty in the file is
        absent from the dictionary.

    Raises:
        InputError: the file is missing, empty or no CSV, lacks a column, writes one with other capitals, has a cell
            that is no number where one must be, repeats a scan or a scan_id, writes a person in two ways or as woman
            and man, has numbers that nobody has or that stand for "not known" (:mod:`dxa_monai.scan.people`), or names
            a file that is missing or outside the data folder.
    """
    path = Path(path)
    hint = "; a list of paths without a header is read by dxa_monai.scan.manifest.read_path_list"
    table = read_table(path, ("subject_id", of), hint if of == "scan" else "")
    _check_capitals(path, table[0][1])
    root = path.parent if data_root is None else Path(data_root)
    numeric = numeric_columns(path, table)
    located: list[tuple[int, Row]] = []
    for line, cells in table:
        for name in PATH_COLUMNS:
            cell = cells.get(name, "")
            if "\\" in cell and not os.path.lexists(root / cell):
                raise InputError(
                    f"{path}, line {line}: expected a path with / between folders in column {name}, got '{cell}'."
                )
        row: Row = {name: float(cell) if name in numeric else cell for name, cell in cells.items() if cell}
        row.setdefault("scan_id", _stem(row["scan"], path, line) if of == "scan" else Path(row[of]).stem)
        for name in PATH_COLUMNS:
            if name in row:
                row[name] = _path_in_root(row[name], root, name, path, line)
        located.append((line, row))
    return _checked(located, path, of)


def read_path_list(
    path: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None = None,
    subject_pattern: str | None = None,
) -> list[Row]:
    """Read a list of scan files, one path a row, as the published code keeps its splits.

    The first line is taken as a header if it does not end like a scan file. ``scan_id`` is the file name without its
    ending.

    Args:
        path: CSV file with a single column.
        data_root: data folder that the paths are relative to and must stay in; None: the list's folder.
        subject_pattern: regular expression searched in each path as written; its first group (or, without a group,
            the whole match) is the ``subject_id``. None: the ``scan_id``, so that every scan counts as a person of
            its own. Give a pattern if people were scanned more than once.

    Returns:
        Rows with ``subject_id``, ``scan_id`` and ``scan`` (absolute path).

    Raises:
        InputError: as :func:`read_manifest`, or there is more than one column, or the pattern is not a regular
            expression or finds nothing in a path.
    """
    path = Path(path)
    lines = read_lines(path)
    for line, cells in lines:
        if len(cells) != 1:
            raise InputError(
                f"{path}, line {line}: expected one path a row, got {len(cells)} cells; "
                "a table with a header is read by dxa_monai.scan.manifest.read_manifest."
            )
    if not lines[0][1][0].lower().endswith(READ_ENDINGS):
        lines = lines[1:]
    if not lines:
        raise InputError(f"{path}: expected at least one path, got only a header.")
    try:
        pattern = None if subject_pattern is None else re.compile(subject_pattern)
    except re.error as error:
        raise InputError(
            f"subject_pattern: expected a regular expression, got '{subject_pattern}' ({error})."
        ) from error
    root = path.parent if data_root is None else Path(data_root)
    located: list[tuple[int, Row]] = []
    for line, (scan,) in lines:
        scan_id = _stem(scan, path, line)
        match = None if pattern is None else pattern.search(scan)
        if pattern is not None and match is None:
            raise InputError(f"{path}, line {line}: expected a path that matches '{subject_pattern}', got '{scan}'.")
        subject_id = scan_id if match is None else match[1 if match.re.groups else 0]
        if not subject_id:
            raise InputError(
                f"{path}, line {line}: expected '{subject_pattern}' to find a subject, got '' in '{scan}'."
            )
        row = {"subject_id": subject_id, "scan_id": scan_id, "scan": _path_in_root(scan, root, "scan", path, line)}
        located.append((line, row))
    return _checked(located, path)


def write_manifest(
    rows: Iterable[Mapping[str, Any]],
    path: str | os.PathLike[str],
    data_root: str | os.PathLike[str] | None = None,
) -> None:
    """Write a manifest that :func:`read_manifest` reads back; it is whole or not there.

    Columns come in the order of ``COLUMNS``, then the others by name, whatever the order in the rows.

    Args:
        rows: at least ``subject_id`` and ``scan`` each; paths absolute or relative to the data folder.
        path: CSV file to write.
        data_root: data folder that written paths are relative to; None: the manifest's folder.

    Raises:
        InputError: there is no row, a row lacks a required value, a column differs from one of this project in capitals
            alone, a scan or scan_id is repeated, a person has two sexes, a path lies outside the data folder, or the
            manifest's folder cannot be written to.
    """
    path = Path(path)
    root = path.parent if data_root is None else Path(data_root)
    written: list[tuple[int, Row]] = []
    for line, given in enumerate(rows, start=2):
        # an empty cell for None and for NaN, which tables put where nothing is known
        row = {name: value for name, value in given.items() if value is not None and value == value}
        for name in REQUIRED_COLUMNS:
            if not row.get(name):
                raise InputError(f"{path}, line {line}: expected a value in column {name}, got none.")
        row.setdefault("scan_id", _stem(str(row["scan"]), path, line))
        for name in PATH_COLUMNS:
            if name in row:
                inside = _path_in_root(str(row[name]), root, name, path, line)
                row[name] = Path(inside).relative_to(root.resolve()).as_posix()
        written.append((line, row))
    if not written:
        raise InputError(f"{path}: expected at least one row to write, got none.")
    names = {name for _, row in written for name in row}
    _check_capitals(path, names)
    _check_names(written, path)
    check_sexes(written, path)
    columns = [name for name in COLUMNS if name in names] + sorted(names.difference(COLUMNS))
    write_table(path, columns, (row for _, row in written))


def as_datalist(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Manifest rows as a MONAI data list: ``image`` (path of the scan), ``scan_id``, ``subject_id``.

    Only what every row has, since a batch cannot be collated from rows that differ in their keys.
    """
    return [{"image": row["scan"], "scan_id": row["scan_id"], "subject_id": row["subject_id"]} for row in rows]


def _check_capitals(path: Path, header: Iterable[str]) -> None:
    """Raise InputError if a column is one that this project knows, but for its capitals: it would say nothing."""
    names = set(header)
    for name in sorted(names):
        known = name.strip().lower()
        if known != name and known in {*COLUMNS, *STUDY_COLUMNS}.difference(names):
            raise InputError(f"{path}: expected the column {known} in small letters, got {name}.")


def numeric_columns(path: Path, table: list[tuple[int, dict[str, str]]]) -> set[str]:
    """Columns whose filled cells are all finite numbers.

    Raises:
        InputError: a column that ends in a unit holds something else.
    """
    numeric = set()
    for name in table[0][1]:
        if name in TEXT_COLUMNS or name.endswith("_id"):
            continue
        filled = [(line, row[name]) for line, row in table if row[name]]
        wrong = next(((line, cell) for line, cell in filled if not is_number(cell)), None)
        if wrong is None:
            numeric.add(name)
        elif name.endswith(NUMERIC_ENDINGS):
            raise InputError(
                f"{path}, line {wrong[0]}: expected a number or nothing in column {name}, got '{wrong[1]}'."
            )
    return numeric


def _stem(scan: str, manifest: Path, line: int) -> str:
    try:
        return file_stem(scan)
    except InputError as error:
        raise InputError(f"{manifest}, line {line}: {error}") from error


def _path_in_root(value: str, root: Path, column: str, manifest: Path, line: int) -> str:
    try:
        return str(path_inside(root, value))
    except ValueError as error:  # InputError, or a null byte in the path
        link = _link_out_of(root, value)
        got = f"'{value}'" if link is None else f"'{value}', which leaves it through the link {link}"
        raise InputError(
            f"{manifest}, line {line}: expected a {column} inside the data folder {root}, got {got}."
        ) from error


def _link_out_of(root: Path, value: str) -> Path | None:
    """The first link on the way to a file below the data folder that leads out of it; None if there is none."""
    place = root.resolve()
    for part in () if "\0" in value or Path(value).is_absolute() else Path(value).parts:
        place = place / part
        if part != ".." and place.is_symlink() and not place.resolve().is_relative_to(root.resolve()):
            return place
    return None


def _checked(located: list[tuple[int, Row]], path: Path, of: str = "scan") -> list[Row]:
    """The rows, if their names are unique, their people and numbers can be, and their files exist."""
    _check_names(located, path, of)
    check_subjects([(line, row["subject_id"]) for line, row in located], path)
    check_sexes(located, path)
    check_values(located, path)
    for name in PATH_COLUMNS:
        missing = [(line, row[name]) for line, row in located if name in row and not os.path.isfile(row[name])]
        if missing:
            line, first = missing[0]
            here = f"; paths are taken from {path.parent}, where {path.name} is a link" if path.is_symlink() else ""
            raise InputError(
                f"{path}, line {line}: expected the {name} file {first}, "
                f"got no such file ({len(missing)} missing in all){here}."
            )
    return [row for _, row in located]


def _check_names(located: list[tuple[int, Row]], path: Path, of: str = "scan") -> None:
    for line, row in located:
        # outputs are named after the scan_id, so it must not lead into another folder
        if set("/\\").intersection(str(row["scan_id"])):
            raise InputError(f"{path}, line {line}: expected a scan_id without / and \\, got '{row['scan_id']}'.")
        # a terminal obeys them, and a table with a line break in a name is two rows to many programs
        if any(unicodedata.category(mark) == "Cc" for mark in str(row["scan_id"])):
            raise InputError(f"{path}, line {line}: expected a scan_id of visible characters, got {row['scan_id']!a}.")
    for name in ("scan_id", of):
        first_line: dict[str, int] = {}
        for line, row in located:
            earlier = first_line.setdefault(row[name], line)
            if earlier != line:
                raise InputError(
                    f"{path}, line {line}: expected a {name} of its own for every row, "
                    f"got '{row[name]}' as in line {earlier}."
                )
