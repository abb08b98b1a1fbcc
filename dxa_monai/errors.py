"""A user's mistake, told in one sentence."""

from __future__ import annotations

import re


class InputError(ValueError):
    """A user's mistake. Its message is one sentence with the path (or name), what was expected and what was found."""


class TrainingError(RuntimeError):
    """Training cannot go on (for example NaN in the loss). Its message is one sentence that names the scans."""


# A DataLoader's worker process hands on only the text of a traceback, whose last line names the exception.
_IN_TRACEBACK = re.compile(rf"^{__name__}\.(InputError|TrainingError): (.+)$", re.MULTILINE)


def find_user_error(error: BaseException | None) -> InputError | TrainingError | None:
    """The first InputError or TrainingError in an exception's chain of causes, without its traceback, or None.

    One of a ``DataLoader``'s worker process is found in the text of the exception that torch raises for it.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        in_worker = _IN_TRACEBACK.findall(str(error))
        if in_worker:
            name, sentence = in_worker[-1]
            return InputError(sentence) if name == InputError.__name__ else TrainingError(sentence)
        if isinstance(error, InputError):
            return InputError(str(error))
        if isinstance(error, TrainingError):
            return TrainingError(str(error))
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def describe_user_error(error: BaseException | None) -> str | None:
    """The sentence of :func:`find_user_error`."""
    told = find_user_error(error)
    return None if told is None else str(told)
