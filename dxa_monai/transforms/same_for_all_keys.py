"""The dictionary version of a random transform of one image: one draw, applied to the images of all keys."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, Self

import numpy as np
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTrait


class RandomOfOneImage(Protocol):
    """What a random transform of one image has to offer."""

    def randomize(self, data: Any, /) -> None:
        """Draw what is done next, for an image of shape ``data``."""

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Any:
        """As MONAI's."""

    def __call__(self, img: NdarrayOrTensor, randomize: bool = True) -> NdarrayOrTensor:
        """Apply it; with ``randomize=False`` what was drawn last."""


class SameForAllKeysd(Randomizable, MapTransform, RandomizableTrait):
    """Base of dictionary transforms that do to all keys what was drawn for the first of them.

    Args:
        keys: the images.
        transform: of one image.
        allow_missing_keys: skip keys that a sample does not have.
    """

    def __init__(self, keys: KeysCollection, transform: RandomOfOneImage, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.transform = transform

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> Self:
        super().set_random_state(seed, state)
        self.transform.set_random_state(state=self.R)
        return self

    def randomize(self, data: Sequence[int] | None = None) -> None:
        """Draw what is done next to all keys, for images of shape ``data``, ``(C, H, W)``."""
        self.transform.randomize(data)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        sample = dict(data)
        for index, key in enumerate(self.key_iterator(sample)):
            if index == 0:
                self.randomize(sample[key].shape)
            sample[key] = self.transform(sample[key], randomize=False)
        return sample
