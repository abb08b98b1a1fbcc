"""Before training or inference: bad scans are refused or set aside, near-duplicates are told.

::

    output_dir/
      quarantine.csv   what was left out and why (bad_scans "quarantine")
      duplicates.csv   scans under two subject_ids that are one, if there are any
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from dxa_monai.errors import InputError
from dxa_monai.files import remove_file
from dxa_monai.runs.another_background import tell_another_background
from dxa_monai.runs.folder import check_run, claim_run, read_record
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.csv_table import write_table
from dxa_monai.scan.duplicates import DuplicatePair
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.quarantine import BadScan, BadScanPolicy
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.screening import copies_among, read_scans
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import Split

logger = logging.getLogger(__name__)

DUPLICATES = ("warn", "error", "ignore")
DUPLICATES_NAME = "duplicates.csv"
DUPLICATES_COLUMNS = (
    *("subject_id_1", "scan_id_1", "part_1", "subject_id_2", "scan_id_2", "part_2"),
    *("mirrored", "signature_distance", "residual"),
)
_SHOWN_PAIRS = 5


def screen_split(
    split: Mapping[str, Sequence[Mapping[str, Any]]],
    output_dir: str | Path,
    policy: BadScanPolicy,
    source: ScanSource,
    duplicates: str = "warn",
    workers: int = 1,
    check_bodies: Callable[[Sequence[Mapping[str, Any]]], Sequence[str]] | None = None,
    parts: Collection[str] | None = None,
) -> Split:
    """The split without the scans that cannot be used; who remains stays in the part that he was in.

    All scans are read once, so that a bad one is met before training and not in it. The result depends on
    the files alone, so that a resumed run finds the same.

    Args:
        split: manifest rows by part.
        output_dir: of the run, gets the tables.
        policy: what is done about bad scans.
        source: how the scans are read.
        duplicates: two scans of two people that are one: "warn" and list them, "error" where they lie in two parts,
            or "ignore" them unsought.
        workers: processes.
        check_bodies: gives for each row what is wrong with its mesh, or ""; called for scans that can be used, and
            only under "quarantine".
        parts: whose scans are read; None: of all parts. The other parts stay as they are, unseen.

    Raises:
        InputError: an argument cannot be used, the folder holds a finished run, bad scans or duplicates are not
            allowed, or a part has no scan left.
    """
    if duplicates not in DUPLICATES:
        raise InputError(f"duplicates: expected one of {', '.join(DUPLICATES)}, got '{duplicates}'.")
    check_run(output_dir)
    unseen = {part: rows for part, rows in split.items() if parts is not None and part not in parts}
    listed = [(part, dict(row)) for part, rows in split.items() if part not in unseen for row in rows]
    rows = [row for _, row in listed]
    first = idist.get_rank() == 0
    scans = read_scans([row["scan"] for row in rows], source, workers, progress=first)
    faults = {place: (rows[place]["scan"], scan.reason) for place, scan in enumerate(scans) if scan.reason}
    if policy.quarantines and check_bodies is not None:
        usable = [place for place in range(len(rows)) if place not in faults]
        for place, reason in zip(usable, check_bodies([rows[place] for place in usable]), strict=True):
            if reason:
                faults[place] = (rows[place]["mesh"], reason)
    bad = [BadScan(rows[place], path, listed[place][0], reason) for place, (path, reason) in sorted(faults.items())]
    if policy.quarantines:
        claim_run(output_dir)
    policy.apply(bad, len(rows), output_dir)
    kept: Split = {part: [dict(row) for row in unseen.get(part, [])] for part in split}
    for place, (part, row) in enumerate(listed):
        if place not in faults:
            kept[part].append(row)
    for part, remaining in kept.items():
        if split[part] and not remaining:
            raise InputError(f"{output_dir}: expected scans in {part}, got none that can be used.")
    if duplicates != "ignore":
        pairs = [(listed[pair.first], listed[pair.second], pair) for pair in copies_among(rows, scans, source)]
        _tell_duplicates([pair for pair in pairs if _of_two_people(*pair)], Path(output_dir), duplicates == "error")
    return kept


def screen_scans(
    data: Sequence[dict[str, str]],
    output_dir: str | Path,
    policy: BadScanPolicy,
    source: ScanSource,
    workers: int = 1,
) -> list[dict[str, str]]:
    """A data list of :func:`dxa_monai.scan.collect.collect_scans` without the scans that cannot be used.

    Under "stop" nothing is read beforehand: the first bad scan ends the run when its turn comes.

    Raises:
        InputError: too many of them, or none is left.
    """
    if not policy.quarantines:
        return list(data)
    reasons = [scan.reason for scan in read_scans([entry["image"] for entry in data], source, workers)]
    bad = [
        BadScan(entry, entry["image"], "inference", reason)
        for entry, reason in zip(data, reasons, strict=True)
        if reason
    ]
    policy.apply(bad, len(data), output_dir)
    kept = [entry for entry, reason in zip(data, reasons, strict=True) if not reason]
    if not kept:
        raise InputError(f"{output_dir}: expected scans that can be used, got none among {len(data)}.")
    return kept


class InferenceScans:
    """The scans that a network is to read, without those that cannot be used.

    Args:
        input: a scan, a folder or a manifest, see :func:`dxa_monai.scan.collect.collect_scans`.
        checkpoint: of the network; where its run declared an order of channels, this command has to declare one, too.
        output_dir: gets ``quarantine.csv``.
        reader: how the scans are read.
        bad_scans: see :class:`dxa_monai.scan.quarantine.BadScanPolicy`.
        max_bad_share: see there.
        workers: processes that read scans.

    Raises:
        InputError: an argument cannot be used.
    """

    def __init__(
        self,
        input: str | Path,
        checkpoint: str | Path,
        output_dir: str | Path,
        reader: RawDXAReader | None = None,
        bad_scans: str = "stop",
        max_bad_share: float = 0.02,
        workers: int = 0,
    ) -> None:
        self.input = input
        self.checkpoint = checkpoint
        self.output_dir = output_dir
        self.source = (RawDXAReader() if reader is None else reader).source
        self.policy = BadScanPolicy(bad_scans, max_bad_share)
        self.workers = workers
        declared = (read_record(checkpoint).get("reader") or {}).get("channels")
        if declared and self.source.channels is None:
            raise InputError(
                f"{checkpoint}: expected the order of the channels to be declared (--reader#channels), as it was in "
                f"training ({', '.join(declared)}), got none; say which order these scans have."
            )

    @cached_property
    def data(self) -> list[dict[str, str]]:
        """MONAI data list.

        Raises:
            InputError: there is no scan, or see :func:`screen_scans`.
        """
        kept = screen_scans(collect_scans(self.input), self.output_dir, self.policy, self.source, self.workers)
        tell_another_background([entry["image"] for entry in kept], [self.checkpoint], self.source)
        return kept


_Listed = tuple[str, Row]


def _of_two_people(first: _Listed, second: _Listed, pair: DuplicatePair) -> bool:
    return first[1]["subject_id"] != second[1]["subject_id"]


def duplicates_row(first: _Listed, second: _Listed, pair: DuplicatePair) -> dict[str, Any]:
    """A pair of (part, manifest row) as a row of ``duplicates.csv``."""
    names: dict[str, Any] = {}
    for number, (part, row) in enumerate((first, second), start=1):
        names |= {f"subject_id_{number}": row["subject_id"], f"scan_id_{number}": row["scan_id"]}
        names[f"part_{number}"] = part
    return names | {
        "mirrored": "yes" if pair.mirrored else "no",
        "signature_distance": f"{pair.signature_distance:.5f}",
        "residual": f"{pair.residual:.5f}",
    }


def _tell_duplicates(pairs: Sequence[tuple[_Listed, _Listed, DuplicatePair]], folder: Path, refuse: bool) -> None:
    path = folder / DUPLICATES_NAME
    if not pairs:
        remove_file(path)  # of an earlier look at other data
        return
    claim_run(folder)
    if idist.get_rank() == 0:
        write_table(path, DUPLICATES_COLUMNS, [duplicates_row(*pair) for pair in pairs])
    across = [pair for pair in pairs if pair[0][0] != pair[1][0]]
    worst_first = sorted(pairs, key=lambda pair: pair[0][0] == pair[1][0])
    shown = "; ".join(
        f"{one['scan_id']} ({part}) and {other['scan_id']} ({other_part})"
        for (part, one), (other_part, other), _ in worst_first[:_SHOWN_PAIRS]
    ) + ("; ..." if len(pairs) > _SHOWN_PAIRS else "")
    if across and refuse:
        raise InputError(
            f"{path}: expected no scan of two people in two parts of the split, got {len(across)} pairs: {shown}."
        )
    if idist.get_rank() == 0:
        logger.warning(
            "%d pairs of scans under two subject_ids look like one scan (%d of them in two parts of the split): %s; %s",
            len(pairs),
            len(across),
            shown,
            path,
        )
