"""Moved copies of scans: where somebody lay on the table says nothing about the body, and a fit of few scans has to be
told so.

A read-out that was fitted to 50 scans takes a part of where these 50 people lay for their bodies. With each scan moved
up, down, left and right as further scans of the same person it does so less (virtual examples: Niyogi, Girosi and
Poggio 1998, doi:10.1109/5.726787).
"""

from __future__ import annotations

import torch

from dxa_monai.transforms.geometric import FieldGeometry, move_in_field

MOVES_PIXELS = ((-3, 0), (3, 0), (0, -3), (0, 3))
"""Rows and columns: whole pixels, so that a moved scan is as noisy as a taken one; 39 and 18 mm."""


def copies_of_each(scans: int, most_copies: int, most_in_all: int) -> list[int]:
    """How many moved copies each scan has, spread evenly, so that scans and copies are no more than ``most_in_all``."""
    share = max(0.0, min(most_copies, len(MOVES_PIXELS), most_in_all / max(scans, 1) - 1.0))
    return [int((number + 1) * share) - int(number * share) for number in range(scans)]


def moved_copies(image: torch.Tensor, number: int, copies: int) -> list[torch.Tensor]:
    """Moved copies of a raw scan ``(C, H, W)``; scans of consecutive ``number`` are moved in other directions first.

    What comes in from outside the field is open air (:func:`dxa_monai.transforms.geometric.move_in_field`).
    """
    rows, columns = image.shape[-2:]
    directions = [MOVES_PIXELS[(number + place) % len(MOVES_PIXELS)] for place in range(copies)]
    return [
        move_in_field(image, FieldGeometry(row_shift=down / rows, column_shift=right / columns))
        for down, right in directions
    ]
