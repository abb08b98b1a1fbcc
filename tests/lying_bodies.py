"""Two simple bodies, and scanners that read open air differently, for tests that need no people."""

from __future__ import annotations

import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE

SCANNERS = {"ideal": Acquisition.ideal(), "realistic": Acquisition()}

_FAT_DENSITY, _LEAN_DENSITY = 0.92, 1.06
_PARTS_CM = (
    # row and column of the middle, half axes along rows and columns, and of the depth
    (-75.0, 0.0, 12.0, 8.0, 9.0),  # head
    (-30.0, 0.0, 36.0, 18.0, 11.0),  # trunk
    (-25.0, -24.0, 36.0, 5.0, 5.0),  # arms, that of the left a little lower
    (-23.0, 24.5, 36.0, 5.0, 5.0),
    (45.0, -10.0, 48.0, 8.0, 7.5),  # legs
    (46.0, 10.5, 48.0, 8.0, 7.5),
)


def lying_bodies() -> torch.Tensor:
    """``(2, 3, 150, 109)`` g/cm2 of fat, lean and bone mineral: a lean body, and a fat and wider one."""
    rows = ((torch.arange(SCAN_SHAPE[0]) + 0.5 - SCAN_SHAPE[0] / 2) * PIXEL_SPACING_MM[0] / 10.0)[:, None]
    columns = (torch.arange(SCAN_SHAPE[1]) + 0.5 - SCAN_SHAPE[1] / 2) * PIXEL_SPACING_MM[1] / 10.0
    bodies = []
    for wider, fat_share in ((0.9, 0.15), (1.1, 0.4)):
        thickness = torch.zeros(SCAN_SHAPE)
        for row, column, along, across, deep in _PARTS_CM:
            inside = 1.0 - ((rows - row) / along) ** 2 - ((columns - wider * column) / (wider * across)) ** 2
            thickness = torch.maximum(thickness, 2.0 * wider * deep * inside.clamp_min(0.0).sqrt())
        spine = 1.2 * ((columns - 0.02 * rows).abs() < 2.0) * ((rows + 35.0).abs() < 30.0) * (thickness > 5.0)
        fat, lean = fat_share * thickness * _FAT_DENSITY, (1.0 - fat_share) * thickness * _LEAN_DENSITY
        bodies.append(torch.stack([fat, lean, spine]))
    return torch.stack(bodies)


def scanned(acquisition: Acquisition, seed: int = 0) -> torch.Tensor:
    """The two bodies as a scanner writes them to a file, ``(2, 6, 150, 109)`` in [0, 1]: whole counts, none below 0."""
    counts = acquisition.scan(lying_bodies(), torch.Generator().manual_seed(seed))
    return (torch.from_numpy(counts.astype("float32")) / 16383.0).movedim(-1, 1).contiguous()
