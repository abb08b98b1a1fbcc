"""A scanner whose scans need no correction: the default one's beam and wheel, and nothing that mixes pixels."""

from __future__ import annotations

from typing import Any

from dxa_monai.physics.acquisition import Acquisition


def sharp_scanner(**changes: Any) -> Acquisition:
    """The default scanner without table, zero, scatter, blur, sub-pixels or drift.

    Args:
        **changes: parameters by name.
    """
    wheel = {name: getattr(Acquisition(), name) for name in ("bone_segment", "tissue_segment")}
    return Acquisition.ideal(**{**wheel, **changes})
