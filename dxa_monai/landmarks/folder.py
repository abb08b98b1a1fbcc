"""The output folder of the body-composition inference: which scans are there, flagged ones first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dxa_monai.analysis.composition import QUANTITIES
from dxa_monai.analysis.indices import INDICES
from dxa_monai.analysis.landmarks import CUT_LINES, LANDMARK_NAMES
from dxa_monai.errors import InputError
from dxa_monai.figures.region_overlay import REGION_COLOURS, REGION_LABELS
from dxa_monai.inference.body_composition import LANDMARKS
from dxa_monai.inference.pages import decimals_of, flagged_first, quantity_labels
from dxa_monai.inference.run_record import RunRecord
from dxa_monai.landmarks.reports import report_of
from dxa_monai.landmarks.session import ScanSession
from dxa_monai.scan.measures import measure_label

_KIND = "the output folder of bundles/dxa_body_composition/configs/inference.json"


class LandmarkFolder:
    """Scans whose landmarks can be moved.

    Args:
        folder: that inference wrote.

    Raises:
        InputError: it is another one, or none of its scans can be analysed again, because the raw scans or the file of
            the scanner are gone.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        if not self.path.is_dir():
            got = "a file" if self.path.exists() else "no such folder"
            raise InputError(f"{folder}: expected {_KIND}, got {got}.")
        if not any(self.path.iterdir()):
            raise InputError(f"{folder}: expected {_KIND}, got an empty folder.")
        self.record = RunRecord(self.path)
        reports = {scan_id: report_of(self.path, scan_id) for scan_id in self.record.scan_ids}
        flagged = [str(each["scan_id"]) for each in flagged_first([each for each in reports.values() if each])]
        # a scan without a report failed, and asks for a look more than any
        self.scan_ids = [scan_id for scan_id, report in reports.items() if report is None] + flagged
        self._refuse_if_none_can_be_analysed()

    def _refuse_if_none_can_be_analysed(self) -> None:
        first: InputError | None = None
        for scan_id in self.scan_ids:
            try:
                if self.record.scan(scan_id).path.is_file():
                    return
                error = InputError(
                    f"{self.record.scan(scan_id).path}: expected the raw scan of {scan_id}, got no such file; run "
                    f"inference into {self.path} again from where the scans lie now."
                )
            except InputError as caught:
                error = caught
            first = first or error
        assert first is not None
        raise first

    def listing(self) -> list[dict[str, Any]]:
        """For each scan its id and the names of its flags, as its report has them now."""
        told = []
        for scan_id in self.scan_ids:
            report = report_of(self.path, scan_id)
            flags = [] if report is None else report["flags"]
            told.append(
                {
                    "scan_id": scan_id,
                    "flags": [flag["name"] for flag in flags] if report is not None else ["no report"],
                    "fatal": report is None or any(flag["fatal"] for flag in flags),
                    "by_hand": report is not None and report["landmarks_given"],
                }
            )
        return told

    def about(self) -> dict[str, Any]:
        """What is the same for all scans: names of points, lines, regions, quantities and their decimals."""
        return {
            "folder": str(self.path),
            "landmarks_folder": str(self.path / LANDMARKS),
            "points": LANDMARK_NAMES,
            "lines": [ends for line in CUT_LINES.values() for ends in line],
            "regions": [
                {"code": int(region), "label": REGION_LABELS[region], "colour": colour}
                for region, colour in REGION_COLOURS.items()
            ],
            "quantities": [
                {"name": name, "label": label, "decimals": decimals_of(name)}
                for name, label in quantity_labels(QUANTITIES).items()
            ],
            "indices": [
                {"name": name, "label": measure_label(name), "decimals": decimals_of(name)} for name in INDICES
            ],
            "scans": self.listing(),
        }

    def session(self, place: int) -> ScanSession:
        """One of the scans, read from its files.

        Args:
            place: in ``scan_ids``.

        Raises:
            InputError: there is no such place, or see :class:`dxa_monai.landmarks.session.ScanSession`.
        """
        if not 0 <= place < len(self.scan_ids):
            raise InputError(f"scan: expected a number below {len(self.scan_ids)}, got {place}.")
        return ScanSession(self.path, self.record, self.scan_ids[place])
