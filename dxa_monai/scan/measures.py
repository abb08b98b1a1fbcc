"""What a manifest knows of people beside their scans: the measures that a network learns to read from a scan.

The measures of the body are listed here and nowhere else; how each is taken from a virtual person's mesh is in
:mod:`dxa_monai.phantom.anthropometry`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.manifest import Row, as_datalist

PAPER_MEASURES = (
    "bicep_left_circumference_cm",
    "bicep_right_circumference_cm",
    "calf_left_circumference_cm",
    "calf_right_circumference_cm",
    "hip_circumference_cm",
    "thigh_left_circumference_cm",
    "thigh_right_circumference_cm",
    "waist_circumference_cm",
    "whole_body_surface_area_cm2",
    "arm_left_volume_l",
    "arm_right_volume_l",
    "leg_left_volume_l",
    "leg_right_volume_l",
    "torso_volume_l",
    "total_volume_l",
)
"""The measures of the paper (arXiv 2206.06663, table 3), in its order, as columns of the manifest."""

BODY_MEASURES = (
    *PAPER_MEASURES,
    "forearm_left_circumference_cm",
    "forearm_right_circumference_cm",
)
"""All measures that virtual people have: the paper's and what was added. A name ends in its unit."""

_UNITS = {
    "g_cm2": "g/cm²",
    "kg_m2": "kg/m²",
    "cm2": "cm²",
    "m2": "m²",
    "cm": "cm",
    "l": "litres",
    "kg": "kg",
    "g": "g",
    "percent": "%",
}
"""How the end of a column's name is written; longer ends first."""
_ABBREVIATIONS = ("bmc", "bmd", "bmi", "ewgsop2", "fnih")


def measure_label(measure: str) -> str:
    """A column name for people: ``waist_circumference_cm`` is "waist circumference (cm)"."""
    end = next((end for end in _UNITS if measure.endswith(f"_{end}")), None)
    words = (measure if end is None else measure.removesuffix(f"_{end}")).split("_")
    name = " ".join(word.upper() if word in _ABBREVIATIONS else word for word in words)
    return name if end is None else f"{name} ({_UNITS[end]})"


def mirrored_measures(measures: Sequence[str]) -> list[int]:
    """Where each measure of a mirrored body stands: left for right, and itself for what has no side.

    Raises:
        InputError: the other side of a measure is not among them.
    """
    places = {name: place for place, name in enumerate(measures)}
    for name in measures:
        if _other_side(name) not in places:
            raise InputError(
                f"measures: expected both sides of {name} for mirrored scans, got no {_other_side(name)}; set mirrored "
                "to false."
            )
    return [places[_other_side(name)] for name in measures]


def has_both_sides(measures: Sequence[str]) -> bool:
    """Whether each measure of one side has its twin among them."""
    return {_other_side(name) for name in measures} == set(measures)


def _other_side(measure: str) -> str:
    return "_".join({"left": "right", "right": "left"}.get(word, word) for word in measure.split("_"))


def measures_of(rows: Iterable[Mapping[str, Any]], wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Which measures a training on these scans is about: those asked for, else all of the list that the scans have.

    Args:
        rows: manifest rows.
        wanted: columns of the manifest, kept in this order; None or empty: those of ``BODY_MEASURES`` that the manifest
            has.

    Returns:
        Columns that hold a number for every scan.

    Raises:
        InputError: a column asked for is named twice or is not there; none is asked for and none of ``BODY_MEASURES``
            is there; a row lacks a number that others have; there is no row.
    """
    rows = list(rows)
    if not rows:
        raise InputError("manifest: expected at least one scan, got none.")
    columns = {name for row in rows for name, value in row.items() if value is not None}
    if not wanted:
        chosen = tuple(name for name in BODY_MEASURES if name in columns)
        if not chosen:
            raise InputError(f"manifest: expected at least one of the columns {', '.join(BODY_MEASURES)}, got none.")
    else:
        if isinstance(wanted, str):
            raise InputError(f"measures: expected a list of columns of the manifest, got the text '{wanted}'.")
        chosen = tuple(str(name) for name in wanted)
        for place, name in enumerate(chosen):
            if name in chosen[:place]:
                raise InputError(f"measures: expected every column once, got {name} again.")
            if name not in columns:
                similar = get_close_matches(name, columns, 1)
                hint = f" (similar: {similar[0]})" if similar else ""
                raise InputError(f"measures: expected columns of the manifest, got {name}, which is none{hint}.")
    _check_numbers(rows, chosen)
    return chosen


def as_labelled_datalist(rows: Iterable[Mapping[str, Any]], measures: Sequence[str]) -> list[dict[str, Any]]:
    """Manifest rows as a MONAI data list with the measures: ``image, scan_id, subject_id, label``.

    Args:
        rows: manifest rows.
        measures: columns of the manifest.

    Returns:
        One dictionary a row; ``label`` is float32 ``(M,)`` in the order of ``measures``, in the columns' units.

    Raises:
        InputError: a row lacks a measure, or it is no number.
    """
    rows = list(rows)
    return [
        item | {"label": values.astype(np.float32)}
        for item, values in zip(as_datalist(rows), measure_table(rows, measures), strict=True)
    ]


def measure_table(rows: Iterable[Mapping[str, Any]], measures: Sequence[str]) -> np.ndarray:
    """The measures of manifest rows, float64 ``(N, M)``.

    Raises:
        InputError: a row lacks a measure, or it is no number.
    """
    rows = list(rows)
    if not measures:
        raise InputError("measures: expected at least one column of the manifest, got none.")
    _check_numbers(rows, measures)
    return np.array([[float(row[measure]) for measure in measures] for row in rows]).reshape(len(rows), len(measures))


def _check_numbers(rows: Sequence[Mapping[str, Any]], measures: Iterable[str]) -> None:
    for measure in measures:
        lacking = [row["scan_id"] for row in rows if not isinstance(row.get(measure), (int, float))]
        if lacking:
            raise InputError(
                f"manifest: expected a number in column {measure} for every scan, "
                f"got none for scan '{lacking[0]}' ({len(lacking)} of {len(rows)} scans)."
            )


def measure_statistics(rows: Iterable[Mapping[str, Any]], measures: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the measures over scans, float32 ``(M,)`` each, for standardised targets.

    Raises:
        InputError: as :func:`measure_table`, or a measure is the same in all scans.
    """
    table = measure_table(rows, measures)
    deviation = table.std(axis=0, ddof=1) if len(table) > 1 else np.zeros(len(measures))
    for measure, value in zip(measures, deviation, strict=True):
        if not value > 0.0:
            raise InputError(
                f"training split: expected people of different {measure}, got {len(table)} scans of the same."
            )
    return torch.from_numpy(table.mean(axis=0)).float(), torch.from_numpy(deviation).float()


def first_pairs(rows: Iterable[Mapping[str, Any]], count: int, seed: int, name: str = "pairs") -> list[Row]:
    """The first ``count`` scans of people in a random order, for a learning curve; fewer are part of more.

    Args:
        rows: manifest rows.
        count: scans to keep; 0 keeps all.
        seed: of the order of people.
        name: of the option that says how many.

    Raises:
        InputError: there are fewer scans than ``count``.
    """
    scans_of: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["subject_id"], row["scan_id"])):
        scans_of.setdefault(row["subject_id"], []).append(dict(row))
    people = sorted(scans_of)
    order = np.random.default_rng(seed).permutation(len(people))
    chosen = [row for index in order for row in scans_of[people[index]]]
    if count < 0 or count > len(chosen):
        raise InputError(f"{name}: expected 0 (all) to {len(chosen)} scans, got {count}.")
    return chosen[:count] if count else chosen
