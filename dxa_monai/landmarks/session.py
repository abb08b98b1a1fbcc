"""One scan whose landmarks somebody moves: what it looks like, the numbers of other points, and its file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.analysis.landmarks import Landmarks, landmarks_from_points, read_landmarks, write_landmarks
from dxa_monai.errors import InputError
from dxa_monai.figures.region_overlay import BRIGHTEST_BONE_G_CM2
from dxa_monai.files import output_folder, path_inside
from dxa_monai.inference.body_composition import LANDMARKS
from dxa_monai.inference.report import as_points, as_report, versions
from dxa_monai.inference.run_record import RunRecord
from dxa_monai.input_files import MAX_JSON_BYTES, read_input
from dxa_monai.landmarks.reports import expected_report, report_of
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go, own_folder
from dxa_monai.scan.format import CHANNELS, Array

_BRIGHT_QUANTILE = 0.995
_TOLD = ("regions", "flags", "indices", "landmarks_given")
"""Of a report, what a page compares."""


class ScanSession:
    """A scan, analysed as inference did it.

    Args:
        folder: of the outputs.
        record: how its scans were analysed.
        scan_id: of this one.

    Raises:
        InputError: the report, the raw scan or the scanner's file is gone, or they are not those that the report was
            made from.
    """

    def __init__(self, folder: Path, record: RunRecord, scan_id: str) -> None:
        self.folder, self.scan_id = folder, scan_id
        self.path = path_inside(folder, f"{LANDMARKS}/{scan_id}.json")
        report = report_of(folder, scan_id)
        if report is None:
            raise expected_report(folder, scan_id)
        self.report = report
        noted = record.scan(scan_id)
        if not noted.path.is_file():
            raise InputError(
                f"{noted.path}: expected the raw scan that {scan_id}.json was made from, got no such file; run "
                f"inference into {folder} again from where the scans lie now."
            )
        self.scan = noted.analysis.read(noted.path, scan_id)
        self.before = self._landmarks_of_report()
        self._refuse_another_analysis(noted.landmarks_dir)
        self.composition = self.scan.composition(None)
        self.found = self.composition.landmarks

    def state(self) -> dict[str, Any]:
        """All that a page shows of the scan, plain types.

        Raises:
            InputError: there are no landmarks to move.
        """
        points, saved, remark = self._points()
        height, width = self.scan.shape
        maps = self.composition.areal_density_g_cm2
        tissue = np.maximum(maps[0] + maps[1], 0.0)
        low = self.scan.raw[CHANNELS.index("air_low")].numpy()
        return {
            "scan_id": self.scan_id,
            "image_shape": [height, width],
            "pixel_spacing_mm": list(self.scan.pixel_spacing_mm),
            "points": as_points(points),
            "found": None if self.found is None else as_points(self.found),
            "saved": None if saved is None else as_points(saved),
            "version": self._version(),
            "remark": remark,
            "polygons": self.scan.polygons,
            "pictures": {
                "low energy": _grey(low - low.min(), float(np.quantile(low - low.min(), _BRIGHT_QUANTILE))),
                "soft tissue": _grey(tissue, float(np.quantile(tissue, _BRIGHT_QUANTILE))),
                "bone mineral": _grey(maps[2], BRIGHTEST_BONE_G_CM2),
            },
            "before": {name: self.report.get(name) for name in _TOLD},
            "now": self.numbers(as_points(points)),
        }

    def numbers(self, points: Mapping[str, Any]) -> dict[str, Any]:
        """What inference writes if it is handed these landmarks, and the regions between them.

        Args:
            points: [row, column] of every landmark, taken to a thousandth of a pixel as in their file.

        Returns:
            ``regions``, ``flags``, ``indices`` and ``landmarks_given`` of a report, and ``region_map``: ``(H, W)``
            uint8 in base64.

        Raises:
            InputError: they are no possible landmarks.
        """
        landmarks = self._checked(points)
        if self.found is not None and as_points(self.found) == as_points(landmarks):
            composition = self.composition  # nobody has moved them
        else:
            composition = self.scan.composition(landmarks)
        report = as_report(self.report, composition, self.scan.model, "")
        return {name: report[name] for name in _TOLD} | {"region_map": _base64(composition.region_map)}

    def save(self, points: Mapping[str, Any], version: str) -> dict[str, str]:
        """Write the landmarks where inference reads them, ``landmarks/{scan_id}.json`` of the folder.

        Args:
            points: [row, column] of every landmark.
            version: of the file that they shall replace, as in :meth:`state`; empty: there was none.

        Returns:
            ``path`` of the file, and its ``version``.

        Raises:
            InputError: they are no possible landmarks, somebody else has written the file meanwhile, a command is
                writing the folder, or the file cannot be written.
        """
        landmarks = self._checked(points)
        with letting_go():
            own_folder(self.folder)
            if self._version() != version:
                raise InputError(
                    f"{self.path}: expected the landmarks that the page was opened with, got others that were written "
                    "since; open the scan again."
                )
            if not version:
                claim_outputs(self.folder, [f"{LANDMARKS}/{self.scan_id}.json"])
                output_folder(self.path.parent)
            write_landmarks(landmarks, self.path)
            return {"path": str(self.folder / LANDMARKS / f"{self.scan_id}.json"), "version": self._version()}

    def _checked(self, points: Mapping[str, Any]) -> Landmarks:
        landmarks = landmarks_from_points(points, self.scan.shape, self.scan_id)
        rounded = {name: (row, column) for name, (row, column) in as_points(landmarks).items()}
        return landmarks_from_points(rounded, self.scan.shape, self.scan_id)

    def _points(self) -> tuple[Landmarks, Landmarks | None, str]:
        """The landmarks that a page begins with, those of the file, and what is wrong with the file."""
        saved, remark = None, ""
        if self.path.is_file():
            try:
                saved = read_landmarks(self.path, self.scan.shape)
            except InputError as error:
                remark = str(error)
        unmoved = saved is not None and self.found is not None and as_points(saved) == as_points(self.found)
        given_elsewhere = unmoved and self.report["landmarks_given"]
        begin = (self.before or saved) if given_elsewhere else (saved or self.before or self.found)
        if begin is None:
            names = ", ".join(flag["name"] for flag in self.report["flags"]) or "none"
            raise InputError(
                f"{self.scan_id}: expected landmarks to move, got a scan in which none were found (flags: {names})."
            )
        return begin, saved, remark

    def _landmarks_of_report(self) -> Landmarks | None:
        points = self.report["landmarks"]
        path = self.folder / f"{self.scan_id}.json"
        return None if points is None else landmarks_from_points(points, self.scan.shape, path)

    def _refuse_another_analysis(self, landmarks_dir: Path | None) -> None:
        """Refuse a report whose numbers are not those that this scan, scanner and options give."""
        made_from = self.report["inputs_sha256"]
        if made_from == self.scan.fingerprint(self.before if self.report["landmarks_given"] else None):
            return
        if self.report["landmarks_given"] and landmarks_dir is not None:
            given = landmarks_dir / f"{self.scan_id}.json"
            # a report has rounded what a person wrote with more decimals
            if given.is_file() and made_from == self.scan.fingerprint(read_landmarks(given, self.scan.shape)):
                return
        path = self.folder / f"{self.scan_id}.json"
        made, here = self.report.get("versions", {}).get("dxa_monai"), versions()["dxa_monai"]
        if made != here:
            raise InputError(f"{path}: expected a report of version {here}, got one of {made}; run inference again.")
        raise InputError(
            f"{path}: expected the report of {self.scan.path} with the scanner and options that were noted, got one "
            "that was made from others; run inference again."
        )

    def _version(self) -> str:
        """Of the file of landmarks; empty: there is none."""
        if not self.path.is_file():
            return ""
        return hashlib.sha256(read_input(self.path, MAX_JSON_BYTES, "landmarks")).hexdigest()


def _grey(image: Array, brightest: float) -> str:
    """``(H, W)`` as grey bytes in base64."""
    share = np.nan_to_num(np.asarray(image, dtype=np.float64)) / max(brightest, 1e-6)
    return _base64(np.rint(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8))


def _base64(image: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(image, dtype=np.uint8).tobytes()).decode()
