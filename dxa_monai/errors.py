"""A user's mistake, told in one sentence."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

_LONGEST = 2000
"""Characters of a sentence: what a file holds, and a sentence repeats, may have a megabyte."""
_SHOWN_CHARACTERS = 80


class InputError(ValueError):
    """A user's mistake. Its message is one sentence with the path (or name), what was expected and what was found."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(_short(sentence))


class TrainingError(RuntimeError):
    """Training cannot go on (for example NaN in the loss). Its message is one sentence that names the scans."""

    def __init__(self, sentence: str = "") -> None:
        super().__init__(_short(sentence))


def shown(value: object) -> str:
    """A value as a sentence shows it: on one line, and not all of a long one."""
    text = " ".join(line.strip() for line in repr(value).splitlines())
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 4]} ..."


def _short(sentence: str) -> str:
    if len(sentence) <= _LONGEST:
        return sentence
    half = _LONGEST // 2 - 30  # what is left, with the words between, is not cut again
    return f"{sentence[:half]} ... ({len(sentence) - 2 * half} characters left out) ... {sentence[-half:]}"


_LITTLE_SHARED_MEMORY = re.compile(r"shared memory|Bus error|\bshm\b|ancdata")
_LITTLE_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|ended by itself|killed by signal")
_MANY_FILES = (errno.EMFILE, errno.ENFILE)
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ESTALE)


# A DataLoader's worker process hands on only the text of a traceback, whose last line names the exception.
_IN_TRACEBACK = re.compile(rf"^{__name__}\.(InputError|TrainingError): (.+)$", re.MULTILINE)


def find_user_error(error: BaseException | None) -> InputError | TrainingError | None:
    """The first InputError or TrainingError in an exception's chain of causes, without its traceback, or None.

    One of a ``DataLoader``'s worker process is found in the text of the exception that torch raises for it. Where there
    is neither, what the machine could not give (memory, open files, room on a disk) is told as an InputError.
    """
    chain = list(_causes(error))
    for each in chain:
        in_worker = _IN_TRACEBACK.findall(str(each))
        if in_worker:
            name, sentence = in_worker[-1]
            return InputError(sentence) if name == InputError.__name__ else TrainingError(sentence)
        if isinstance(each, InputError):
            return InputError(str(each))
        if isinstance(each, TrainingError):
            return TrainingError(str(each))
    limits = (_limit_of_the_machine(each) for each in chain)
    return next((InputError(sentence) for sentence in limits if sentence), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def _limit_of_the_machine(error: BaseException) -> str:
    """A sentence for what no command can do anything about; empty for any other exception."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # an error of a loader's process has a page of its own, with what it was in the end
    reason = next((line for line in reversed(lines) if _LITTLE_SHARED_MEMORY.search(line)), lines[0])
    number = error.errno if isinstance(error, OSError) else None
    if number in _MANY_FILES or "Too many open files" in reason:
        return "open files: expected to open one more, got the limit; raise it (ulimit -n) or take fewer workers."
    if isinstance(error, RuntimeError | OSError) and _LITTLE_SHARED_MEMORY.search(str(error)):
        return (
            f"shared memory: expected room for the batches of worker processes, got '{reason}'; take --num_workers 0, "
            "or give a container more (docker run --shm-size 1g)."
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return "memory: expected enough for this command, got none; take a smaller batch_size or fewer workers."
    if isinstance(error, RuntimeError) and _LITTLE_MEMORY.search(reason):
        return f"memory: expected enough for this command, got '{reason}'; take a smaller batch_size or fewer workers."
    if isinstance(error, OSError) and number in _OF_A_DISK:
        return f"{error.filename or 'disk'}: expected to read or write it, got '{error.strerror}'."
    return ""


def describe_user_error(error: BaseException | None) -> str | None:
    """The sentence of :func:`find_user_error`."""
    told = find_user_error(error)
    return None if told is None else str(told)
