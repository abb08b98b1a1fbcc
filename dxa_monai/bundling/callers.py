"""Who called: MONAI lets an expression name the entries of its config, neither the config nor how it was called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

_Caller = TypeVar("_Caller")


def caller_of_type(kind: type[_Caller]) -> _Caller | None:
    """The nearest object of a type one of whose methods is running."""
    own = (frame.f_locals.get("self") for frame in _frames())
    return next((caller for caller in own if isinstance(caller, kind)), None)


def arguments_of_caller(function: Callable[..., Any]) -> dict[str, Any] | None:
    """What a function that is running was called with, and its other local names; None if it does not run."""
    code = inspect.unwrap(function).__code__
    return next((dict(frame.f_locals) for frame in _frames() if frame.f_code is code), None)


def runs_in(module: str) -> bool:
    """Whether a function of a module is running."""
    return any(frame.f_globals.get("__name__") == module for frame in _frames())


def _frames() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back
