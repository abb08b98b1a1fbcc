"""How far trainings in other processes are, from what they write into their folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from dxa_monai.errors import InputError
from dxa_monai.runs.finished import FINISHED
from dxa_monai.runs.folder import METRICS, RECORD, read_record

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n:.1f}/{total_fmt} [{elapsed}<{remaining}]"


def part_done(folder: str | Path) -> float:
    """The part of a training that is done, 0 to 1: its rows of ``metrics.csv`` in the epochs of its ``run.json``.

    A training that has written neither, or something else, is at its beginning; one that stopped early is finished.
    """
    folder = Path(folder)
    if (folder / FINISHED).exists():
        return 1.0
    try:
        epochs = int(read_record(folder / RECORD)["max_epochs"])
        with open(folder / METRICS, encoding="utf-8") as file:
            rows = sum(1 for _ in file) - 1
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return 0.0
    return min(max(rows, 0) / epochs, 1.0) if epochs > 0 else 0.0


@contextmanager
def trainings_bar(folders: Sequence[str | Path], shown: bool = True, every_s: float = 2.0) -> Iterator[None]:
    """While it lasts, a bar on stderr that follows trainings epoch by epoch.

    Args:
        folders: of the trainings, finished ones among them.
        shown: whether there is a bar.
        every_s: seconds between two looks at the folders.
    """
    if not shown:
        yield
        return
    ended = threading.Event()
    with tqdm(total=len(folders), desc="trainings", bar_format=_BAR) as bar:

        def look() -> None:
            done = sum(map(part_done, folders))
            if done != bar.n:
                bar.n = done
                bar.refresh()

        def follow() -> None:
            while not ended.wait(every_s):
                look()

        bar.initial = bar.n = sum(map(part_done, folders))  # what is done already says nothing of the speed
        bar.refresh()
        follower = threading.Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            look()
