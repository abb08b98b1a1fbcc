"""A step phantom: a plate of known patches that a lab lays on the table to calibrate its scanner.

Rows of patches rise in total mass, columns differ in what they are made of: polyethylene (about as fat as fat),
acrylic (between fat and lean), acrylic with a little aluminium (lean and beyond) and with slabs of aluminium (bone).
Whole-body step phantoms of the scanners' makers are built of acrylic and aluminium in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.scan.format import SCAN_SHAPE, channels_first

if TYPE_CHECKING:
    from dxa_monai.physics.acquisition import Acquisition

FloatArray = npt.NDArray[np.float64]

PHANTOM_MATERIALS = ("polyethylene", "acrylic", "aluminium")
TOTAL_G_CM2 = (0.5, 2.0, 4.0, 7.0, 10.0, 13.0, 16.0, 20.0, 24.0, 28.0, 32.0, 37.0)
"""Mass of the plastics of each row of patches."""
COMPOSITIONS = (
    # share of polyethylene, share of acrylic, share of aluminium, aluminium slab in g/cm2
    (1.00, 0.00, 0.000, 0.0),
    (0.50, 0.50, 0.000, 0.0),
    (0.00, 1.00, 0.000, 0.0),
    (0.00, 0.98, 0.020, 0.0),
    (0.00, 0.96, 0.040, 0.0),
    (0.00, 1.00, 0.000, 1.0),
    (0.00, 1.00, 0.000, 2.5),
    (0.00, 1.00, 0.000, 5.0),
)
"""Make-up of each column of patches."""
_MARGIN = 2  # pixels at each edge of a patch that are not used
_FRAME = 4  # columns of open air on both sides, rows of it at both ends


@dataclass(frozen=True)
class StepPhantom:
    """The phantom's layout on the scan's grid.

    Attributes:
        shape: rows and columns of the scan.
    """

    shape: tuple[int, int] = SCAN_SHAPE

    @property
    def patches_g_cm2(self) -> FloatArray:
        """``(P, 3)`` areal densities of ``PHANTOM_MATERIALS`` in each patch, row by row."""
        rows = [
            (poly * total, acrylic * total, aluminium * total + slab)
            for total in TOTAL_G_CM2
            for poly, acrylic, aluminium, slab in COMPOSITIONS
        ]
        return np.array(rows)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """``(H, W)``: number of the patch that covers a pixel, -1 for open air."""
        return self._grid(0)

    @cached_property
    def inner_labels(self) -> npt.NDArray[np.int64]:
        """As ``labels`` with the patches' edges left out (-1): what a calibration reads."""
        return self._grid(_MARGIN)

    def areal_density(self) -> torch.Tensor:
        """``(1, 3, H, W)`` float32 areal densities of ``PHANTOM_MATERIALS`` in g/cm2."""
        table = np.vstack([self.patches_g_cm2, np.zeros(3)])
        return torch.from_numpy(table[self.labels].astype(np.float32)).movedim(-1, 0)[None]

    def scan(self, acquisition: Acquisition, generator: torch.Generator) -> torch.Tensor:
        """Simulated raw scan ``(6, H, W)`` of the phantom in [0, 1], noise and 14 bits included."""
        counts = acquisition.scan(self.areal_density(), generator, PHANTOM_MATERIALS)[0]
        return torch.from_numpy(channels_first(counts))

    def patch_statistics(self, nepers: torch.Tensor) -> tuple[FloatArray, FloatArray]:
        """Log attenuation of each patch, and in the last row of the open air around them.

        The mean logarithm of a noisy signal lies above the logarithm of its mean by half of the relative variance; that
        is taken off.

        Args:
            nepers: ``(6, H, W)`` log attenuation.

        Returns:
            ``(P + 1, 6)`` log attenuation and ``(P + 1, 6)`` standard errors, nepers.
        """
        values = nepers.reshape(len(nepers), -1).double().numpy()
        inner = self.inner_labels.ravel()
        groups = [inner == patch for patch in range(len(self.patches_g_cm2))]
        groups.append(self.labels.ravel() < 0)
        means = np.stack([values[:, group].mean(axis=1) for group in groups])
        deviations = np.stack([values[:, group].std(axis=1, ddof=1) for group in groups])
        counts = np.array([[group.sum()] for group in groups])
        return means - deviations**2 / 2.0, deviations / np.sqrt(counts)

    def _grid(self, margin: int) -> npt.NDArray[np.int64]:
        rows = _bands(self.shape[0], len(TOTAL_G_CM2), margin)
        columns = _bands(self.shape[1], len(COMPOSITIONS), margin)
        both = (rows[:, None] >= 0) & (columns[None, :] >= 0)
        return np.where(both, rows[:, None] * len(COMPOSITIONS) + columns[None, :], -1)


def _bands(length: int, count: int, margin: int) -> npt.NDArray[np.int64]:
    """Which of ``count`` equal bands an index lies in; -1 outside the frame and within ``margin`` of a band's edge."""
    size = (length - 2 * _FRAME) // count
    offset = np.arange(length) - _FRAME
    band, inside = offset // size, offset % size
    valid = (offset >= 0) & (band < count) & (inside >= margin) & (inside < size - margin)
    return np.where(valid, band, -1)
