"""Which scanner a run's scans are read with: one given, one fitted to them, or one for each.

A scan calibrates its scanner where it shows open air and a body beside the wheel's segments; see
:mod:`dxa_monai.analysis.scan_calibration`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dxa_monai.analysis.scan_calibration import calibrate_with_scan, nominal_scanner
from dxa_monai.errors import InputError
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model, write_scanner_model
from dxa_monai.physics.zero import find_zero
from dxa_monai.runs.outputs import read_note, write_note
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE, channels_first
from dxa_monai.scan.io import scan_content
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import from_first_to_last

CALIBRATIONS = ("run", "scan", "nominal")
"""Without a scanner model: one is fitted to all scans of the run, or to every scan by itself, or none is fitted."""
SCANNER_MODEL_NAME = "scanner_model.json"
CALIBRATION_SCANS = 12
_SCANS_OF_SCANNER = "scans_of_scanner"
"""In the note beside the outputs: SHA-256 of the scans that were looked at, by scan_id."""
_FEWEST_AIR_PIXELS, _FEWEST_BODY_PIXELS = 1000, 1500


def scanner_of_run(
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    scanner_model: str | Path | None,
    calibration: str,
    source: ScanSource,
    wheel: WheelSegments | None = None,
) -> ScannerModel | None:
    """The scanner of all scans; None: each has its own.

    Args:
        rows: with the path ``scan``.
        folder: where the model that was fitted is written, or lies from an earlier call with some of the same scans.
        scanner_model: file of a calibrated scanner; None: ``calibration`` says what is done.
        calibration: one of ``CALIBRATIONS``.
        source: how the scans are read.
        wheel: what the segments of the wheel are made of, where no file says so; None: the default.

    Raises:
        InputError: the file is not that of a scanner, the scans cannot calibrate one, or the folder has the scanner of
            other scans.
    """
    if scanner_model is not None:
        return read_scanner_model(scanner_model)
    path = folder / SCANNER_MODEL_NAME
    if calibration == "scan":
        return None
    if calibration == "run" and path.is_file():
        _refuse_other_scans(rows, path)
        return read_scanner_model(path)
    scans, spacing = calibration_scans(rows, source)
    if len(scans) == 0:
        # Nothing here is a body in open air: every scan will be flagged, whatever the model.
        return ScannerModel(wheel=WheelSegments() if wheel is None else wheel)
    if calibration == "nominal":
        return nominal_scanner(scans, wheel)
    model = calibrate_with_scan(scans, wheel, pixel_spacing_mm=spacing)
    digests = {rows[index]["scan_id"]: _digest(rows[index]) for index in _looked_at(rows)}
    write_note(folder, **{_SCANS_OF_SCANNER: digests})
    write_scanner_model(model, path)
    return model


def _refuse_other_scans(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Refuse the scanner of an earlier call none of whose scans is among these: it may be another study's."""
    earlier = read_note(path.parent).get(_SCANS_OF_SCANNER, {})
    among = [row for row in rows if earlier.get(row["scan_id"])]
    if not any(_digest(row) == earlier[row["scan_id"]] for row in among):
        raise InputError(
            f"{path}: expected the scanner of these scans, got one that was calibrated with others; choose another "
            f"output_dir, or give it with --scanner_model {path} if it is the same scanner."
        )
    print(f"Scanner of an earlier call: {path}")


def _digest(row: Mapping[str, Any]) -> str:
    try:
        return hashlib.sha256(scan_content(row["scan"])).hexdigest()
    except InputError:
        return ""  # it is told when its turn comes


def _looked_at(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the rows that are looked at."""
    return from_first_to_last(len(rows), 2 * CALIBRATION_SCANS)


def scanner_of_scan(
    raw: torch.Tensor, pixel_spacing_mm: tuple[float, float], wheel: WheelSegments | None = None
) -> ScannerModel:
    """The scanner fitted to one scan ``(6, H, W)`` in [0, 1]; the nominal one if it shows no body in open air."""
    if not _usable(raw):
        return ScannerModel(wheel=WheelSegments() if wheel is None else wheel)
    return calibrate_with_scan(raw, wheel, pixel_spacing_mm=pixel_spacing_mm)


def calibration_scans(
    rows: Sequence[Mapping[str, Any]], source: ScanSource
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Up to ``CALIBRATION_SCANS`` scans, evenly spread over the rows, that show a body in open air.

    Returns:
        ``(N, 6, H, W)`` in [0, 1]; N may be 0. And their pixel spacing in mm.
    """
    chosen: list[torch.Tensor] = []
    spacing = PIXEL_SPACING_MM
    for index in _looked_at(rows):
        try:
            scan = source.read(rows[index]["scan"])
        except InputError:
            continue  # it is told when its turn comes
        raw = torch.from_numpy(channels_first(scan.counts))
        if _usable(raw):
            chosen.append(raw)
            spacing = scan.pixel_spacing_mm
        if len(chosen) == CALIBRATION_SCANS:
            break
    return (torch.stack(chosen) if chosen else torch.zeros(0, 6, *SCAN_SHAPE)), spacing


def scanner_of_rows(
    rows: Sequence[Mapping[str, Any]], source: ScanSource, scanner_model: str | Path | None = None
) -> ScannerModel:
    """The scanner that networks' scans are analysed with: from its file, calibrated with some rows, or nominal.

    Args:
        rows: manifest rows of the training people.
        source: how their scans are read.
        scanner_model: file of a calibrated scanner; None: calibrated with some of the rows' scans, or, if these do not
            do (a line says so), the nominal one.

    Raises:
        InputError: the file is no scanner model.
    """
    if scanner_model is not None:
        return read_scanner_model(scanner_model)
    scans, spacing = calibration_scans(rows, source)
    try:
        if len(scans):
            return calibrate_with_scan(scans, pixel_spacing_mm=spacing)
        reason = "no scan shows a body in open air"
    except InputError as error:
        reason = str(error)
    print(f"Body composition is analysed as of the nominal scanner, uncalibrated: {reason}")
    return ScannerModel()


def _usable(raw: torch.Tensor) -> bool:
    air = int(find_zero(raw.numpy()).air.sum())
    return air >= _FEWEST_AIR_PIXELS and raw[0].numel() - air >= _FEWEST_BODY_PIXELS
