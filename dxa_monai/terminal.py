"""What is printed, on any terminal and also on one that is gone."""

from __future__ import annotations

import atexit
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dxa_monai.errors import describe_user_error

_GONE = (errno.EPIPE, errno.EIO)
"""The reader of a pipe has left (``| head``); the terminal of an ssh connection that was cut."""


def printable(text: str) -> str:
    """Text in which what is no printable character is written as an escape: names of files hold whatever they like."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def lasting_output() -> None:
    """Let the work go on when nobody reads what is printed any more, and escape what a terminal cannot show.

    Only the process's own two streams are changed, not what a notebook or a test has put in their place.
    """
    for stream in (sys.__stdout__, sys.__stderr__):
        if not isinstance(stream, io.TextIOWrapper) or "write" in vars(stream):
            continue
        stream.reconfigure(errors="backslashreplace")
        for name in ("write", "flush"):
            setattr(stream, name, _until_gone(stream, getattr(stream, name)))
        atexit.register(stream.flush)


@contextmanager
def errors_as_sentence() -> Iterator[None]:
    """Around a command, or as its decorator: a user's mistake ends it with its sentence on stderr and exit code 1.

    Any other exception keeps its traceback (:func:`dxa_monai.errors.find_user_error` tells them apart).
    """
    try:
        yield
    except Exception as error:
        sentence = describe_user_error(error)
        if sentence is None:
            raise
        raise SystemExit(printable(f"error: {sentence}")) from None


def one_line_of_errors() -> None:
    """Let engines that end with an exception log its first line; whoever catches it says the rest, once."""
    make = logging.getLogRecordFactory()
    if getattr(make, "one_line", False):
        return

    def first_line(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if isinstance(record.msg, str) and "is terminating due to exception" in record.msg:
            record.msg = record.msg.partition("\n")[0]
        return record

    first_line.one_line = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(first_line)


def _until_gone(stream: io.TextIOWrapper, method: Callable[..., Any]) -> Callable[..., Any]:
    def tolerant(*args: Any) -> Any:
        try:
            return method(*args)
        except ValueError:
            return None if stream.closed else method(*args)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            return len(args[0]) if args else None

    return tolerant
