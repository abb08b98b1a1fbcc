"""A look at all scans of a manifest before anything is trained: which are bad, and which are there twice.

::

    output_dir/
      quarantine.csv   scans that cannot be used, and why
      duplicates.csv   pairs of near-duplicates, also of one person (a second export of a visit)
"""

from __future__ import annotations

from pathlib import Path

from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.screened_scans import DUPLICATES_COLUMNS, DUPLICATES_NAME, duplicates_row
from dxa_monai.scan.csv_table import write_table
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.quarantine import QUARANTINE_NAME, BadScan, write_quarantine
from dxa_monai.scan.screening import copies_among, read_scans
from dxa_monai.scan.source import ScanSource

_PART = "manifest"


def check_scans(manifest: str | Path, output_dir: str | Path, source: ScanSource, workers: int = 1) -> tuple[int, int]:
    """Read every scan of a manifest and write the two tables; say on stdout what was found.

    Args:
        manifest: CSV file.
        output_dir: gets the tables.
        source: how the scans are read.
        workers: processes.

    Returns:
        Number of scans that cannot be used, and of pairs of near-duplicates.

    Raises:
        InputError: the manifest cannot be read, the folder cannot be written to, or a file of these names is there
            that no such command made.
    """
    rows = read_manifest(manifest)
    folder = claim_outputs(output_dir, [QUARANTINE_NAME, DUPLICATES_NAME])
    scans = read_scans([row["scan"] for row in rows], source, workers)
    bad = [BadScan(row, row["scan"], _PART, scan.reason) for row, scan in zip(rows, scans, strict=True) if scan.reason]
    write_quarantine(bad, folder / QUARANTINE_NAME)
    pairs = copies_among(rows, scans, source)
    two_people = [pair for pair in pairs if rows[pair.first]["subject_id"] != rows[pair.second]["subject_id"]]
    write_table(
        folder / DUPLICATES_NAME,
        DUPLICATES_COLUMNS,
        [duplicates_row((_PART, rows[pair.first]), (_PART, rows[pair.second]), pair) for pair in pairs],
    )
    print(f"{len(bad)} of {len(rows)} scans cannot be used: {folder / QUARANTINE_NAME}")
    print(
        f"{len(pairs)} pairs of scans look like one scan, {len(two_people)} of them under two subject_ids: "
        f"{folder / DUPLICATES_NAME}"
    )
    return len(bad), len(pairs)
