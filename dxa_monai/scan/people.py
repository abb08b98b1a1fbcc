"""Who is who in a table, and what cannot be known of anybody.

A person under two spellings is two people to a split, and is then trained on and tested with. Whatever tables write for
"not known" becomes a person, or a measurement. Both are refused, with the line.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError

UNKNOWN = {
    *("na", "n/a", "#n/a", "nan", "none", "null", "nil", "missing", "unknown", "undefined", "-", "--", ".", "?"),
    *("-1", "-9", "-99", "-999", "-9999", "#ref!", "#value!", "#name?", "<na>"),
}
"""What programs write into a cell of which nothing is known, in lower case."""

MISSING_CODES = {-9.0, -99.0, -999.0, -9999.0, -99999.0} | {
    float(digit * length) for digit in "789" for length in range(3, 7)
}
"""Numbers that studies and SPSS files write for "not known": 777, 8888, 99999, ..."""

WOMEN, MEN = ("f", "female", "w", "woman"), ("m", "male", "man")
"""What is read as a sex, in any case of letters."""
EXPECTED_SEX = f"one of {', '.join((*WOMEN, *MEN))}"
"""As sentences say it."""

POSSIBLE = {"age_years": (0.0, 125.0), "height_cm": (20.0, 280.0), "mass_kg": (0.2, 700.0)}
"""Least and most that a person can have."""
POSSIBLE_BY_ENDING = {
    "_circumference_cm": (0.5, 350.0),
    "_surface_area_cm2": (500.0, 60_000.0),
    "_volume_l": (0.01, 700.0),
    "_percent": (-20.0, 120.0),
    "_fraction": (-0.2, 1.2),
}
"""Sums of noise over hardly anything may leave 0 to 100 %."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DATE = re.compile(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})")


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number as all programs write it: no ``1_000``, digits of other scripts, ``nan``."""
    return bool(_NUMBER.fullmatch(cell)) and math.isfinite(float(cell))


def as_date(cell: str) -> str:
    """A date as ``20261130``, of that or of ``2026-11-30``; empty if a cell is none."""
    match = _DATE.fullmatch(cell)
    if match is None or not ("01" <= match[2] <= "12" and "01" <= match[3] <= "31"):
        return ""
    return "".join(match.groups())


def is_woman(sex: object) -> bool | None:
    """Whether a cell says a woman's sex (``WOMEN``) or a man's (``MEN``); None: neither."""
    word = str(sex).strip().lower()
    return True if word in WOMEN else False if word in MEN else None


def person_key(subject: str) -> str:
    """A subject_id without what nobody sees or means: capitals, forms of a character, kinds and numbers of blanks."""
    visible = "".join(mark for mark in subject if unicodedata.category(mark) != "Cf")
    return " ".join(unicodedata.normalize("NFKC", visible).casefold().split())


def check_subjects(subjects: Sequence[tuple[int, str]], path: Path) -> None:
    """Refuse a subject_id that is none, and people who differ in nothing that anybody can see.

    Args:
        subjects: line and subject_id of each row.
        path: of the table, for the sentence.

    Raises:
        InputError: an id stands for "not known" or holds characters that cannot be seen, or two differ in capitals,
            in forms of a character or in blanks alone.
    """
    first: dict[str, tuple[int, str]] = {}
    for line, subject in subjects:
        if subject.lower() in UNKNOWN:
            raise InputError(
                f"{path}, line {line}: expected a subject_id, got '{subject}', which says that none is known."
            )
        hidden = next((mark for mark in subject if unicodedata.category(mark) in ("Cc", "Cf", "Co", "Cs")), None)
        if hidden is not None:
            raise InputError(f"{path}, line {line}: expected a subject_id of visible characters, got {subject!a}.")
        earlier_line, earlier = first.setdefault(person_key(subject), (line, subject))
        if earlier != subject:
            raise InputError(
                f"{path}, line {line}: expected one way to write a subject_id, got {_shown(subject, earlier)} and, in "
                f"line {earlier_line}, {_shown(earlier, subject)}: are these one person or two?"
            )


def check_sexes(located: Sequence[tuple[int, Mapping[str, Any]]], path: Path) -> None:
    """Refuse a person who is a woman in one row and a man in another.

    Args:
        located: line and row.
        path: of the table, for the sentence.

    Raises:
        InputError: with both lines.
    """
    first: dict[str, tuple[int, bool, str]] = {}
    for line, row in located:
        woman = is_woman(row.get("sex"))
        if woman is None:
            continue
        earlier_line, earlier, written = first.setdefault(row["subject_id"], (line, woman, row["sex"]))
        if earlier != woman:
            raise InputError(
                f"{path}, line {line}: expected one sex of the person {row['subject_id']}, got '{row['sex']}' and, in "
                f"line {earlier_line}, '{written}'."
            )


def check_values(located: Sequence[tuple[int, Mapping[str, Any]]], path: Path) -> None:
    """Refuse numbers that no person has, or that stand for "not known".

    A column of this project has limits (``POSSIBLE``). In any column of numbers a code of ``MISSING_CODES`` counts as
    such where it stands more than once and is the least, the most or the most frequent of all; once, it may be one.

    Args:
        located: line and row; numbers as float.
        path: of the table, for the sentence.

    Raises:
        InputError: with the line, the column and the number.
    """
    columns: dict[str, list[tuple[int, float]]] = {}
    for line, row in located:
        for name, value in row.items():
            if isinstance(value, float):
                columns.setdefault(name, []).append((line, value))
    for name, found in columns.items():
        lowest, highest = _possible(name)
        codes = _codes(Counter(value for _, value in found))
        for line, value in found:
            if lowest <= value <= highest and value not in codes:
                continue
            limits = f"from {lowest:g} to {highest:g} " if highest < math.inf else ""
            what = "a code for a missing value" if value in MISSING_CODES else "what nobody has"
            raise InputError(f"{path}, line {line}: expected {name} {limits}or an empty cell, got {value:g}, {what}.")


def _codes(counts: Counter[float]) -> set[float]:
    extremes, (_, most) = (min(counts), max(counts)), counts.most_common(1)[0]
    return {
        value
        for value, count in counts.items()
        if value in MISSING_CODES and ((count > 1 and value in extremes) or (count > 2 and count == most))
    }


def _possible(name: str) -> tuple[float, float]:
    if name in POSSIBLE:
        return POSSIBLE[name]
    found = (limits for ending, limits in POSSIBLE_BY_ENDING.items() if name.endswith(ending))
    return next(found, (-math.inf, math.inf))


def _shown(subject: str, other: str) -> str:
    """As it is written, or by code points where two look alike."""
    alike = unicodedata.normalize("NFKC", subject) == unicodedata.normalize("NFKC", other)
    return ascii(subject) if alike else f"'{subject}'"
