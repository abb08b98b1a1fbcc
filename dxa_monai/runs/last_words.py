"""What a command said last, of the log that it wrote."""

from __future__ import annotations

from pathlib import Path

_BYTES = 20_000
"""Of the end of a log that are looked at."""
_ERROR = "error: "


def last_words(log: Path, start: int = 0) -> str:
    """The last sentence of a log that says an error, or else its last line; empty if it says nothing.

    Args:
        log: file of what a command printed; progress bars, which return to the beginning of their line, included.
        start: byte behind which it is looked at: what stands before was said by an earlier command.
    """
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - _BYTES))
        text = file.read().decode("utf-8", "replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
    return (errors or lines or [""])[-1]
