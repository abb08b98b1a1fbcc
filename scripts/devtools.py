"""One page of a headless Chromium, driven through its DevTools protocol [1] over a pipe: no driver, no other package.

[1] https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from dxa_monai.errors import InputError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Path of a Chromium.

    Raises:
        InputError: there is none.
    """
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        raise InputError(f"PATH: expected one of {', '.join(BROWSERS)} (Debian: apt install chromium), got none.")
    return found


class Page:
    """Calls of the protocol's methods, answered in turn; events are passed over."""

    def __init__(self, requests: IO[bytes], answers: IO[bytes]) -> None:
        self._requests, self._answers = requests, answers
        self._last = 0
        self._session = ""

    def attach(self, width: int, height: int) -> None:
        """Open a page of this size in pixels; later calls go to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a method.

        Raises:
            InputError: the browser has ended.
            RuntimeError: the browser refuses the call.
        """
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._requests.write(json.dumps(message).encode() + b"\0")
        self._requests.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def _read(self) -> bytes:
        """A message; they are separated by zero bytes."""
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            if not byte:
                raise InputError("chromium: expected a browser that can be driven, got one that ended by itself.")
            message += byte
        return bytes(message)


@contextmanager
def open_page(browser: str, size: tuple[int, int]) -> Iterator[Page]:
    """A page of a browser that ends with the block.

    Args:
        browser: path of Chromium.
        size: of the page in pixels.
    """
    to_browser, requests = _pipe()
    answers, from_browser = _pipe()
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-first-run"]
        options += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses to run as root otherwise
        options += ["--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]

        def connect() -> None:
            # the browser reads from descriptor 3 and writes to 4
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        process = subprocess.Popen(
            [browser, *options, "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            with os.fdopen(requests, "wb") as writing, os.fdopen(answers, "rb") as reading:
                page = Page(writing, reading)
                page.attach(*size)
                yield page
        finally:
            process.terminate()
            process.wait(timeout=30)


def _pipe() -> tuple[int, int]:
    """A pipe whose ends have numbers above those that the browser wants to have."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
