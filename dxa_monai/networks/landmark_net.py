"""Maps of a scan in, for each landmark where it lies and whether it is there out: a small U-Net.

Each landmark has a map of logits over the cells of the field (:mod:`dxa_monai.networks.landmark_grid`) and one more
place, "not in the field", whose logit is 0; their softmax is where the network believes the landmark to be. The point
is the mean of that belief about its peak, so that it is finer than a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from monai.networks.nets import BasicUNet

from dxa_monai.analysis.landmarks import LANDMARK_NAMES
from dxa_monai.errors import InputError
from dxa_monai.networks.landmark_grid import CELL_MM, CHANNEL_NAMES, MULTIPLE
from dxa_monai.networks.rebuildable import Rebuildable

PEAK_RADIUS = 3
"""Cells about the peak whose mean is the point."""
_LEVELS = 6


class Located(NamedTuple):
    """What the network believes.

    Attributes:
        cells: ``(..., L, 2)`` (row, column) of each landmark in cells, centres at integers.
        presence: ``(..., L)`` probability that it lies in the field, about its peak.
    """

    cells: torch.Tensor
    presence: torch.Tensor


class LandmarkNetwork(Rebuildable):
    """MONAI's ``BasicUNet`` with a map for each landmark.

    In evaluation mode the scan and its mirror image are both looked at and the logits averaged, so that a mirrored scan
    has mirrored landmarks, but for rounding.

    Args:
        landmarks: names; ``right_`` and ``left_`` of one name are each other's mirror image.
        features: channels of the six levels of the U-Net.
        cell_mm: height and width of the cells that it has learnt.

    Raises:
        InputError: not six positive numbers of channels, no landmark, or one whose other side is missing.
    """

    mirror: torch.Tensor

    def __init__(
        self,
        landmarks: Sequence[str] = LANDMARK_NAMES,
        features: Sequence[int] = (12, 16, 24, 32, 48, 16),
        cell_mm: Sequence[float] = CELL_MM,
    ) -> None:
        super().__init__()
        if len(features) != _LEVELS or min(features) < 1:
            raise InputError(f"features: expected {_LEVELS} numbers of channels from 1, got {tuple(features)}.")
        self.landmarks = tuple(str(name) for name in landmarks)
        unpaired = [name for name in self.landmarks if other_side(name) not in self.landmarks]
        if unpaired or not self.landmarks:
            got = f"{unpaired[0]} alone" if unpaired else "none"
            raise InputError(f"landmarks: expected names of both sides, got {got}.")
        self.cell_mm = (float(cell_mm[0]), float(cell_mm[1]))
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=len(CHANNEL_NAMES),
            out_channels=len(self.landmarks),
            features=[int(count) for count in features],
            act=("LeakyReLU", {"negative_slope": 0.1, "inplace": True}),
            norm=("batch", {"affine": True}),
            upsample="nontrainable",
        )
        places = [self.landmarks.index(other_side(name)) for name in self.landmarks]
        self.register_buffer("mirror", torch.tensor(places), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, L, R, C)`` of cells ``(B, 3, R, C)``, rows and columns multiples of 16."""
        if x.shape[-2] % MULTIPLE or x.shape[-1] % MULTIPLE:
            raise ValueError(f"x: expected rows and columns in multiples of {MULTIPLE}, got {tuple(x.shape)}.")
        logits: torch.Tensor = self.unet(x)
        if not self.training:
            mirrored = self.unet(x.flip(-1))[:, self.mirror].flip(-1)
            logits = (logits + mirrored) / 2.0
        return logits


def other_side(name: str) -> str:
    """Name of a landmark in the mirror image."""
    for side, other in (("right_", "left_"), ("left_", "right_")):
        if name.startswith(side):
            return other + name.removeprefix(side)
    return name


def log_beliefs(logits: torch.Tensor) -> torch.Tensor:
    """``(..., R * C + 1)`` log of the probability of each cell, and, last, of not being in the field."""
    flat = logits.flatten(-2).float()
    return torch.cat([flat, torch.zeros_like(flat[..., :1])], dim=-1).log_softmax(dim=-1)


def locate(logits: torch.Tensor) -> Located:
    """Points and presence from logits ``(..., R, C)``."""
    rows, columns = logits.shape[-2:]
    beliefs = log_beliefs(logits)[..., :-1].exp()
    peak = beliefs.argmax(dim=-1, keepdim=True)
    row = torch.arange(rows, device=logits.device).repeat_interleave(columns)
    column = torch.arange(columns, device=logits.device).repeat(rows)
    near = ((row - peak // columns).abs() <= PEAK_RADIUS) & ((column - peak % columns).abs() <= PEAK_RADIUS)
    beliefs = beliefs * near
    presence = beliefs.sum(dim=-1)
    weights = beliefs / presence.clamp_min(torch.finfo(torch.float32).tiny)[..., None]
    cells = torch.stack([(weights * row).sum(dim=-1), (weights * column).sum(dim=-1)], dim=-1)
    return Located(cells, presence)


def target_beliefs(cells: torch.Tensor, shape: tuple[int, int], deviation_cells: float) -> torch.Tensor:
    """``(..., R * C + 1)``: a bell about each point ``(..., 2)`` in cells; points that are NaN are not in the field."""
    absent = ~torch.isfinite(cells).all(dim=-1)
    middle = torch.nan_to_num(cells)
    bells = []
    for axis, count in enumerate(shape):
        places = torch.arange(count, device=cells.device, dtype=torch.float32)
        bells.append(F.softmax(-((places - middle[..., axis, None]) ** 2) / (2.0 * deviation_cells**2), dim=-1))
    bell = (bells[0][..., :, None] * bells[1][..., None, :]).flatten(-2)
    there = (~absent).to(bell)[..., None]
    return torch.cat([bell * there, 1.0 - there], dim=-1)
