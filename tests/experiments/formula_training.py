"""A training that a search can try in no time: its validation values are a formula of its settings."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError, TrainingError
from dxa_monai.handlers.validation_listener import Listener
from dxa_monai.runs.folder import finish_run
from dxa_monai.scan.manifest import read_manifest

EPOCHS = 4
CONFIG: dict[str, Any] = {
    "imports": ["$from tests.experiments.formula_training import train"],
    "manifest": "",
    "output_dir": "",
    "listener": None,
    "rate": 0.01,
    "shape": "round",
    "fault": "",
    "run": ["$train(@output_dir, @manifest, @rate, @shape, @fault, @listener)"],
}


def final_value(rate: float, shape: str) -> float:
    """What the training reaches, largest (1) at a rate of 0.01 and the round shape."""
    return 1.0 - abs(math.log10(rate) + 2.0) - 0.2 * (shape != "round")


def write_config(folder: Path) -> list[str]:
    """The training's config file."""
    (folder / "train.json").write_text(json.dumps(CONFIG))
    return [str(folder / "train.json")]


def train(output_dir: str, manifest: str, rate: float, shape: str, fault: str, listener: Listener) -> None:
    """Rise to :func:`final_value` in ``EPOCHS`` epochs.

    ``fault`` goes wrong: for rates above 0.02 (``nan_above``), in trial 2 (``interrupted``, ``killed``) or always.
    """
    read_manifest(manifest)
    if fault == "refused":
        raise InputError("file: expected one that is there, got none.")
    if fault == "nan" or (fault == "nan_above" and rate > 0.02):
        raise TrainingError("epoch 1, iteration 1: expected a finite loss, got nan from scans P01-1.")
    if fault == "silent":
        listener(1, math.nan)
    for epoch in range(1, EPOCHS + 1) if fault != "silent" else ():
        if epoch == 2 and int(Path(output_dir).name) == 2:
            if fault == "interrupted":
                raise KeyboardInterrupt
            if fault == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        if listener(epoch, final_value(rate, shape) - 0.01 * (EPOCHS - epoch)):
            break
    finish_run(output_dir, epochs=epoch if fault != "silent" else 0)
