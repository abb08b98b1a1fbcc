"""Ctrl-C and SIGTERM during a training: noted, so that it can stop between two iterations."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C; the stop of a scheduler, a container or ``kill``."""


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
