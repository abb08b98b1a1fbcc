"""Trainings in processes of their own, which a test may kill."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PRELOADED = (
    "monai.bundle",
    "mlflow",
    "tests.bundles.processes",
    "dxa_monai.experiments.search",
    "dxa_monai.handlers.training_state",
    "dxa_monai.inference.body_composition",
    "dxa_monai.losses.weighted",
    "dxa_monai.phantom.cohort",
    "dxa_monai.training.run",
)


def training_process(
    config_files: Sequence[str],
    settings: dict[str, Any],
    log: Path,
    largest_file_bytes: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """A process, not started yet, that trains as ``python -m monai.bundle run`` does; what it prints goes to ``log``.

    It is forked from a server that has imported everything, which spares each start some seconds. Larger files than
    ``largest_file_bytes`` fail as on a full disk. ``environment`` is added to that of this process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context.Process(
        target=_train, args=(list(config_files), settings, str(log), largest_file_bytes, dict(environment or {}))
    )


def run_and_kill(process: Any, now: Callable[[], bool], after_s: float, number: signal.Signals) -> bool:
    """Start a process and send it a signal a moment after ``now()`` holds; whether it was still running then."""
    process.start()
    while not now() and process.is_alive():
        time.sleep(0.002)
    process.join(after_s)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, number)
    process.join(120)
    assert not process.is_alive()
    return alive


def _train(
    config_files: list[str],
    settings: dict[str, Any],
    log: str,
    largest_file_bytes: int | None,
    environment: dict[str, str],
) -> None:
    os.environ.update(environment)
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    # a shell's child has these; a child of pytest in the background may not
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    import torch
    from monai.bundle import run

    torch.set_num_threads(1)
    if largest_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
    try:
        run(config_file=config_files, **settings)
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None
