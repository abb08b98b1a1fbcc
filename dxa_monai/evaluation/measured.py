"""A virtual cohort scanned on perturbed scanners and analysed: measured beside true, scan by scan, on disk.

::

    folder/
      job.json             people, scanners, calibrations, seed: what is measured
      scans/{scan_id}.json measured and true totals, Dice, flags

What is there for the same job is kept, so an interrupted evaluation goes on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

import dxa_monai
from dxa_monai.analysis.composition import METHODS, analyse_scan, check_method
from dxa_monai.analysis.scan_calibration import calibrate_with_scan, nominal_scanner
from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import dice
from dxa_monai.evaluation.perturbed import VirtualScanner, assign_scanners, draw_scanners, rescan, wheel_of
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.inference.run_scanner import CALIBRATION_SCANS
from dxa_monai.input_files import read_object
from dxa_monai.parallel.worker_pool import run_here_or_in_processes
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import REGION_GROUPS, regional_totals
from dxa_monai.scan.truth import load_truth

CALIBRATIONS = {
    "phantom": "the scanner's own scan of the step phantom",
    "run": f"the wheel in {CALIBRATION_SCANS} people's scans on that scanner",
    "scan": "the wheel in the scan itself",
    "nominal": "none: the nominal scanner",
}
"""What a scanner's model comes from."""
BMI_CLASSES = ((18.5, "BMI < 18.5"), (25.0, "BMI 18.5-25"), (30.0, "BMI 25-30"), (35.0, "BMI 30-35"))
HIGHEST_BMI_CLASS = "BMI >= 35"
_ROW_KEYS = ("subject_id", "scan_id", "truth", "sex", "height_cm", "mass_kg")


def bmi_class(height_cm: float, mass_kg: float) -> str:
    """The World Health Organization's classes of body mass index, kg/m2."""
    bmi = mass_kg / (height_cm / 100.0) ** 2
    return next((name for limit, name in BMI_CLASSES if bmi < limit), HIGHEST_BMI_CLASS)


def check_request(rows: Sequence[Any], calibrations: Sequence[str], known: Sequence[str]) -> None:
    """Refuse a measurement of nobody, or with calibrations that are not known.

    Raises:
        InputError: it names what was expected.
    """
    unknown = [name for name in calibrations if name not in known]
    if unknown or not calibrations:
        raise InputError(f"calibrations: expected some of {', '.join(known)}, got {unknown[0] if unknown else 'none'}.")
    if not rows:
        raise InputError("scans: expected at least one, got none.")


def measure_cohort(
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    scanners: int = 6,
    calibrations: Sequence[str] = tuple(CALIBRATIONS),
    seed: int = 0,
    workers: int = 1,
    progress: bool = True,
    method: str = METHODS[0],
) -> pd.DataFrame:
    """Scan every person on one of several perturbed scanners and analyse the scan by each calibration.

    Args:
        rows: manifest rows with ``truth``.
        folder: gets ``job.json`` and ``scans/``.
        scanners: number of perturbed scanners; people take turns, all visits of one are on the same.
        calibrations: keys of ``CALIBRATIONS``.
        seed: of scanners and noise.
        workers: processes; 0: this one.
        progress: show a progress bar on stderr.
        method: of ``dxa_monai.analysis.composition.METHODS``. With another than the first, the first's totals stand
            beside: ``other_total_fat_g``, ``other_total_lean_g``, ``other_total_bmc_g``.

    Returns:
        One row a scan and calibration: ``scan_id, subject_id, sex, bmi_class, scanner, calibration, refused, flags``,
        measured ``{region}_{quantity}`` (NaN if refused), ``true_{region}_{quantity}``, ``dice_{region}``.

    Raises:
        InputError: an unknown calibration or method, rows without truth, or the folder cannot be written to.
    """
    check_request(rows, calibrations, tuple(CALIBRATIONS))
    check_method(method)
    path = _write_job(rows, output_folder(folder), draw_scanners(scanners, seed), calibrations, seed, method)
    job = _job(path, path.stat().st_mtime_ns)
    waiting = [index for index, row in enumerate(job.rows) if _read(job, row) is None]
    with tqdm(total=len(rows), initial=len(rows) - len(waiting), unit="scan", disable=not progress) as bar:
        for _ in run_here_or_in_processes(_measure, waiting, (path,), workers):
            bar.update()
    records = [record for row in job.rows for record in _read(job, row) or []]
    return pd.DataFrame.from_records(records)


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    folder: Path
    key: str
    rows: list[dict[str, Any]]
    scanner_of: dict[str, int]
    acquisitions: list[Acquisition]
    models: dict[str, list[ScannerModel]]
    calibrations: list[str]
    seed: int
    method: str


def _write_job(
    rows: Sequence[Mapping[str, Any]],
    folder: Path,
    scanners: list[VirtualScanner],
    calibrations: Sequence[str],
    seed: int,
    method: str,
) -> Path:
    """Calibrate every scanner and write what the workers need."""
    scanner_of = assign_scanners(rows, len(scanners))
    models: dict[str, list[Any]] = {"phantom": [scanner.phantom_model.as_dict() for scanner in scanners]}
    for scanner in scanners:
        own = [row for row in rows if scanner_of[str(row["subject_id"])] == scanner.number][:CALIBRATION_SCANS]
        if not own:
            own = list(rows[:1])  # more scanners than people: nobody will lie on this one
        raw = torch.stack([rescan(load_truth(row), scanner.acquisition, seed, str(row["scan_id"])) for row in own])
        models.setdefault("nominal", []).append(nominal_scanner(raw, wheel_of(scanner.acquisition)).as_dict())
        if "run" in calibrations:
            models.setdefault("run", []).append(calibrate_with_scan(raw, wheel_of(scanner.acquisition)).as_dict())
    content = {
        "dxa_monai": dxa_monai.__version__,
        "rows": [{name: row[name] for name in _ROW_KEYS if name in row} for row in rows],
        "scanner_of": scanner_of,
        "acquisitions": [scanner.acquisition.as_dict() for scanner in scanners],
        "models": models,
        "calibrations": list(calibrations),
        "seed": seed,
        "method": method,
    }
    text = json.dumps(content, indent=1) + "\n"
    path = folder / "job.json"
    output_folder(folder / "scans")
    remove_partial(folder, folder / "scans")
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return path


@lru_cache(maxsize=2)
def _job(path: Path, modified_ns: int) -> _Job:
    content = json.loads(path.read_text(encoding="utf-8"))
    about = {name: value for name, value in content.items() if name not in ("rows", "scanner_of")}
    return _Job(
        path.parent,
        hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16],
        content["rows"],
        content["scanner_of"],
        [Acquisition.from_dict(stored) for stored in content["acquisitions"]],
        {name: [ScannerModel.from_dict(stored) for stored in models] for name, models in content["models"].items()},
        content["calibrations"],
        content["seed"],
        content["method"],
    )


def _read(job: _Job, row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The records of a scan measured before by the same job on the same scanner."""
    try:
        stored = read_object(job.folder / "scans" / f"{row['scan_id']}.json", "measurements")
        same = stored["job"] == job.key and stored["scanner"] == job.scanner_of[str(row["subject_id"])]
        records: list[dict[str, Any]] = stored["records"]
    except (InputError, KeyError):
        return None
    return records if same else None


def _measure(index: int, path: Path) -> None:
    """Scan and analyse one row of the job and write what was found."""
    torch.set_num_threads(1)
    job = _job(path, path.stat().st_mtime_ns)
    row = job.rows[index]
    number = job.scanner_of[str(row["subject_id"])]
    truth = load_truth(row)
    raw = rescan(truth, job.acquisitions[number], job.seed, str(row["scan_id"]))
    area_cm2 = pixel_area_cm2(truth.pixel_spacing_mm)
    true = regional_totals(truth.areal_density_g_cm2, truth.region_map, area_cm2)
    known = {
        "scan_id": row["scan_id"],
        "subject_id": row["subject_id"],
        "sex": row.get("sex", ""),
        "bmi_class": bmi_class(row["height_cm"], row["mass_kg"]) if {"height_cm", "mass_kg"} <= set(row) else "",
        "scanner": number,
    }
    records = []
    for calibration in job.calibrations:
        if calibration == "scan":
            wheel = wheel_of(job.acquisitions[number])
            model = calibrate_with_scan(raw, wheel, pixel_spacing_mm=truth.pixel_spacing_mm)
        else:
            model = job.models[calibration][number]
        found = analyse_scan(raw, model, truth.pixel_spacing_mm, method=job.method)
        overlap = {
            f"dice_{name}": dice(_inside(found.region_map, codes), _inside(truth.region_map, codes))
            for name, codes in REGION_GROUPS.items()
        }
        about = {
            "calibration": calibration,
            "refused": found.refused,
            "flags": " ".join(flag.name for flag in found.flags),
        }
        other = {} if found.other is None else {f"other_{name}": value for name, value in found.other.totals.items()}
        records.append(
            known | about | found.totals | other | {f"true_{name}": value for name, value in true.items()} | overlap
        )
    with atomic_path(job.folder / "scans" / f"{row['scan_id']}.json") as temporary:
        temporary.write_text(
            json.dumps({"job": job.key, "scanner": number, "records": records}) + "\n", encoding="utf-8"
        )


def _inside(region_map: Any, codes: Sequence[int]) -> Any:
    return (region_map[..., None] == [int(code) for code in codes]).any(axis=-1)
