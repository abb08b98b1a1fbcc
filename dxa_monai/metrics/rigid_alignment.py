"""How much of an image's error is its position: metrics after the best shift and turn of the whole image."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from dxa_monai.scan.format import PIXEL_SPACING_MM

FIRST_STEP = (26.0, 12.12, 1.0)
LAST_STEP = (1.625, 0.7575, 0.0625)
"""Steps of the search in mm along rows, mm along columns and degrees: from two pixels and a degree to a sixteenth."""
MOST_ROUNDS = 60


class Alignment(NamedTuple):
    """Images moved onto others, and by how much."""

    images: torch.Tensor
    """``(B, C, H, W)``."""
    moved: torch.Tensor
    """``(B, 3)``: mm towards the feet, mm towards the patient's left, degrees clockwise about the image's centre."""


def align_rigidly(
    prediction: torch.Tensor,
    target: torch.Tensor,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> Alignment:
    """Move each predicted image as a whole to where it differs least from its target.

    A person lies somewhere on the table, a little turned; a mesh in a T-pose does not know where. The squared error of
    the mean over channels (which all show one body) is followed downhill: of the six neighbours, one step along each of
    rows, columns and angle either way, the best is taken until none is better; then the steps are halved (pattern
    search [1]_). Images are interpolated bilinearly and go on beyond their edges as they end there. An image that its
    move does not bring nearer over all channels (interpolation blurs) is left where it was.

    Args:
        prediction: ``(B, C, H, W)``.
        target: ``(B, C, H, W)``.
        pixel_spacing_mm: distance between rows and between columns; pixels are not square.

    References:
        .. [1] Hooke R, Jeeves TA. "Direct search" solution of numerical and statistical problems. J ACM 8:212 (1961),
           doi:10.1145/321062.321069.
    """
    count = len(prediction)
    first, wanted = prediction.float().mean(dim=1, keepdim=True), target.float().mean(dim=1, keepdim=True)
    step = prediction.new_tensor(FIRST_STEP, dtype=torch.float32).expand(count, 3).clone()
    last = step.new_tensor(LAST_STEP)
    moved = torch.zeros_like(step)
    error = _squared_error(first, wanted)
    directions = torch.cat([torch.eye(3), -torch.eye(3)]).to(step)
    for _ in range(MOST_ROUNDS):
        active = (step >= last).all(dim=1)
        if not active.any():
            break
        neighbours = moved[active, None] + directions * step[active, None]
        errors = torch.stack(
            [
                _squared_error(moved_rigidly(first[active], each, pixel_spacing_mm), wanted[active])
                for each in neighbours.unbind(1)
            ],
            dim=1,
        )
        best, index = errors.min(dim=1)
        better = best < error[active]
        rows = torch.where(active)[0]
        moved[rows[better]] = neighbours[better, index[better]]
        error[rows[better]] = best[better]
        step[rows[~better]] /= 2
    images = moved_rigidly(prediction.float(), moved, pixel_spacing_mm)
    worse = _squared_error(images, target) >= _squared_error(prediction, target)
    moved[worse] = 0.0
    return Alignment(torch.where(worse[:, None, None, None], prediction, images.to(prediction)), moved)


def inverse_move(moved: torch.Tensor) -> torch.Tensor:
    """The moves ``(B, 3)`` that take images back where ``moved`` took them from."""
    angle = torch.deg2rad(moved[:, 2])
    y, x = -moved[:, 0], -moved[:, 1]
    back = [torch.cos(angle) * y - torch.sin(angle) * x, torch.sin(angle) * y + torch.cos(angle) * x, -moved[:, 2]]
    return torch.stack(back, dim=1)


def _squared_error(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first - second).square().flatten(1).mean(dim=1)


def moved_rigidly(
    images: torch.Tensor, moved: torch.Tensor, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> torch.Tensor:
    """Images ``(B, C, H, W)`` whose content is turned about the image's centre, then shifted.

    Args:
        images: bilinear in between, beyond their edges as they end there.
        moved: ``(B, 3)`` as in :class:`Alignment`.
        pixel_spacing_mm: distance between rows and between columns.
    """
    rows, columns = images.shape[2:]
    half = images.new_tensor([(rows - 1) * pixel_spacing_mm[0], (columns - 1) * pixel_spacing_mm[1]]) / 2
    y = torch.linspace(-1.0, 1.0, rows, device=images.device)[:, None] * half[0]
    x = torch.linspace(-1.0, 1.0, columns, device=images.device)[None] * half[1]
    # where the content at (y, x) came from: shift back, then turn back
    y_back, x_back = y - moved[:, 0, None, None], x - moved[:, 1, None, None]
    angle = torch.deg2rad(moved[:, 2, None, None])
    y_from = torch.cos(angle) * y_back - torch.sin(angle) * x_back
    x_from = torch.sin(angle) * y_back + torch.cos(angle) * x_back
    grid = torch.stack([x_from / half[1], y_from / half[0]], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)
