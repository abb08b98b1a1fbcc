"""A normal draw that keeps inside limits without heaping up at them."""

from __future__ import annotations

from scipy.special import ndtr, ndtri


def truncated_normal(z: float, lowest: float, highest: float) -> float:
    """A standard normal draw ``z`` mapped to the normal distribution truncated to [``lowest``, ``highest``].

    Monotone in ``z``, and nearly ``z`` itself where both limits are far away. Cutting ``z`` off instead would put all
    who are beyond a limit on it.
    """
    low, high = ndtr(lowest), ndtr(highest)
    return float(ndtri(low + (high - low) * ndtr(z)))
