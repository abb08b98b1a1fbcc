"""People stand otherwise from one body scan to the next: arms and legs turned at random, as a network has to bear."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTrait
from monai.utils import TransformBackends

from dxa_monai.errors import InputError
from dxa_monai.mesh.limbs import LimbTurns, with_limbs_turned

ARM_BELOW_DEG = (0.0, 65.0)
ARM_FORWARD_DEG = (0.0, 15.0)
ELBOW_DEG = (0.0, 15.0)
LEG_DEG = (-2.0, 10.0)
"""From T to A pose: the range of both sides, a degree or two more than people are asked for."""
BETWEEN_SIDES_DEG = 3.0
"""How far a side may be from the other."""


def random_turns(rng: np.random.RandomState) -> tuple[LimbTurns, LimbTurns]:
    """How the limbs of the left and of the right side are turned, nearly alike, evenly within the ranges above."""
    ranges = np.array([ARM_BELOW_DEG, ARM_FORWARD_DEG, ELBOW_DEG, LEG_DEG])
    both = rng.uniform(ranges[:, 0], ranges[:, 1])
    differences = rng.uniform(-BETWEEN_SIDES_DEG, BETWEEN_SIDES_DEG, size=len(both)) / 2.0
    left, right = both + differences, both - differences
    return LimbTurns(*map(float, left)), LimbTurns(*map(float, right))


def in_another_posture(cloud: torch.Tensor, rng: np.random.RandomState) -> torch.Tensor:
    """A cloud ``(7, P)`` of a body in a posture drawn at random; see :func:`dxa_monai.mesh.limbs.with_limbs_turned`."""
    turned = with_limbs_turned(cloud.double().numpy(), *random_turns(rng))
    return torch.from_numpy(turned).to(cloud.dtype)


class RandStandingPostured(Randomizable, MapTransform, RandomizableTrait):
    """Clouds of points ``(7, P)`` in postures from T to A pose, drawn anew in every call.

    Args:
        keys: the clouds.
        prob: how often; otherwise the body stands as it was scanned.
        allow_missing_keys: skip keys that a sample does not have.

    Raises:
        InputError: a probability out of its range.
    """

    backend = [TransformBackends.NUMPY]  # noqa: RUF012

    def __init__(self, keys: KeysCollection, prob: float = 1.0, allow_missing_keys: bool = False) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if not 0.0 <= prob <= 1.0:
            raise InputError(f"prob: expected a number from 0 to 1, got {prob}.")
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            if self.R.uniform() < self.prob:
                sample[key] = in_another_posture(sample[key], self.R)
        return sample
