"""The rectangle in which something lies."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.analysis.rectangle import Rectangle


@pytest.mark.parametrize("margin", [(0, 0), (1, 2), (50, 50)])
def test_cut_and_padded_again_what_the_mask_holds_is_there(margin: tuple[int, int]) -> None:
    mask = torch.zeros(2, 1, 20, 17, dtype=torch.bool)
    mask[0, 0, 5:9, 3:6] = mask[1, 0, 7:14, 4:11] = True
    part = Rectangle(mask, margin)
    image = torch.randn(2, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    again = part.padded(part.cut(image))
    assert again.shape == image.shape
    assert torch.equal(again[mask.expand_as(image)], image[mask.expand_as(image)])
    assert torch.equal(part.padded(part.cut(mask)), mask)
    rows, columns = part.cut(mask).shape[2:]
    assert rows <= 10 + 2 * margin[0]  # rows 5 to 13 and one more, so that it begins at an even one
    assert columns <= 9 + 2 * margin[1]


def test_of_nothing_it_is_the_whole_image() -> None:
    image = torch.rand(1, 2, 6, 7)
    part = Rectangle(torch.zeros(1, 1, 6, 7, dtype=torch.bool), (1, 1))
    assert torch.equal(part.cut(image), image)
