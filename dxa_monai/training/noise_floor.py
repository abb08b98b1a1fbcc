"""What no training can get below: the loss of the perfect answer against noisy scans, where the truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.input_files import read_object
from dxa_monai.losses.perceptual import PerceptualDistance, noise_floor
from dxa_monai.losses.weighted import WeightedLoss
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.truth import load_truth
from dxa_monai.training.data import TrainingData

NAME = "noise_floor.json"
_COHORT = "cohort.json"


class NoiseFloorFile:
    """Write ``noise_floor.json`` into a run's folder as it starts: the noise floor of each view of its loss.

    The truth of a virtual scan is sent through the cohort's own acquisition without noise: with its pedestal, its table
    and an even mat, but without what is drawn for every scan anew (drift, uneven mat, motion, gains of columns). Two
    scans of one person differ by these as well, so they belong to the floor as the photons do. Real scans have no known
    truth: nothing is written for them, nor for a loss without perceptual terms, nor by a run that is resumed.

    Args:
        folder: of the run.
        loss: of the trainer.
        data: of the training; the first training scans that have a ``truth`` are taken, and ``cohort.json`` beside the
            manifest says how they were scanned.
        scans: how many.

    Raises:
        InputError: (as the training starts) a scan, its truth or ``cohort.json`` cannot be used.
    """

    def __init__(self, folder: str | Path, loss: WeightedLoss, data: TrainingData, scans: int = 4) -> None:
        self.folder = Path(folder)
        self.loss = loss
        self.data = data
        self.scans = scans

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Write the file."""
        if engine.state.iteration == 0:
            self.write()

    def write(self) -> None:
        """Write the file, if there is a floor to write and this is the first process."""
        perceptual = [loss for loss in self.loss.losses.values() if isinstance(loss, PerceptualDistance)]
        cohort = Path(self.data.manifest).parent / _COHORT
        known = [row for row in self.data.training_rows if "truth" in row][: self.scans]
        if idist.get_rank() != 0 or not perceptual or not known or not cohort.exists():
            return
        try:
            acquisition = Acquisition.from_dict(read_object(cohort, "the record of a virtual cohort")["acquisition"])
        except InputError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{cohort}: expected how a virtual cohort was scanned, got {error!r}.") from error
        areal = [load_truth(row).areal_density_g_cm2 for row in known]
        with torch.no_grad():
            noise_free = acquisition.forward(torch.from_numpy(np.stack(areal))).clamp(0.0, 1.0)
        device = perceptual[0].layer_weights.device
        noise_free, noisy = noise_free.to(device), self.data.source.images(known).to(device)
        floor = {view: value for loss in perceptual for view, value in noise_floor(loss, noise_free, noisy).items()}
        record = {"scans": [row["scan_id"] for row in known], "loss": self.loss.as_dict(), "floor": floor}
        with atomic_path(self.folder / NAME) as temporary:
            temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
