"""Metrics of a training run as a CSV file, one row an epoch: readable without any server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ignite.distributed as idist
import pandas as pd

from dxa_monai.files import atomic_path, output_folder


class CsvLog:
    """A CSV file with a row for each epoch and a column for each metric; rewritten whole, so it is never half a file.

    A metric that an epoch does not have is an empty cell. A run that is resumed at some epoch keeps the file's rows
    before it; a run that starts at epoch 1 starts the file anew. Only the first process of a distributed run writes.

    Args:
        path: of the file; its folder is made if need be.

    Raises:
        InputError: the folder cannot be written to (at the first row).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._rows: dict[int, dict[str, float]] | None = None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Add metrics to the row of epoch ``step`` and write the file."""
        if idist.get_rank() != 0:
            return
        if self._rows is None:
            output_folder(self.path.parent)
            self._rows = self._earlier_rows(step)
        self._rows.setdefault(step, {}).update(metrics)
        table = pd.DataFrame.from_dict(self._rows, orient="index").rename_axis("epoch").sort_index()
        with atomic_path(self.path) as temporary:
            table.to_csv(temporary, float_format="%.8g", na_rep="")

    def _earlier_rows(self, step: int) -> dict[int, dict[str, float]]:
        if step <= 1 or not self.path.is_file():
            return {}
        table = pd.read_csv(self.path, index_col="epoch")
        rows = table[table.index < step].to_dict(orient="index")
        return {int(epoch): {str(name): float(value) for name, value in row.items()} for epoch, row in rows.items()}
