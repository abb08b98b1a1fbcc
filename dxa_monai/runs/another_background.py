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
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import every_so_many

logger = logging.getLogger(__name__)

_LOOKED_AT = 8
"""Scans, evenly spread, whose open air is compared with that of a network's training."""
_ANOTHER_BACKGROUND_NEPERS = 0.05
"""Tables of one kind of scanner and its drift stay within this; a table more or less does not."""


def tell_another_background(scans: Sequence[str], checkpoints: Sequence[str | Path], source: ScanSource) -> None:
    """Warn where scans read something else in open air than the mean scan that a network was trained about.

    Args:
        scans: files; some are looked at.
        checkpoints: of networks; what has no mean scan is nobody's business here.
        source: how scans are read.

    Raises:
        InputError: a checkpoint cannot be read.
    """
    mean_images = {path: trained_mean_image(path) for path in checkpoints}
    known = {path: image for path, image in mean_images.items() if image is not None}
    levels = []
    for scan in scans[every_so_many(len(scans), _LOOKED_AT)] if known else []:
        try:
            levels.append(air_level(source.image(scan)[None])[0, :, 0, 0])
        except InputError:
            continue  # it is told when its turn comes
    if not levels:
        return
    read = torch.stack(levels).median(dim=0).values
    for path, mean_image in known.items():
        trained = air_level(mean_image[None])[0, :, 0, 0]
        farthest = int((read - trained).abs().argmax())
        if float((read - trained)[farthest].abs()) * FULL_SCALE_NEPERS > _ANOTHER_BACKGROUND_NEPERS:
            logger.warning(
                "%s: the network was trained on scans that read about %.0f counts in open air (%s), these read %.0f: "
                "what it makes of them is wrong. Train it on scans of this scanner.",
                path,
                float(trained[farthest]) * FULL_SCALE_COUNTS,
                CHANNELS[farthest],
                float(read[farthest]) * FULL_SCALE_COUNTS,
            )
