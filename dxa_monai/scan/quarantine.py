"""What is done about scans that cannot be used: the run stops, or they are set aside and listed."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from dxa_monai.errors import InputError
from dxa_monai.scan.csv_table import write_table

logger = logging.getLogger(__name__)

BAD_SCANS = ("stop", "quarantine")
QUARANTINE_NAME = "quarantine.csv"
QUARANTINE_COLUMNS = ("subject_id", "scan_id", "path", "part", "reason")


@dataclasses.dataclass(frozen=True)
class BadScan:
    """A manifest row that cannot be used: which of its files, in which part of the split, and why."""

    row: Mapping[str, Any]
    path: str
    part: str
    reason: str


class BadScanPolicy:
    """What is done about files that cannot be used.

    Args:
        bad_scans: "stop": the first of them ends the run. "quarantine": they are left out and listed in
            ``quarantine.csv``, as long as they are few.
        max_bad_share: of all scans, from 0 to 1, that may be left out.

    Raises:
        InputError: an argument is none of these.
    """

    def __init__(self, bad_scans: str = "stop", max_bad_share: float = 0.02) -> None:
        if bad_scans not in BAD_SCANS:
            raise InputError(f"bad_scans: expected one of {', '.join(BAD_SCANS)}, got '{bad_scans}'.")
        if not 0.0 <= max_bad_share <= 1.0:
            raise InputError(f"max_bad_share: expected a share from 0 to 1, got {max_bad_share}.")
        self.bad_scans = bad_scans
        self.quarantines = bad_scans == "quarantine"
        self.max_bad_share = max_bad_share

    def apply(self, bad: Sequence[BadScan], total: int, folder: str | Path) -> None:
        """Stop, or write ``quarantine.csv`` in ``folder`` and warn.

        Args:
            bad: in the order of the rows.
            total: scans, good and bad.
            folder: of the run.

        Raises:
            InputError: a bad scan under "stop"; more than the share of them under "quarantine".
        """
        if not self.quarantines:
            if bad:
                raise InputError(bad[0].reason)
            return
        path = Path(folder) / QUARANTINE_NAME
        if idist.get_rank() == 0:
            write_quarantine(bad, path)
        if len(bad) > self.max_bad_share * total:
            raise InputError(
                f"{path}: expected at most {100 * self.max_bad_share:g} % of {total} scans that cannot be used, "
                f"got {len(bad)}, listed there, first {bad[0].reason}"
            )
        if bad and idist.get_rank() == 0:
            logger.warning("%d of %d scans cannot be used and are left out: %s", len(bad), total, path)


def write_quarantine(bad: Sequence[BadScan], path: Path) -> None:
    """``subject_id, scan_id, path, part, reason`` of each bad scan; only the header if there is none."""
    names = ({name: scan.row.get(name) for name in ("subject_id", "scan_id")} for scan in bad)
    rest = ({"path": scan.path, "part": scan.part, "reason": scan.reason} for scan in bad)
    write_table(path, QUARANTINE_COLUMNS, [first | second for first, second in zip(names, rest, strict=True)])
