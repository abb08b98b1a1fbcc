"""Scans of virtual people with their true landmarks, for a network that finds landmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.errors import InputError
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.truth import Truth, load_truth
from dxa_monai.training.data import TrainingData


class LandmarkData(TrainingData):
    """Scans of a cohort; data lists have ``landmarks``, ``(L, 2)`` (row, column) in pixels.

    Args:
        scanner_model: file of the calibrated scanner; None: calibrated with some of the training scans.
        arguments: see :class:`TrainingData`.
    """

    def __init__(self, *, scanner_model: str | Path | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._scanner_model = scanner_model

    @cached_property
    def scanner(self) -> ScannerModel:
        """With which the training scans are decomposed."""
        return scanner_of_rows(self.training_rows, self.source, self._scanner_model)

    @cached_property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Of all scans.

        Raises:
            InputError: they differ.
        """
        found = {truth_with_landmarks(row).pixel_spacing_mm for part in self.split.values() for row in part}
        if len(found) != 1:
            raise InputError(f"{self.manifest}: expected scans of one pixel spacing, got {sorted(found)}.")
        return found.pop()

    def check(self) -> None:
        super().check()
        for rows in self.whole_split.values():
            if rows:
                truth_with_landmarks(rows[0])

    def _items(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            item | {"landmarks": np.array(truth_with_landmarks(row).landmarks)}
            for item, row in zip(super()._items(rows), rows, strict=True)
        ]


def truth_with_landmarks(row: Mapping[str, Any]) -> Truth:
    """The truth of a manifest row, landmarks included.

    Raises:
        InputError: see :func:`dxa_monai.scan.truth.load_truth`; or it has no landmarks, or others.
    """
    truth = load_truth(row)
    if truth.landmarks is None or len(truth.landmarks) != len(LANDMARK_NAMES):
        got = "none" if truth.landmarks is None else str(len(truth.landmarks))
        raise InputError(
            f"{row['truth']}: expected the {len(LANDMARK_NAMES)} landmarks that cohorts have since 0.9.0, got {got}; "
            "make the cohort again in another folder."
        )
    return truth
