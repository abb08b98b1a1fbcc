"""The rectangle of a batch of images in which something lies, so that nothing is worked out where nothing is."""

from __future__ import annotations

import torch
import torch.nn.functional as F


class Rectangle:
    """The smallest rectangle that holds a mask of every image of a batch, and a margin where the images have one.

    It begins at even pixels, so that what is sampled coarsely is sampled at the same places.

    Args:
        mask: ``(B, 1, H, W)`` bool; where it is empty, the rectangle is the whole image.
        margin: rows and columns around it.
    """

    def __init__(self, mask: torch.Tensor, margin: tuple[int, int] = (0, 0)) -> None:
        slices, outside = [], []
        for axis, wide in zip((2, 3), margin, strict=True):
            length = mask.shape[axis]
            occupied = mask.any(dim=5 - axis).any(dim=0)[0].nonzero()[:, 0].tolist() or [0, length - 1]
            first, stop = max(occupied[0] - wide, 0) // 2 * 2, min(occupied[-1] + 1 + wide, length)
            slices.append(slice(first, stop))
            outside.append((first, length - stop))
        self._slices = slices
        self._outside = (*outside[1], *outside[0])

    def cut(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, h, w)`` the rectangle of ``(B, C, H, W)``."""
        return image[:, :, self._slices[0], self._slices[1]].contiguous()

    def padded(self, image: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` with zero around the rectangle ``(B, C, h, w)``, False in masks."""
        return F.pad(image, self._outside)
