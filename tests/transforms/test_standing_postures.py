"""Postures drawn at random for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.mesh.limbs import LimbTurns
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.transforms import standing_postures
from dxa_monai.transforms.point_clouds import draw_point_clouds, load_cloud
from dxa_monai.transforms.standing_postures import RandStandingPostured, random_turns


@pytest.fixture(scope="module")
def cloud(mesh_pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    rows = draw_point_clouds(read_manifest(mesh_pairs)[:1], tmp_path_factory.mktemp("clouds"), {"unit": "m"}, 2048)
    return load_cloud(rows[0])


def test_postures_are_within_their_ranges_and_both_sides_nearly_alike() -> None:
    rng = np.random.RandomState(0)
    drawn = [random_turns(rng) for _ in range(200)]
    below = np.array([[left.arm_below, right.arm_below] for left, right in drawn])
    low, high = standing_postures.ARM_BELOW_DEG
    assert np.abs(np.diff(below)).max() <= standing_postures.BETWEEN_SIDES_DEG
    assert low < below.mean(axis=1).min() < low + 5.0
    assert high - 5.0 < below.mean(axis=1).max() < high
    assert isinstance(drawn[0][0], LimbTurns)


def test_a_body_stands_otherwise_each_time_and_the_same_state_gives_the_same(cloud: torch.Tensor) -> None:
    transform = RandStandingPostured("image").set_random_state(seed=3)
    first, second = (transform({"image": cloud})["image"] for _ in range(2))
    again = RandStandingPostured("image").set_random_state(seed=3)({"image": cloud})["image"]
    assert first.shape == cloud.shape
    assert first.dtype == cloud.dtype
    assert torch.equal(first, again)
    assert (first - second)[:3].abs().max() > 0.02
    volumes = [float((each[:3] * each[3:6] * each[6]).sum()) for each in (cloud, first, second)]
    np.testing.assert_allclose(volumes, volumes[0], rtol=2e-3)


def test_how_often_is_said_and_checked(cloud: torch.Tensor) -> None:
    never = RandStandingPostured("image", prob=0.0).set_random_state(seed=0)
    assert torch.equal(never({"image": cloud})["image"], cloud)
    half = RandStandingPostured("image", prob=0.5).set_random_state(seed=0)
    moved = [not torch.equal(half({"image": cloud})["image"], cloud) for _ in range(12)]
    assert 0 < sum(moved) < 12
    with pytest.raises(InputError, match="prob: expected a number from 0 to 1, got 2"):
        RandStandingPostured("image", prob=2.0)
