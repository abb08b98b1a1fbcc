"""Ctrl-C, SIGTERM and a lost terminal: noted during a training, to stop between two iterations; else an exit."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""The stop of a scheduler, a container or ``kill``; a terminal or a connection that is gone."""
STOPPING = (signal.SIGINT, *ENDING)
"""And Ctrl-C."""


@contextmanager
def ending_as_exit(enabled: bool = True) -> Iterator[None]:
    """While it lasts, each of ``ENDING`` raises SystemExit, so that what was begun can be ended, too.

    Only signals that would end the process are taken, in the main thread: one that is ignored (``nohup``) stays so.
    """
    main = threading.current_thread() is threading.main_thread()
    mine = [number for number in ENDING if enabled and main and signal.getsignal(number) is signal.SIG_DFL]

    def leave(number: int, frame: FrameType | None) -> None:
        for each in mine:  # asked once is enough: the end shall not be cut short
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in mine:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


class Interruption:
    """A context in which the first signal to stop is only noted, in ``received``; the second one stops at once.

    Signals that are ignored outside stay ignored. In another thread than the main one nothing changes.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._outside: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._outside[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._outside.items():
            signal.signal(number, handler)
        self._outside = {}

    def stop(self) -> None:
        """Raise what the signal received means: KeyboardInterrupt, or SystemExit with the shell's status for it."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.received is not None
        self.received = signal.Signals(number)
        if again:
            self.stop()
