"""The report of a scan as JSON, and of a run as one CSV table."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import dxa_monai
from dxa_monai.analysis.composition import QUANTITIES, REPORTED_REGIONS, BodyComposition
from dxa_monai.analysis.indices import INDICES, body_indices
from dxa_monai.analysis.landmarks import LANDMARK_NAMES, Landmarks
from dxa_monai.analysis.reference_curves import ReferenceCurves
from dxa_monai.analysis.segments import Point
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.input_files import read_object
from dxa_monai.physics.correction import ScanCorrection
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.csv_table import write_table
from dxa_monai.scan.format import FULL_SCALE_COUNTS
from dxa_monai.scan.io import scan_content

TABLE_NAME = "body_composition.csv"
UNITS = {name: name.rpartition("_")[2] if name.endswith(("_g", "_percent")) else "" for name in QUANTITIES} | {
    "bone_area_cm2": "cm2",
    "bmd_g_cm2": "g/cm2",
    "fat_percent": "% of mass",
}
ID_COLUMNS = ("subject_id", "scan_id", "scan", "study_date", "age_years", "sex", "height_cm", "mass_kg")
"""What a manifest says about a scan and the table repeats."""
FAILED = "failed"
"""In the column ``flags`` of a scan that could not be read, or whose landmarks cannot be used."""
_MISSING = "indices_missing"
_POPULATION, _UNPLACED = "reference_population", "reference_missing"
ABOUT_COLUMNS = (*ID_COLUMNS, "scanner", "flags", _MISSING, _POPULATION, _UNPLACED)
"""Columns of the table that are no measures of the scan."""
STANDING_ENDINGS = ("_z", "_percentile")
"""Of columns that say where a measure stands among a reference."""
_SIGNIFICANT_DIGITS = 6
_KEYS = ("scan_id", "regions", "flags", "landmarks", "landmarks_given", "scanner", "zero", "inputs_sha256")
_PACKAGES = ("torch", "numpy", "scipy", "xraydb")


def fingerprint(
    scan: str | Path,
    model: ScannerModel,
    pixel_spacing_mm: tuple[float, float],
    landmarks: Landmarks | None,
    polygons: Mapping[str, Sequence[Point]] | None,
    settings: Mapping[str, Any],
) -> str:
    """Hash of all that a scan's numbers depend on; a report with the same one need not be made again.

    Args:
        scan: the scan's file, whose bytes count, with those of the files that belong to it.
        model: the scanner.
        pixel_spacing_mm: (row, column).
        landmarks: given by a person; None: they are found.
        polygons: the user's regions.
        settings: anything else, plain types.
    """
    given = [None if landmarks is None else [landmarks.point(name) for name in LANDMARK_NAMES], polygons]
    about = [dxa_monai.__version__, model.as_dict(), pixel_spacing_mm, given, settings]
    digest = hashlib.sha256(scan_content(scan))
    digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()


def as_report(
    row: Mapping[str, Any],
    composition: BodyComposition,
    model: ScannerModel,
    hash_of_inputs: str,
    reference: ReferenceCurves | None = None,
) -> dict[str, Any]:
    """The report of one scan as plain types.

    Args:
        row: of the scan; what it has of ``ID_COLUMNS`` is repeated.
        composition: the analysis.
        model: the scanner.
        hash_of_inputs: of :func:`fingerprint`.
        reference: people whom the values are held against; None: nobody.
    """
    regions: dict[str, dict[str, float]] = {}
    for name, value in composition.totals.items():
        quantity = next(
            quantity for quantity in sorted(QUANTITIES, key=len, reverse=True) if name.endswith(f"_{quantity}")
        )
        regions.setdefault(name.removesuffix(f"_{quantity}"), {})[quantity] = _rounded(value)
    landmarks = composition.landmarks
    report = {
        "regions": regions,
        "units": UNITS | {name: index.unit for name, index in INDICES.items()},
        "flags": [{"name": flag.name, "sentence": flag.sentence, "fatal": flag.fatal} for flag in composition.flags],
        "landmarks_given": composition.landmarks_given,
        "landmarks": None if landmarks is None else as_points(landmarks),
        "scanner": {
            "calibration": "nominal scanner" if model.source == "nominal" else model.source,
            "residual_nepers": _rounded(model.residual_nepers),
            "photons_per_pixel": _rounded(model.photons_per_pixel),
            "stray_signal": {name: _rounded(value) for name, value in dataclasses.asdict(model.stray).items()},
        },
        "zero": _zero(composition.correction),
        "method": composition.method,
        "other_reading": _other_reading(composition),
        "versions": versions(),
        "inputs_sha256": hash_of_inputs,
    }
    return with_person(report, row, reference)


def with_person(
    report: Mapping[str, Any], row: Mapping[str, Any], reference: ReferenceCurves | None = None
) -> dict[str, Any]:
    """A report with what a manifest says of the scan, the indices that follow from it, and where the values stand.

    Args:
        report: of the same scan, whoever it was said to be of.
        row: what it has of ``ID_COLUMNS`` is repeated.
        reference: people whom the values are held against; None: nobody.
    """
    about = identity(row)
    values, reasons = body_indices(report["regions"], about)
    rounded = {name: _rounded(value) if isinstance(value, float) else value for name, value in values.items()}
    rest = {name: value for name, value in report.items() if name not in (*ID_COLUMNS, "reference")}
    known = {**about, **rest, "indices": rounded, "indices_missing": reasons}
    return known if reference is None else known | {"reference": _standings(known, reference)}


def _standings(report: Mapping[str, Any], reference: ReferenceCurves) -> dict[str, Any]:
    """Where the values of a report stand among the people of a reference, as plain types."""
    standings, reasons = reference.standings(values_of(report), report)
    placed = {
        measure: {name: _rounded(value) for name, value in standing._asdict().items()}
        for measure, standing in standings.items()
    }
    return {"population": reference.population, "standings": placed, "missing": reasons}


def values_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """``{region}_{quantity}`` and the indices of a report, by column of the table."""
    regions = {
        f"{region}_{quantity}": value
        for region, quantities in report["regions"].items()
        for quantity, value in quantities.items()
    }
    return regions | {name: _yes_or_no(value) for name, value in report["indices"].items()}


def _other_reading(composition: BodyComposition) -> dict[str, Any] | None:
    """What the default method reads, and how far the report's numbers are from that, in percent."""
    other = composition.other
    if other is None:
        return None
    return {
        "method": other.method,
        **{name: _rounded(value) for name, value in other.totals.items()},
        "difference_percent": {
            name: _rounded(100.0 * (composition.totals[name] / value - 1.0)) if value else None
            for name, value in other.totals.items()
        },
        "wheel": {"k_ratio": _rounded(other.k_ratio), "d0_ratio": _rounded(other.d0_ratio)},
    }


def _zero(correction: ScanCorrection) -> dict[str, Any]:
    """What was taken off the scan before it was analysed."""
    zero, scale = correction.zero, FULL_SCALE_COUNTS / correction.model.full_scale_nepers
    return {
        "source": "declared" if correction.zero_declared else "open air",
        "air_pixels": int(zero.air.sum()),
        "counts": list(zero.level_counts(correction.model.full_scale_nepers)),
        "range_along_rows_counts": _rounded(float(np.ptp(zero.along_rows_nepers, axis=1).max()) * scale),
        "range_along_columns_counts": _rounded(float(np.ptp(zero.along_columns_nepers, axis=1).max()) * scale),
        "cut_off_at_0": zero.cut_off,
        "energy_shift_mm": [_rounded(shift) for shift in correction.energy_shift_mm],
        "dead_columns": list(correction.dead_columns),
    }


def identity(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``ID_COLUMNS`` is known of a scan; of its path, the file's name alone."""
    known = {name: row[name] for name in ID_COLUMNS if name in row}
    return known | {"scan": Path(row["scan"]).name}


def as_points(landmarks: Landmarks) -> dict[str, list[float]]:
    """Landmarks by name, [row, column], as exact as their file."""
    return {name: [round(part, 3) for part in landmarks.point(name)] for name in LANDMARK_NAMES}


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of this package and of those that the numbers come from."""
    return {"dxa_monai": dxa_monai.__version__} | {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON; it is whole or not there."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> dict[str, Any] | None:
    """A report of :func:`write_report`, or None if there is none or it is not one."""
    try:
        report = read_object(path, "a report")
    except InputError:
        return None
    return report if set(_KEYS) <= set(report) else None


def table_row(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as a row of the table.

    What identifies the scan, ``scanner``, ``flags``, ``{region}_{quantity}``, the indices, ``indices_missing``; with a
    reference ``reference_population``, ``{measure}_z``, ``{measure}_percentile`` and ``reference_missing``.
    """
    reference = report.get("reference")
    standings = {} if reference is None else _standing_cells(reference)
    return {
        **{name: report[name] for name in ID_COLUMNS if name in report},
        "scanner": report["scanner"]["calibration"],
        "flags": " ".join(flag["name"] for flag in report["flags"]),
        **values_of(report),
        _MISSING: _joined(report["indices_missing"]),
        **standings,
    }


def _standing_cells(reference: Mapping[str, Any]) -> dict[str, Any]:
    cells = {
        f"{measure}_{name}": standing[name]
        for measure, standing in reference["standings"].items()
        for name in ("z", "percentile")
    }
    return {_POPULATION: reference["population"], **cells, _UNPLACED: _joined(reference["missing"])}


def _joined(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def write_composition_table(
    rows: Iterable[Mapping[str, Any]],
    path: Path,
    polygons: Sequence[str] = (),
    reference: ReferenceCurves | None = None,
) -> None:
    """Write the table of a run: one row a scan, empty cells where a scan was refused.

    Args:
        rows: of :func:`table_row`, or with ``ID_COLUMNS`` and ``flags`` alone.
        path: CSV file.
        polygons: names of the user's regions.
        reference: people whom the values were held against; None: nobody.
    """
    rows = list(rows)
    known = [name for name in ID_COLUMNS if any(name in row for row in rows)]
    regions = [f"{region}_{quantity}" for region in (*REPORTED_REGIONS, *polygons) for quantity in QUANTITIES]
    columns = [*known, "scanner", "flags", *regions, *INDICES, _MISSING]
    if reference is not None:
        standings = [f"{measure}{ending}" for measure in reference.measures for ending in STANDING_ENDINGS]
        columns += [_POPULATION, *standings, _UNPLACED]
    write_table(path, columns, rows)


def _yes_or_no(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def rounded_totals(totals: Mapping[str, float]) -> dict[str, float]:
    """Totals as a table shows them."""
    return {name: _rounded(value) for name, value in totals.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
