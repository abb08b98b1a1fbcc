"""Small made-up scans for the tests of dxa_monai.scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dxa_monai.scan.format import CHANNELS, HIGH_CHANNELS, LOW_CHANNELS, SCAN_SHAPE


def body_counts(shape: tuple[int, int] = SCAN_SHAPE, seed: int = 0) -> npt.NDArray[np.uint16]:
    """An ellipse that attenuates low energy 1.25 times as much as high energy, and noisy air around it.

    Every pixel and channel differs from its neighbours, so that a flip or a transposition shows.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1]), indexing="ij")
    inside = np.clip(1.0 - (rows / 0.9) ** 2 - (columns / 0.6) ** 2, 0, None)
    counts = np.zeros((*shape, 6))
    segment_counts = np.array([50.0, 600.0, 300.0])
    counts[..., HIGH_CHANNELS] = 6000.0 * np.sqrt(inside)[..., None] + segment_counts
    counts[..., LOW_CHANNELS] = 7500.0 * np.sqrt(inside)[..., None] + 1.3 * segment_counts
    counts += rng.integers(-40, 40, size=counts.shape)
    return np.clip(counts, 0, 16383).astype(np.uint16)


def air_counts(seed: int = 0) -> npt.NDArray[np.uint16]:
    """A scan without a body: noise about the open beam, in no order of energies."""
    return np.random.default_rng(seed).integers(0, 60, size=(*SCAN_SHAPE, 6)).astype(np.uint16)


SEGMENTS_EXCHANGED = (*CHANNELS[:2], *CHANNELS[4:], *CHANNELS[2:4])
"""An order with the wheel's bone and tissue exchanged: each pair of energies is as it should be, so that nothing in a
file gives it away."""


def exchanged_copies(rows: Iterable[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Manifest rows whose scans lie in ``folder`` with their channels in the order ``SEGMENTS_EXCHANGED``."""
    order = [CHANNELS.index(name) for name in SEGMENTS_EXCHANGED]
    copies = []
    for row in rows:
        path = folder / Path(row["scan"]).name
        np.save(path, np.load(row["scan"])[..., order])
        copies.append(dict(row) | {"scan": str(path)})
    return copies
