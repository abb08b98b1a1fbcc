"""How far repeated scans of a person lie apart, and from which change on a difference is more than that.

The precision error is the root mean square over people of the standard deviation of their repeated scans [1], each
person weighted by the degrees of freedom of their scans [2]; the least significant change is 2.77 times that, for a
confidence of 95 % in a change of one person. Fifteen people with three scans or thirty with two give the thirty
degrees of freedom that are asked for [1].

    [1] International Society for Clinical Densitometry, precision assessment and its calculator:
        http://www.iscd.org/resources/calculators/precision-calculator/glossary/
    [2] Glüer CC et al. Accurate assessment of precision errors: how to measure the reproducibility of bone
        densitometry techniques. Osteoporos Int 1995;5:262-270. doi:10.1007/BF01774016
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.evaluation.agreement import precision_cv_percent
from dxa_monai.evaluation.composition_rows import CompositionTable, read_composition
from dxa_monai.files import output_folder
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.csv_table import read_table, write_table
from dxa_monai.scan.people import is_number

LEAST_SIGNIFICANT = 2.77
"""Times the precision error: 1.96 standard deviations of the difference of two scans."""
ENOUGH_DEGREES_OF_FREEDOM = 30
PRECISION_NAME = "precision.csv"
VIRTUAL = Path(__file__).parent / "data" / "virtual_precision.csv"
"""Precision of repeated scans of virtual people, see ``virtual_precision_source.txt`` beside it."""

_COLUMNS = ("measure", "people", "scans", "degrees_of_freedom", "mean", "rms_sd", "cv_percent")
_LEAST = "least_significant_change"


class PrecisionError(NamedTuple):
    """Of a measure, in its unit.

    Attributes:
        people: with several scans.
        scans: of these people.
        degrees_of_freedom: scans less people.
        mean: of their scans.
        rms_sd: root mean square of the standard deviations.
        cv_percent: root mean square of the coefficients of variation; NaN if a value is not positive.
    """

    people: int
    scans: int
    degrees_of_freedom: int
    mean: float
    rms_sd: float
    cv_percent: float

    @property
    def least_significant_change(self) -> float:
        """From which difference of two scans of a person on it is more than their scatter, in 95 of 100 cases."""
        return LEAST_SIGNIFICANT * self.rms_sd


def precision_error(values: npt.ArrayLike, people: Sequence[str]) -> PrecisionError | None:
    """The precision error of repeated scans of people who have not changed in between.

    Args:
        values: ``(N,)`` of the scans.
        people: N, whose scan each is; people with one scan do not count.

    Returns:
        None if nobody has several scans.
    """
    measured = np.asarray(values, dtype=np.float64)
    _, whose = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    repeated = np.bincount(whose)[whose] > 1
    if not repeated.any():
        return None
    measured, whose = measured[repeated], np.unique(whose[repeated], return_inverse=True)[1]
    scans = np.bincount(whose)
    means = np.bincount(whose, measured) / scans
    freedom = len(measured) - len(scans)
    rms_sd = float(np.sqrt(np.square(measured - means[whose]).sum() / freedom))
    cv = precision_cv_percent(measured, whose.tolist(), resamples=1)["cv_percent"] if (measured > 0.0).all() else np.nan
    return PrecisionError(len(scans), len(measured), freedom, float(measured.mean()), rms_sd, float(cv))


@letting_go()
def measure_precision(table: str | Path, output_dir: str | Path) -> dict[str, PrecisionError]:
    """Write ``precision.csv``, the precision error of every measure of a table of repeated scans.

    Args:
        table: ``body_composition.csv`` of people who were scanned several times and did not change in between, each
            with a ``subject_id``. Scans without numbers do not count.
        output_dir: gets the file.

    Returns:
        By measure.

    Raises:
        InputError: the table cannot be used, nobody has several scans, two scanners were used, or the folder holds
            another file of that name.
    """
    scans = read_composition(table)
    scanners = sorted({row.scanner for row in scans.rows})
    if len(scanners) > 1:
        raise InputError(f"{table}: expected repeated scans that were read with one scanner, got {scanners}.")
    found = {name: error for name in scans.measures if (error := _of_measure(scans, name)) is not None}
    if not found:
        raise InputError(f"{table}: expected people with several scans, got one scan of each of {len(scans.rows)}.")
    folder = claim_outputs(output_folder(output_dir), [PRECISION_NAME])
    write_precision(found, folder / PRECISION_NAME)
    freedom = max(error.degrees_of_freedom for error in found.values())
    people = max(error.people for error in found.values())
    print(
        f"Precision of {len(found)} measures, {people} people, {freedom} degrees of freedom: {folder / PRECISION_NAME}"
    )
    if freedom < ENOUGH_DEGREES_OF_FREEDOM:
        print(
            f"That is less than the {ENOUGH_DEGREES_OF_FREEDOM} degrees of freedom that the ISCD asks for "
            "(fifteen people with three scans, or thirty with two): the least significant changes are uncertain."
        )
    flagged = sum(bool(row.flags) for row in scans.rows)
    if flagged:
        print(f"{flagged} of {len(scans.rows)} scans have flags; they count.")
    return found


def _of_measure(scans: CompositionTable, name: str) -> PrecisionError | None:
    known = [row for row in scans.rows if name in row.values]
    return precision_error([row.values[name] for row in known], [row.subject_id for row in known])


def write_precision(errors: dict[str, PrecisionError], path: Path) -> None:
    """Write a table of precision errors, see :func:`read_precision`."""
    rows = [
        {"measure": name, _LEAST: f"{error.least_significant_change:.4g}"}
        | {
            column: f"{value:.4g}" if isinstance(value, float) else value
            for column, value in error._asdict().items()
            if value == value
        }
        for name, error in errors.items()
    ]
    write_table(path, (*_COLUMNS, _LEAST), rows)


def read_precision(path: str | Path) -> dict[str, float]:
    """The least significant change of each measure of a ``precision.csv``.

    Raises:
        InputError: the file is none, names a measure twice, or holds what is no change.
    """
    least: dict[str, float] = {}
    for line, row in read_table(Path(path), ["measure", _LEAST], "; such a table is made by configs/precision.json"):
        name, cell = row["measure"], row[_LEAST]
        if name in least:
            raise InputError(f"{path}, line {line}: expected each measure once, got '{name}' again.")
        if not is_number(cell) or float(cell) < 0.0:
            raise InputError(f"{path}, line {line}: expected a number from 0 in column {_LEAST}, got '{cell}'.")
        least[name] = float(cell)
    return least
