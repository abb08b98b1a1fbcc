"""What an option can be: a path, a flag, a count, a list. Each kind knows what it expects, and reads text as such.

MONAI's command line guesses the type of a value from its looks: ``false`` is a text (and so is true), ``20241129`` a
number, ``a,b`` a pair, ``a#b`` is ``a``. Here the option says what its value is.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pydoc import locate
from typing import Any, Protocol

import torch
from fire.parser import DefaultParseValue

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_WHOLE = re.compile(r"[+-]?\d+")
_BRACKETS = ("[", "(", "{")


class Kind(Protocol):
    """What a value can be."""

    @property
    def expected(self) -> str:
        """What is expected, in words."""

    def read(self, given: Any) -> Any:
        """The value of what is given: text of a command line, or a value of a config or a Python call.

        Raises:
            ValueError: it is none of this kind.
        """


@dataclass(frozen=True)
class Text:
    """Any text, such as a name."""

    expected: str = "a text"

    def read(self, given: Any) -> str:
        return given if isinstance(given, str) else _refuse()


@dataclass(frozen=True)
class PathTo:
    """A path, whatever characters it has; ``what`` it leads to, or the words that may stand in its place."""

    what: str = ""
    may_be_empty: bool = False

    @property
    def expected(self) -> str:
        return f"the path of {self.what}" if self.what else "a path"

    def read(self, given: Any) -> str:
        if not isinstance(given, (str, os.PathLike)) or not (self.may_be_empty or os.fspath(given)):
            _refuse()
        return os.fspath(given)


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    expected: str = "true or false"

    def read(self, given: Any) -> bool:
        text = str(given).strip().lower() if isinstance(given, (bool, int, str)) else ""
        return True if text in _TRUE else False if text in _FALSE else _refuse()


@dataclass(frozen=True)
class Count:
    """A whole number, both ends of its range included."""

    lowest: int = 0
    highest: float = math.inf

    @property
    def expected(self) -> str:
        if math.isfinite(self.highest):
            return f"a whole number from {self.lowest} to {self.highest:g}"
        return f"a whole number of at least {self.lowest}"

    def read(self, given: Any) -> int:
        if isinstance(given, str) and _WHOLE.fullmatch(given.strip()):
            given = int(given)
        if isinstance(given, bool) or not isinstance(given, int) or not self.lowest <= given <= self.highest:
            _refuse()
        return given


@dataclass(frozen=True)
class Number:
    """A finite number, both ends of its range included."""

    lowest: float = -math.inf
    highest: float = math.inf

    @property
    def expected(self) -> str:
        if math.isfinite(self.highest):
            return f"a number from {self.lowest:g} to {self.highest:g}"
        return f"a number of at least {self.lowest:g}" if math.isfinite(self.lowest) else "a number"

    def read(self, given: Any) -> float:
        number = given if isinstance(given, (int, float)) else float(given) if isinstance(given, str) else _refuse()
        if isinstance(given, bool) or not math.isfinite(number) or not self.lowest <= number <= self.highest:
            _refuse()
        return number


@dataclass(frozen=True)
class Choice:
    """One of some words: the words, or the dotted name of the constant that holds them."""

    words: tuple[str, ...] | str

    @property
    def expected(self) -> str:
        return f"one of {', '.join(_words(self.words))}"

    def read(self, given: Any) -> str:
        return given if given in _words(self.words) else _refuse()


@dataclass(frozen=True)
class ListOf:
    """A list, written as ``"['a','b']"`` or ``a,b``; one value alone is a list of one.

    Attributes:
        kind: of its values.
        length: of the list; None: any.
        may_be_empty: or not.
    """

    kind: Kind
    length: int | None = None
    may_be_empty: bool = False

    @property
    def expected(self) -> str:
        if isinstance(self.kind, Choice):
            return f"{self.length or 'some'} of {', '.join(_words(self.kind.words))}, written as a,b"
        many = "any number" if self.length is None else str(self.length)
        return f"a list of {many}, each {self.kind.expected}, such as {self._example}"

    @property
    def _example(self) -> str:
        if isinstance(self.kind, (Count, Number)):
            return f"[{','.join(str(number) for number in range(1, 1 + (self.length or 2)))}]"
        return "['a','b']"

    def read(self, given: Any) -> list[Any]:
        if isinstance(given, str):
            text = given.strip()
            given = (
                DefaultParseValue(text) if text.startswith(_BRACKETS) else [part.strip() for part in text.split(",")]
            )
        values = list(given) if isinstance(given, (list, tuple)) else [given]
        if not (values or self.may_be_empty) or len(values) != (self.length or len(values)):
            _refuse()
        return [self.kind.read(value) for value in values]


@dataclass(frozen=True)
class MappingOf:
    """Names with what each stands for, written as ``"{'name': value}"``; ``what`` it maps, with an example."""

    what: str
    example: str = "{'name': value}"

    @property
    def expected(self) -> str:
        return f'{self.what}, written as "{self.example}"'

    def read(self, given: Any) -> dict[str, Any]:
        given = DefaultParseValue(given) if isinstance(given, str) else given
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            _refuse()
        return dict(given)


@dataclass(frozen=True)
class Device:
    """A device that this machine has; in a config it becomes an expression, since JSON has no devices."""

    @property
    def expected(self) -> str:
        found = "cpu and cuda" if torch.cuda.is_available() else "cpu alone"
        return f"a device of this machine (it has {found})"

    def read(self, given: Any) -> Any:
        if isinstance(given, torch.device):
            return given
        try:
            device = torch.device(given)
        except (RuntimeError, TypeError):
            _refuse()
        if device.type == "cuda":
            if not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
                _refuse()
        elif device.type != "cpu":
            _refuse()
        return f"$torch.device('{device}')"


def like(value: Any) -> Kind | None:
    """The kind of a value that stands in a config, where that says enough; None: anything can take its place."""
    if isinstance(value, bool):
        return Flag()
    return Number() if isinstance(value, (int, float)) else None


def _words(words: Sequence[str] | str) -> tuple[str, ...]:
    found: Any = locate(words) if isinstance(words, str) else words
    return tuple(found)


def _refuse() -> Any:
    raise ValueError
