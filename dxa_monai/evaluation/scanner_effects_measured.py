"""Virtual people scanned on scanners with each effect and analysed: measured beside true, scan by scan, on disk.

::

    folder/{key}.json   one effect at one strength on one scanner: why a calibration was refused, totals, flags

The key is a hash of all that the numbers depend on, so an interrupted evaluation goes on, more effects or another
list of them measure only what is new, and what is equal (the realistic scanner's own strengths) is measured once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

import dxa_monai
from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.errors import InputError
from dxa_monai.evaluation.measured import check_request
from dxa_monai.evaluation.perturbed import assign_scanners, rescan
from dxa_monai.evaluation.scanner_effects import EffectScanner, scanner_with
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.inference.run_scanner import CALIBRATION_SCANS
from dxa_monai.input_files import read_object
from dxa_monai.parallel.worker_pool import run_here_or_in_processes
from dxa_monai.physics.phantom_calibration import calibrate_with_phantom
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.step_phantom import StepPhantom
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import regional_totals
from dxa_monai.scan.truth import load_truth

CALIBRATIONS = ("phantom", "run")
"""Of :data:`dxa_monai.evaluation.measured.CALIBRATIONS`; both see the effect as the people's scans do."""
MEASURES = ("total_fat_g", "total_lean_g", "total_bmc_g")


def measure_effects(
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    cells: Sequence[tuple[str, str]],
    scanners: int = 3,
    calibrations: Sequence[str] = CALIBRATIONS,
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """Scan people on scanners with each effect and analyse the scans by each calibration.

    Args:
        rows: manifest rows with ``truth``.
        folder: gets a file for each effect, strength and scanner.
        cells: of :func:`dxa_monai.evaluation.scanner_effects.cells_of`.
        scanners: number of perturbed scanners that each effect meets; people take turns.
        calibrations: some of ``CALIBRATIONS``.
        seed: of scanners and noise.
        workers: processes; 0: this one.
        progress: show a progress bar on stderr.

    Returns:
        One row a cell, calibration and scan: ``effect, strength, calibration, scanner, scan_id, subject_id, refused,
        flags, calibration_refused`` (a sentence, or empty), ``MEASURES`` (NaN if refused) and ``true_{measure}``.

    Raises:
        InputError: an unknown calibration, no rows, rows without truth, no scanner, or the folder cannot be written to.
    """
    check_request(rows, calibrations, CALIBRATIONS)
    if scanners < 1:
        raise InputError(f"scanners: expected at least 1, got {scanners}.")
    folder = output_folder(folder)
    remove_partial(folder)
    scanner_of = assign_scanners(rows, scanners)
    units = []
    for effect, strength in cells:
        for number in range(scanners):
            own = [_what_counts(row) for row in rows if scanner_of[str(row["subject_id"])] == number]
            if own:
                scanner = scanner_with(effect, strength, seed, number)
                name = f"{effect}, {strength}, scanner {number}"
                units.append((effect, strength, number, _Unit(name, folder, scanner, own, list(calibrations), seed)))
    different = {unit.path: unit for *_, unit in units}
    waiting = [unit for unit in different.values() if _read(unit) is None]
    with tqdm(total=len(different), initial=len(different) - len(waiting), unit="scanner", disable=not progress) as bar:
        for unit in run_here_or_in_processes(_measure, waiting, (), workers):
            bar.set_postfix_str(str(unit))
            bar.update()
    records = [
        {"effect": effect, "strength": strength, "scanner": number} | record
        for effect, strength, number, unit in units
        for record in _read(unit) or []
    ]
    return pd.DataFrame.from_records(records)


def _what_counts(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("subject_id", "scan_id", "truth") if name in row}


@dataclasses.dataclass(frozen=True, eq=False)
class _Unit:
    """Work for one process: a scanner with an effect, and its people."""

    name: str
    folder: Path
    scanner: EffectScanner
    rows: list[dict[str, Any]]
    calibrations: list[str]
    seed: int

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        about = {
            "dxa_monai": dxa_monai.__version__,
            "acquisition": self.scanner.acquisition.as_dict(),
            "wheel": dataclasses.asdict(self.scanner.wheel),
            "phantom_seed": self.scanner.phantom_seed,
            "rows": self.rows,
            "calibrations": self.calibrations,
            "seed": self.seed,
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{key}.json"


def _read(unit: _Unit) -> list[dict[str, Any]] | None:
    """What was measured before of the same."""
    try:
        records: list[dict[str, Any]] = read_object(unit.path, "measurements")["records"]
    except (InputError, KeyError):
        return None
    return records


def _measure(unit: _Unit) -> None:
    """Calibrate the scanner, scan and analyse its people and write what was found."""
    torch.set_num_threads(1)
    acquisition, wheel, phantom_seed = unit.scanner
    truths = [load_truth(row) for row in unit.rows]
    scans = [
        rescan(truth, acquisition, unit.seed, str(row["scan_id"])) for truth, row in zip(truths, unit.rows, strict=True)
    ]

    def of_phantom() -> ScannerModel:
        noise = torch.Generator().manual_seed(phantom_seed)
        return calibrate_with_phantom(StepPhantom().scan(acquisition, noise), wheel=wheel)

    def of_run() -> ScannerModel:
        return calibrate_with_scan(
            torch.stack(scans[:CALIBRATION_SCANS]), wheel, pixel_spacing_mm=truths[0].pixel_spacing_mm
        )

    ways: dict[str, Callable[[], ScannerModel]] = {"phantom": of_phantom, "run": of_run}
    records = []
    for calibration in unit.calibrations:
        model, refusal = None, ""
        try:
            model = ways[calibration]()
        except InputError as error:
            refusal = str(error)
        for row, truth, raw in zip(unit.rows, truths, scans, strict=True):
            record = {
                "calibration": calibration,
                "scan_id": row["scan_id"],
                "subject_id": row["subject_id"],
                "refused": True,
                "flags": "",
                "calibration_refused": refusal,
            }
            if model is not None:
                found = analyse_scan(raw, model, truth.pixel_spacing_mm)
                record |= {"refused": found.refused, "flags": " ".join(flag.name for flag in found.flags)}
                record |= {name: found.totals[name] for name in MEASURES if name in found.totals}
            area_cm2 = pixel_area_cm2(truth.pixel_spacing_mm)
            true = regional_totals(truth.areal_density_g_cm2, truth.region_map, area_cm2)
            records.append(record | {f"true_{name}": true[name] for name in MEASURES})
    with atomic_path(unit.path) as temporary:
        temporary.write_text(json.dumps({"of": unit.name, "records": records}) + "\n", encoding="utf-8")
