"""Where a value stands among people of the same sex and age: Z-scores and percentiles from LMS curves.

At each age a measure is described by three numbers [1]: the median ``mu``, the coefficient of variation ``sigma`` and
the power ``lambda`` that takes the skewness away; ``z = ((value / mu)**lambda - 1) / (lambda sigma)``, or
``log(value / mu) / sigma`` where ``lambda`` is 0. Between the ages of a table the three are interpolated; beyond them
nothing is said.

    [1] Cole TJ, Green PJ. Smoothing reference centile curves: the LMS method and penalized likelihood. Stat Med
        1992;11:1305-1319. doi:10.1002/sim.4780111005
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import inv_boxcox, ndtr, ndtri

from dxa_monai.analysis.composition import QUANTITIES, REPORTED_REGIONS
from dxa_monai.analysis.indices import INDICES
from dxa_monai.errors import InputError
from dxa_monai.scan.csv_table import read_table
from dxa_monai.scan.people import EXPECTED_SEX, is_number, is_woman

COLUMNS = ("measure", "sex", "age_years", "lambda", "mu", "sigma", "population")
"""Of a file of curves, one row for each measure, sex and age."""
MEASURES = (
    *(f"{region}_{quantity}" for region in REPORTED_REGIONS for quantity in QUANTITIES),
    *(name for name, index in INDICES.items() if index.unit != "yes or no"),
)
"""That there can be curves of: columns of the table of body composition."""
PERCENTILES = (3, 10, 25, 50, 75, 90, 97)
"""That are drawn."""
NAMED = {"nhanes_white": Path(__file__).parent / "data" / "nhanes_white.csv"}
"""Curves that come with this package, by name; ``nhanes_white_source.txt`` beside them says where from."""

FloatArray = npt.NDArray[np.float64]


class Standing(NamedTuple):
    """Of a value among people of the same sex and age.

    Attributes:
        z: in standard deviations, after the skewness was taken away.
        percentile: 0 to 100, of people who have less.
        median: of these people.
    """

    z: float
    percentile: float
    median: float


@dataclass(frozen=True)
class Curve:
    """LMS over age; arrays ``(N,)``, ages rising."""

    age_years: FloatArray
    lambda_: FloatArray
    mu: FloatArray
    sigma: FloatArray

    def at(self, age_years: float) -> tuple[float, float, float]:
        """Lambda, mu and sigma, interpolated."""
        parts = (self.lambda_, self.mu, self.sigma)
        return tuple(float(np.interp(age_years, self.age_years, part)) for part in parts)  # type: ignore[return-value]

    def value(self, percentile: float, age_years: FloatArray) -> FloatArray:
        """The measure at a percentile, over ages ``(N,)``: what is drawn as a line."""
        power, mu, sigma = (np.interp(age_years, self.age_years, part) for part in (self.lambda_, self.mu, self.sigma))
        return np.asarray(mu * inv_boxcox(sigma * ndtri(percentile / 100.0), power), dtype=np.float64)

    def standing(self, value: float, age_years: float) -> Standing:
        """Where a positive value stands at an age."""
        power, mu, sigma = self.at(age_years)
        ratio = value / mu
        z = np.log(ratio) / sigma if abs(power) < 1e-6 else (ratio**power - 1.0) / (power * sigma)
        return Standing(float(z), float(100.0 * ndtr(z)), mu)


@dataclass(frozen=True)
class ReferenceCurves:
    """Curves of a population.

    Attributes:
        population: who the people are, in words.
        curves: by measure (a column of the table of body composition) and whether of women.
    """

    population: str
    curves: Mapping[tuple[str, bool], Curve]

    @property
    def measures(self) -> list[str]:
        """That there are curves of, in the order of the file."""
        return list(dict.fromkeys(measure for measure, _ in self.curves))

    def standings(
        self, values: Mapping[str, Any], person: Mapping[str, Any]
    ) -> tuple[dict[str, Standing], dict[str, str]]:
        """Where a person's values stand.

        Args:
            values: by measure, as a row of the table of body composition.
            person: what a manifest says, of it ``sex`` and ``age_years``.

        Returns:
            Standings by measure; and for each measure without one the reason.
        """
        found: dict[str, Standing] = {}
        reasons: dict[str, str] = {}
        for measure in self.measures:
            value, age, sex = values.get(measure), person.get("age_years"), person.get("sex")
            woman = None if sex in (None, "") else is_woman(sex)
            curve = None if woman is None else self.curves.get((measure, woman))
            if age in (None, ""):
                reasons[measure] = "age_years is not known"
            elif sex in (None, ""):
                reasons[measure] = "sex is not known"
            elif woman is None:
                reasons[measure] = f"sex: expected {EXPECTED_SEX}, got '{sex}'"
            elif value in (None, ""):
                reasons[measure] = "it has no value"
            elif curve is None:
                reasons[measure] = f"the reference has no curve of {'women' if woman else 'men'}"
            elif not curve.age_years[0] <= float(age) <= curve.age_years[-1]:
                ages = f"{curve.age_years[0]:g} to {curve.age_years[-1]:g}"
                reasons[measure] = f"the reference is of ages from {ages}, got {age:g} years"
            elif not float(value) > 0.0:
                reasons[measure] = f"expected a value above 0, got {value:g}"
            else:
                found[measure] = curve.standing(float(value), float(age))
        return found, reasons


def read_reference(source: str | Path) -> ReferenceCurves:
    """Curves of a name of ``NAMED``, or of a CSV file with the columns ``COLUMNS``.

    Raises:
        InputError: it is neither, a cell is none of its column's, an age is there twice, or people of two populations
            are in one file.
    """
    path = NAMED.get(str(source), Path(source))
    if path.suffix.lower() != ".csv":
        raise InputError(f"reference: expected {', '.join(NAMED)} or a CSV file of curves, got '{source}'.")
    rows: dict[tuple[str, bool], dict[float, tuple[float, float, float]]] = defaultdict(dict)
    populations: dict[str, int] = {}
    for line, row in read_table(path, COLUMNS, "; docs/numbers.md says what such a file holds"):
        where = f"{path}, line {line}"
        if row["measure"] not in MEASURES:
            similar = get_close_matches(row["measure"], MEASURES, 1)
            hint = f" (similar: {similar[0]})" if similar else ""
            raise InputError(
                f"{where}: expected a column of body_composition.csv as measure, got '{row['measure']}'{hint}."
            )
        woman = is_woman(row["sex"])
        if woman is None:
            raise InputError(f"{where}: expected {EXPECTED_SEX} in column sex, got '{row['sex']}'.")
        age, power, mu, sigma = (_number(row, name, where) for name in ("age_years", "lambda", "mu", "sigma"))
        if age < 0.0 or mu <= 0.0 or sigma <= 0.0:
            raise InputError(
                f"{where}: expected an age_years from 0, mu and sigma above 0, got {age:g}, {mu:g} and {sigma:g}."
            )
        populations.setdefault(row["population"], line)
        ages = rows[row["measure"], woman]
        if age in ages:
            raise InputError(f"{where}: expected each age of {row['measure']} once for a sex, got {age:g} years again.")
        ages[age] = power, mu, sigma
    if len(populations) > 1:
        raise InputError(f"{path}: expected people of one population, got {' and '.join(map(repr, populations))}.")
    curves = {key: _curve(ages) for key, ages in rows.items()}
    return ReferenceCurves(next(iter(populations)), curves)


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    if not is_number(row[name]):
        raise InputError(f"{where}: expected a number in column {name}, got '{row[name]}'.")
    return float(row[name])


def _curve(ages: Mapping[float, tuple[float, float, float]]) -> Curve:
    ordered = sorted(ages)
    columns = np.array([(age, *ages[age]) for age in ordered], dtype=np.float64).T
    return Curve(*columns)
