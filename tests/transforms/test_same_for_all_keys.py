from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, RandomizableTransform

from dxa_monai.transforms.same_for_all_keys import SameForAllKeysd


class _RandAdd(RandomizableTransform):
    """Adds one random number, and notes the shapes it was drawn for."""

    def __init__(self) -> None:
        super().__init__(1.0)
        self.shapes: list[tuple[int, ...]] = []
        self.addend = 0.0

    def randomize(self, data: Sequence[int] | None = None) -> None:
        assert data is not None
        super().randomize(None)
        self.shapes.append(tuple(data))
        self.addend = float(self.R.uniform())

    def __call__(self, img: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        if randomize:
            self.randomize(img.shape)
        return img + self.addend


def test_one_draw_for_the_first_image_serves_all_keys() -> None:
    both = SameForAllKeysd(["image", "label"], _RandAdd()).set_random_state(3)
    sample = {"image": torch.zeros(1, 4, 3), "label": torch.ones(1, 4, 3), "other": torch.zeros(1)}
    added = both(sample)
    torch.testing.assert_close(added["label"] - added["image"], torch.ones(1, 4, 3))
    assert both.transform.shapes == [(1, 4, 3)]
    assert torch.equal(added["other"], sample["other"])
    assert torch.equal(sample["image"], torch.zeros(1, 4, 3)), "the sample was changed"
    again = SameForAllKeysd(["image", "label"], _RandAdd()).set_random_state(3)(sample)
    assert torch.equal(again["image"], added["image"])


def test_missing_keys_are_skipped_when_allowed() -> None:
    image = torch.zeros(1, 2, 2)
    transform = SameForAllKeysd(["absent", "image"], _RandAdd(), allow_missing_keys=True).set_random_state(0)
    assert not torch.equal(transform({"image": image})["image"], image)
    assert transform({}) == {}


def test_it_counts_as_random_where_results_are_cached() -> None:
    pipeline = Compose([SameForAllKeysd("image", _RandAdd())]).set_random_state(0)
    data = CacheDataset([{"image": torch.zeros(1, 2, 2)}], pipeline, progress=False)
    assert not np.array_equal(data[0]["image"], data[0]["image"])
