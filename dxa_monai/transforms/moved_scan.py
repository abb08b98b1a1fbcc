"""Scans moved as a whole, by what their sample says."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import TransformBackends

from dxa_monai.metrics.rigid_alignment import moved_rigidly


class MoveScand(MapTransform):
    """Move scans ``(6, H, W)`` by the sample's ``(3,)`` of rows and columns in mm and degrees; zeros leave them alone.

    Args:
        keys: the scans.
        by: key of the move, see :class:`dxa_monai.metrics.rigid_alignment.Alignment`; it is taken out of the sample.
        allow_missing_keys: skip keys that a sample does not have.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, keys: KeysCollection, by: str = "moved", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.by = by

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        moved = torch.as_tensor(sample.pop(self.by), dtype=torch.float32)
        if moved.any():
            for key in self.key_iterator(sample):
                sample[key] = moved_rigidly(torch.as_tensor(sample[key])[None], moved[None])[0]
        return sample
