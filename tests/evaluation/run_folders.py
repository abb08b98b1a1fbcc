"""Run folders as trainings leave them, of networks that were not trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dxa_monai.networks.checkpoint import SavableNetwork, save_network
from dxa_monai.scan.manifest import Row, write_manifest
from dxa_monai.scan.splits import SPLIT_NAMES, Split, write_split

TINY: dict[str, Any] = {
    "latent_channels": 2,
    "block_config": (1, 1, 1, 1),
    "growth_rate": 2,
    "init_features": 2,
    "generator_channels": (2, 2, 2, 2, 2),
    "generator_kernel_sizes": (2,),
}
"""Arguments of a DXA-VAE of a few weights."""


def run_folder(
    folder: Path, split: Mapping[str, Sequence[Row]] | None, network: SavableNetwork | None = None, **record: Any
) -> Path:
    """Path of the checkpoint.

    Args:
        folder: gets ``best.pt``, ``split.csv`` and ``run.json``.
        split: None: there is no ``split.csv``.
        network: None: there is no file at the path.
        record: what the run tells; nothing: there is no ``run.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if split is not None:
        write_split(split, folder)
    if network is not None:
        save_network(network, folder / "best.pt")
    if record:
        (folder / "run.json").write_text(json.dumps(record))
    return folder / "best.pt"


def split_in_order(rows: Sequence[Row], train: int, validation: int) -> Split:
    """The first people for training, the next for validation, the others for the test."""
    people = list(dict.fromkeys(row["subject_id"] for row in rows))
    ends = (train, train + validation, len(people))
    starts = (0, *ends[:2])
    return {
        name: [row for row in rows if row["subject_id"] in people[start:end]]
        for name, start, end in zip(SPLIT_NAMES, starts, ends, strict=True)
    }


def manifest_in(folder: Path, rows: Sequence[Row]) -> Path:
    """A manifest of rows whose files lie elsewhere; they are copied, since a manifest leads to no other folder."""
    copied = []
    for row in rows:
        files = {name: Path(row[name]) for name in ("scan", "mesh") if name in row}
        for path in files.values():
            if not (folder / path.name).exists():
                shutil.copy(path, folder)
        copied.append(row | {name: str(folder / path.name) for name, path in files.items()})
    write_manifest(copied, folder / "manifest.csv")
    return folder / "manifest.csv"
