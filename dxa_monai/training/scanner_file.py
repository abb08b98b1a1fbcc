"""The scanner of the training scans, kept beside the network whose scans are analysed with it."""

from __future__ import annotations

from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from dxa_monai.inference.run_scanner import SCANNER_MODEL_NAME, scanner_of_rows
from dxa_monai.physics.scanner_model import write_scanner_model
from dxa_monai.training.data import TrainingData


class TrainingScannerFile:
    """Write ``scanner_model.json`` into a run's folder as it starts, unless it is there from before.

    Only the first process of a distributed run writes.

    Args:
        folder: of the run.
        data: of the training.
        scanner_model: file of a scanner that is calibrated already; None: calibrated with some of the training scans.
    """

    def __init__(self, folder: str | Path, data: TrainingData, scanner_model: str | Path | None = None) -> None:
        self.path = Path(folder) / SCANNER_MODEL_NAME
        self.data = data
        self.scanner_model = scanner_model

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        if idist.get_rank() == 0 and not (engine.state.iteration and self.path.is_file()):
            scanner = scanner_of_rows(self.data.training_rows, self.data.source, self.scanner_model)
            write_scanner_model(scanner, self.path)
