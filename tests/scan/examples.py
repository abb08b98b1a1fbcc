"""Small made-up scans for the tests of dxa_monai.scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dxa_monai.scan.format import HIGH_CHANNELS, LOW_CHANNELS, SCAN_SHAPE


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
