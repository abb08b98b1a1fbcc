"""A few of many rows, spread evenly over them: what is looked at where all would take too long."""

from __future__ import annotations

import numpy as np


def from_first_to_last(count: int, most: int) -> list[int]:
    """Places of ``most`` of ``count`` rows, or all of fewer, at equal steps, with the first and the last."""
    places = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(place) for place in places]


def every_so_many(count: int, most: int) -> slice:
    """Every second, third or further of ``count`` rows, so that they are ``most`` or fewer; the first among them."""
    return slice(None, None, -(-count // most) or 1)
