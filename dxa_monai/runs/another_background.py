"""Scans that read something else in open air than those that a network was trained on.

A network reads raw values: a table, or electronics with another zero, look to it like tissue everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import trained_mean_image
from dxa_monai.physics.calibration import air_level
from dxa_monai.runs.folder import RECORD, read_record
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import every_so_many

logger = logging.getLogger(__name__)

OPEN_AIR = "open_air_counts"
"""Of a run's record."""
_LOOKED_AT = 8
"""Scans, evenly spread, whose open air is compared with that of a network's training."""
_ANOTHER_BACKGROUND_NEPERS = 0.05
"""Tables of one kind of scanner and its drift stay within this; a table more or less does not."""


def tell_another_background(scans: Sequence[str], checkpoints: Sequence[str | Path], source: ScanSource) -> None:
    """Warn where scans read something else in open air than those that a network was trained on.

    Args:
        scans: files; some are looked at.
        checkpoints: of networks; what is no file or has no mean scan is left to whoever loads it.
        source: how scans are read.

    Raises:
        InputError: a checkpoint or the record of its run cannot be read.
    """
    found = {path: _trained_on(path) for path in checkpoints if Path(path).is_file()}
    known = {path: trained for path, trained in found.items() if trained is not None}
    levels = []
    for scan in scans[every_so_many(len(scans), _LOOKED_AT)] if known else []:
        try:
            levels.append(open_air_counts(source.image(scan)))
        except InputError:
            continue  # it is told when its turn comes
    if not levels:
        return
    read = torch.stack(levels).median(dim=0).values
    for path, trained in known.items():
        farthest = int((read - trained).abs().argmax())
        difference_nepers = float((read - trained)[farthest].abs()) / FULL_SCALE_COUNTS * FULL_SCALE_NEPERS
        if difference_nepers > _ANOTHER_BACKGROUND_NEPERS:
            logger.warning(
                "%s: the network was trained on scans that read about %.0f counts in open air (%s), these read %.0f: "
                "what it makes of them is wrong. Train it on scans of this scanner.",
                path,
                float(trained[farthest]),
                CHANNELS[farthest],
                float(read[farthest]),
            )


def open_air_counts(scan: torch.Tensor) -> torch.Tensor:
    """What each channel of a scan ``(6, H, W)`` in [0, 1] reads in open air, ``(6,)``, in counts."""
    return air_level(scan[None])[0, :, 0, 0] * FULL_SCALE_COUNTS


def _trained_on(checkpoint: str | Path) -> torch.Tensor | None:
    """As :func:`open_air_counts`, of the scans that a network was trained on; None where nothing tells.

    A network that started from pretrained weights has the mean scan of the pretraining; its record tells of its own.
    """
    told = read_record(checkpoint).get(OPEN_AIR)
    if told is not None:
        if len(told) != len(CHANNELS) or not all(isinstance(count, int | float) for count in told):
            path = Path(checkpoint).with_name(RECORD)
            raise InputError(
                f"{path}: expected a number for each of {len(CHANNELS)} channels as {OPEN_AIR}, got {told}."
            )
        return torch.tensor(told)
    mean_image = trained_mean_image(checkpoint)
    return None if mean_image is None else open_air_counts(mean_image)
