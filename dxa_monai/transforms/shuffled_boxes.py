"""Corruption of the input that a denoising network learns to undo: boxes whose pixels are shuffled in place.

It follows the published code (github.com/LambertLeong/DXA-VAE): in 4 to 6 of the six channels a box of 5 to 75 pixels a
side, different in each channel, so that a network can restore a channel from the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import RandomizableTransform
from monai.utils import TransformBackends, convert_to_tensor

from dxa_monai.transforms.same_for_all_keys import SameForAllKeysd

CHANNEL_COUNT = (4, 6)
SIDE_PIXELS = (5, 75)
"""Default ranges, both ends included: those of the published code."""


@dataclass(frozen=True)
class ShuffledBox:
    """A box of one channel and the order in which its pixels, row by row, are put back."""

    channel: int
    rows: slice
    columns: slice
    order: npt.NDArray[np.int64]


def shuffle_boxes(image: torch.Tensor, boxes: Sequence[ShuffledBox]) -> torch.Tensor:
    """A copy of ``image`` ``(C, H, W)`` with the pixels of each box in their new order."""
    shuffled = image.clone()
    for box in boxes:
        pixels = image[box.channel, box.rows, box.columns]
        order = torch.as_tensor(box.order, device=image.device)
        shuffled[box.channel, box.rows, box.columns] = pixels.flatten()[order].reshape(pixels.shape)
    return shuffled


class RandShuffledBoxes(RandomizableTransform):
    """Shuffle the pixels of one random box in each of some random channels.

    The number of channels, the height and the width of each box and its place inside the image are uniform; a side
    longer than the image is clipped to it. Intensities move, none is made up.

    Args:
        prob: probability that a scan is corrupted at all.
        channel_count: smallest and largest number of channels that get a box.
        side_pixels: smallest and largest side of a box.

    Raises:
        ValueError: a range is not an ascending pair of integers, from 0 channels and 1 pixel up; or, when called, the
            image has fewer channels than the largest ``channel_count``.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        prob: float = 1.0,
        channel_count: Sequence[int] = CHANNEL_COUNT,
        side_pixels: Sequence[int] = SIDE_PIXELS,
    ) -> None:
        super().__init__(prob)
        self.channel_count = _as_integer_range("channel_count", channel_count, smallest=0)
        self.side_pixels = _as_integer_range("side_pixels", side_pixels, smallest=1)
        self.boxes: tuple[ShuffledBox, ...] = ()

    def randomize(self, data: Sequence[int]) -> None:
        """Draw the next boxes into ``self.boxes``, for images of shape ``data``, ``(C, H, W)``."""
        channels, height, width = data
        if channels < self.channel_count[1]:
            raise ValueError(
                f"channel_count: expected at most the image's {channels} channels, got {self.channel_count}."
            )
        super().randomize(None)
        self.boxes = ()
        if not self._do_transform:
            return
        count = self.R.randint(self.channel_count[0], self.channel_count[1] + 1)
        chosen = self.R.choice(channels, size=count, replace=False)
        self.boxes = tuple(self._draw_box(int(channel), height, width) for channel in chosen)

    def _draw_box(self, channel: int, height: int, width: int) -> ShuffledBox:
        smallest, largest = self.side_pixels
        box_height = min(self.R.randint(smallest, largest + 1), height)
        box_width = min(self.R.randint(smallest, largest + 1), width)
        top = self.R.randint(height - box_height + 1)
        left = self.R.randint(width - box_width + 1)
        order = self.R.permutation(box_height * box_width)
        return ShuffledBox(channel, slice(top, top + box_height), slice(left, left + box_width), order)

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> torch.Tensor:
        """Corrupt an image ``(C, H, W)``; with ``randomize=False`` with the same boxes as the last one."""
        image = convert_to_tensor(img, track_meta=get_track_meta())
        if randomize:
            self.randomize(image.shape)
        return shuffle_boxes(image, self.boxes) if self.boxes else image


class RandShuffledBoxesd(SameForAllKeysd):
    """Dictionary version of :class:`RandShuffledBoxes`: all keys get the same boxes. Name the input alone.

    Args:
        keys: the images to corrupt.
        allow_missing_keys: skip keys that a sample does not have.

    The other arguments are those of :class:`RandShuffledBoxes`.
    """

    backend = RandShuffledBoxes.backend

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 1.0,
        channel_count: Sequence[int] = CHANNEL_COUNT,
        side_pixels: Sequence[int] = SIDE_PIXELS,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RandShuffledBoxes(prob, channel_count, side_pixels), allow_missing_keys)


def _as_integer_range(name: str, value: Sequence[int], smallest: int) -> tuple[int, int]:
    low, high = value
    if int(low) != low or int(high) != high or not smallest <= low <= high:
        raise ValueError(f"{name}: expected an ascending pair of integers from {smallest} up, got {tuple(value)}.")
    return int(low), int(high)
