"""Checks of a scanner's parameters where they are made: what a name expects and what it got, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any, NamedTuple

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import Layers, material

_WORDS = {2: "two", 6: "six"}


class Range(NamedTuple):
    """Finite numbers from ``lowest`` to ``highest``, and how a message names them."""

    expected: str
    lowest: float
    highest: float


POSITIVE = Range("a positive number", math.ulp(0.0), math.inf)
FROM_ZERO = Range("a number from 0", 0.0, math.inf)
FRACTION = Range("a fraction from 0 to below 1", 0.0, math.nextafter(1.0, 0.0))
ANY = Range("a finite number", -math.inf, math.inf)


def number(name: str, value: Any, allowed: Range) -> float:
    """The value as float.

    Raises:
        InputError: no number, not finite, or out of the range.
    """
    try:
        real = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        real = math.inf
    if not (math.isfinite(real) and allowed.lowest <= real <= allowed.highest):
        raise InputError(f"{name}: expected {allowed.expected}, got {value!r}.")
    return real


def numbers(name: str, values: Any, count: int, allowed: Range) -> tuple[float, ...]:
    """That many numbers, each within the range.

    Raises:
        InputError: another count, or one of them cannot be.
    """
    if not isinstance(values, Iterable) or isinstance(values, str) or len(items := tuple(values)) != count:
        raise InputError(f"{name}: expected {_WORDS[count]} numbers, got {values!r}.")
    return tuple(number(name, value, allowed) for value in items)


def whole_number(name: str, value: Any, lowest: int) -> int:
    """A whole number from ``lowest``.

    Raises:
        InputError: something else.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < lowest:
        raise InputError(f"{name}: expected a whole number from {lowest}, got {value!r}.")
    return int(value)


def whole_numbers(name: str, values: Any, lowest: int, count: int | None = None) -> tuple[int, ...]:
    """Whole numbers from ``lowest``; exactly ``count`` of them if it is given.

    Raises:
        InputError: something else.
    """
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"{name}: expected whole numbers, got {values!r}.")
    items = tuple(values)
    if count is not None and len(items) != count:
        raise InputError(f"{name}: expected {_WORDS[count]} whole numbers, got {values!r}.")
    return tuple(whole_number(name, value, lowest) for value in items)


def layers(name: str, values: Any) -> Layers:
    """Pairs of a known material and a thickness (or areal density) from 0.

    Raises:
        InputError: something else.
    """
    try:
        pairs = [(str(layer), thickness) for layer, thickness in values]
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected pairs of material and thickness, got {values!r}.") from error
    for layer, _ in pairs:
        material(layer)
    thickness_from_zero = Range("a thickness from 0", 0.0, math.inf)
    return tuple((layer, number(f"{name} '{layer}'", value, thickness_from_zero)) for layer, value in pairs)
