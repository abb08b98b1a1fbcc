"""What a run of the analysis tells of all its scans together: which scanner, which flags, what was not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError

_SHOWN_NAMES = 5
_SCANNER_NAMES = {
    "phantom": "calibrated with its step phantom",
    "scan": "calibrated with people's scans",
    "nominal scanner": "nominal, not calibrated",
}
_CALIBRATED = ("phantom", "scan")


def tell_unused_files(rows: Sequence[Mapping[str, Any]], folder: Path, what: str) -> None:
    """Say which files of a folder with one for each scan are of none, and whether all are.

    One that would be a scan's but for its capitals is refused.

    Args:
        rows: with ``scan_id``.
        folder: with ``SCANID.json``.
        what: they hold, for example "landmarks".

    Raises:
        InputError: ``A.JSON`` or ``a.json`` is there for the scan A, and no ``A.json``.
    """
    wanted = {f"{row['scan_id']}.json" for row in rows}
    alike = {name.casefold(): name for name in wanted}
    unused = sorted(
        path.name for path in folder.iterdir() if path.suffix.lower() == ".json" and path.name not in wanted
    )
    for name in unused:
        if name.casefold() in alike and not (folder / alike[name.casefold()]).is_file():
            raise InputError(f"{folder / name}: expected {what} named {alike[name.casefold()]}, got {name}.")
    if not any((folder / name).is_file() for name in wanted):
        print(f"{folder}: no {what} of a scan of this run (SCANID.json) are there")
    if unused:
        more = ", ..." if len(unused) > _SHOWN_NAMES else ""
        print(
            f"{folder}: {len(unused)} files of {what} are of no scan of this run and are not used: "
            f"{', '.join(unused[:_SHOWN_NAMES])}{more}"
        )


def tell_scanner_and_flags(reports: Sequence[Mapping[str, Any]], scanner_model: str | Path | None) -> None:
    """Print a line about the scanner, and one with the number of scans that have each flag.

    Args:
        reports: of the scans.
        scanner_model: file that was given; None: none was.
    """
    scanners = Counter(str(report["scanner"]["calibration"]) for report in reports)
    where = "" if scanner_model is None else f", {scanner_model}"
    for name, count in scanners.items():
        print(f"Scanner of {count} scans: {_SCANNER_NAMES.get(name, name)}{where}")
    given = sum(bool(report["landmarks_given"]) for report in reports)
    if given:
        print(f"Landmarks given by a person: {given} of {len(reports)} scans")
    flags = Counter(name for report in reports for name in {flag["name"] for flag in report["flags"]})
    if flags:
        told = ", ".join(f"{name} {count}" for name, count in flags.most_common())
        print(f"Flags of {len(reports)} scans: {told}")


def refuse_another_scanner(reports: Sequence[Mapping[str, Any]], scanner_model: str | Path) -> None:
    """Refuse a calibrated scanner whose channels disagree in every scan: the scans are of another one.

    Args:
        reports: of the scans.
        scanner_model: the file that the scanner is from, for the sentence.

    Raises:
        InputError: it is so.
    """
    calibrated = [report for report in reports if report["regions"] and report["scanner"]["calibration"] in _CALIBRATED]
    if calibrated and all(any(flag["name"] == "scanner_mismatch" for flag in each["flags"]) for each in calibrated):
        raise InputError(
            f"{scanner_model}: expected the scanner of these scans, got one whose channels disagree in all "
            f"{len(calibrated)} of them (flag scanner_mismatch): calibrate theirs, or take another output_dir."
        )
