"""Measures of every scan as one CSV table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys
from tqdm import tqdm

from dxa_monai.files import output_folder
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import let_go
from dxa_monai.runs.screened_scans import InferenceScans
from dxa_monai.scan.collect import check_scan_ids
from dxa_monai.scan.csv_table import write_table

TABLE_NAME = "anthropometry.csv"
_ABOUT = {"subject_id": "subject_id", "scan_id": "scan_id", "scan": "relative"}
"""Columns of what is known of a scan, by what a batch calls it."""
_SIGNIFICANT_DIGITS = 6


class MeasuresWriter:
    """Write ``anthropometry.csv``: one row a scan, ``scan_id, scan`` and a column for each measure, in its unit.

    Scans of a manifest have their ``subject_id`` before these.

    The batch holds ``scan_id`` and ``relative``, as :func:`dxa_monai.scan.collect.collect_scans` gives them; the
    network's output is ``(B, M)``. The table is written when all scans are done, whole or not at all.

    Args:
        output_dir: gets the table.
        measures: names of the columns, in the order of the network's output.
        scans: all that will be read: two of one name are refused, and the table is claimed before it is written
            (:mod:`dxa_monai.runs.outputs`); None: neither.

    Raises:
        InputError: the folder cannot be written to; (as the evaluator starts) two scans have one name, or a table is
            there that no such command made.
    """

    def __init__(self, output_dir: str | Path, measures: Sequence[str], scans: InferenceScans | None = None) -> None:
        self.path = output_folder(output_dir) / TABLE_NAME
        self.scans = scans
        self.measures = tuple(measures)
        self._rows: list[dict[str, Any]] = []
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.add)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Claim the table and show a progress bar."""
        if self.scans is not None:
            check_scan_ids([{"scan_id": entry["scan_id"], "scan": entry["image"]} for entry in self.scans.data])
            claim_outputs(self.path.parent, [self.path.name])
        self._rows = []
        self._bar = tqdm(total=engine.state.epoch_length, desc="measuring", unit="batch")

    def add(self, engine: Engine) -> None:
        """Keep the measures of a batch."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        for index, values in enumerate(output[CommonKeys.PRED].detach().double().cpu().tolist()):
            shown = {
                name: f"{value:.{_SIGNIFICANT_DIGITS}g}" for name, value in zip(self.measures, values, strict=True)
            }
            about = {name: batch[key][index] for name, key in _ABOUT.items() if key in batch}
            self._rows.append(about | shown)
        if self._bar is not None:
            self._bar.update()

    def finish(self, engine: Engine) -> None:
        """Write the table and say where it lies."""
        if self._bar is not None:
            self._bar.close()
        about = [name for name in _ABOUT if name != "subject_id" or any(name in row for row in self._rows)]
        write_table(self.path, (*about, *self.measures), self._rows)
        let_go(self.path.parent)
        print(f"Measures of {len(self._rows)} scans: {self.path}")
