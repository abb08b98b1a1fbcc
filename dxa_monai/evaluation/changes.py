"""What has changed between a person's scans, and whether it is more than repeated scans scatter."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.evaluation.composition_rows import CompositionRow, moment, read_composition
from dxa_monai.evaluation.precision import VIRTUAL, read_precision
from dxa_monai.files import output_folder
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.csv_table import write_table

CHANGES_NAME = "changes.csv"
COLUMNS = (
    *("subject_id", "measure", "since", "from_scan", "to_scan", "from_visit", "to_visit"),
    *("before", "after", "change", "least_significant_change", "significant", "reason", "flags"),
)
SHOWN = ("total_fat_g", "total_lean_g", "total_bmc_g", "total_bmd_g_cm2")
"""Measures that the terminal tells of."""
_SIGNIFICANT_DIGITS = 6


@letting_go()
def measure_changes(
    table: str | Path, output_dir: str | Path, visit: str = "study_date", precision: str | Path | None = None
) -> list[dict[str, Any]]:
    """Write ``changes.csv``: each later scan of a person against the first one and against the one before.

    ``significant`` says whether a change is at least the least significant one; it is empty, with a ``reason``, where
    that cannot be said: scans that were read with different scanners, a measure whose precision is not known.

    Args:
        table: ``body_composition.csv`` with ``subject_id`` and the column of the visits.
        output_dir: gets the file.
        visit: column that orders the scans of a person: dates, or numbers such as an age.
        precision: ``precision.csv`` of repeated scans on the same scanner
            (:func:`dxa_monai.evaluation.precision.measure_precision`); None: that of virtual people, which is told.

    Returns:
        The rows of the file.

    Raises:
        InputError: a table cannot be used, two scans of a person have one visit, nobody has several scans, or the
            folder holds another file of that name.
    """
    least = read_precision(VIRTUAL if precision is None else precision)
    scans = read_composition(table, visit)
    people: dict[str, list[CompositionRow]] = defaultdict(list)
    for row in scans.rows:
        people[row.subject_id].append(row)
    rows = []
    for own in people.values():
        ordered = _in_order(own, visit, table)
        for place, later in enumerate(ordered[1:]):
            rows += _changes("first", ordered[0], later, scans.measures, least)
            if place:
                rows += _changes("previous", ordered[place], later, scans.measures, least)
    if not rows:
        raise InputError(f"{table}: expected people with several scans, got one scan of each of {len(people)}.")
    folder = claim_outputs(output_folder(output_dir), [CHANGES_NAME])
    write_table(folder / CHANGES_NAME, COLUMNS, rows)
    _tell(rows, folder / CHANGES_NAME)
    if precision is None:
        print(
            "Least significant changes are those of virtual people on a virtual scanner; measure your own with "
            "bundles/dxa_body_composition/configs/precision.json and give them as --precision."
        )
    return rows


def _in_order(own: list[CompositionRow], visit: str, table: str | Path) -> list[CompositionRow]:
    moments = {row.scan_id: moment(row, visit, table) for row in own}
    ordered = sorted(own, key=lambda row: moments[row.scan_id])
    if len({kind for kind, _ in moments.values()}) > 1:
        raise InputError(f"{table}: expected dates or numbers in column {visit}, got both for '{own[0].subject_id}'.")
    for first, second in pairwise(ordered):
        if moments[first.scan_id] == moments[second.scan_id]:
            raise InputError(
                f"{table}: expected one scan of a person for each {visit}, got '{first.scan_id}' and "
                f"'{second.scan_id}' of '{first.subject_id}' for {first.visit}."
            )
    return ordered


def _changes(
    since: str, before: CompositionRow, after: CompositionRow, measures: list[str], least: dict[str, float]
) -> list[dict[str, Any]]:
    about = {
        "subject_id": after.subject_id,
        "since": since,
        "from_scan": before.scan_id,
        "to_scan": after.scan_id,
        "from_visit": before.visit,
        "to_visit": after.visit,
        "flags": " ".join(dict.fromkeys((*before.flags, *after.flags))),
    }
    rows = []
    for name in measures:
        row: dict[str, Any] = about | {"measure": name, "before": before.values.get(name)}
        row |= {"after": after.values.get(name), "least_significant_change": least.get(name)}
        if row["before"] is None or row["after"] is None:
            row["reason"] = "a scan has no such number"
        else:
            change = row["after"] - row["before"]
            row["change"] = float(f"{change:.{_SIGNIFICANT_DIGITS}g}")
            if before.scanner != after.scanner:
                row["reason"] = f"read with different scanners: {before.scanner}, {after.scanner}"
            elif name not in least:
                row["reason"] = "its precision is not known"
            else:
                row["significant"] = "yes" if abs(change) >= least[name] else "no"
        rows.append(row)
    return rows


def _tell(rows: list[dict[str, Any]], path: Path) -> None:
    people = len({row["subject_id"] for row in rows})
    print(f"Changes of {people} people since their first scan: {path}")
    for name in SHOWN:
        found = [row for row in rows if row["measure"] == name and row["since"] == "first"]
        judged = [row["significant"] for row in found if "significant" in row]
        if judged:
            print(
                f"  {name}: {judged.count('yes')} of {len(judged)} by at least {found[0]['least_significant_change']:g}"
            )
    reasons = {row["reason"] for row in rows if row["measure"] in SHOWN and "reason" in row}
    for reason in sorted(reasons):
        print(f"  not judged: {reason}")
