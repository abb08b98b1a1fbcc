from typing import Any

import pytest
import torch
from monai.data import CacheDataset
from monai.transforms import Compose, RandFlipd, RandGaussianNoised, ScaleIntensityd

from dxa_monai.loading.loaders import EvaluationLoader, TrainingLoader

SCANS = 10


def _dataset(cache_rate: float = 0.5) -> CacheDataset:
    images = torch.rand(SCANS, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    rows = [{"image": image, "index": index} for index, image in enumerate(images)]
    noise = RandGaussianNoised("image", prob=0.7)
    transform = Compose([ScaleIntensityd("image"), RandFlipd("image", prob=0.5), noise])
    return CacheDataset(rows, transform, cache_rate=cache_rate, progress=False)


def _batches(loader: Any, passes: int = 2) -> list[tuple[list[int], torch.Tensor]]:
    return [(batch["index"].tolist(), batch["image"].clone()) for _ in range(passes) for batch in loader]


def _equal(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a == b and torch.equal(x, y) for (a, x), (b, y) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_are_the_same_with_any_number_of_workers(num_workers: int) -> None:
    wanted = _batches(TrainingLoader(_dataset(), batch_size=3, seed=1))
    torch.manual_seed(num_workers)  # the global generator has no say
    assert _equal(_batches(TrainingLoader(_dataset(), batch_size=3, seed=1, num_workers=num_workers)), wanted)
    assert not _equal(_batches(TrainingLoader(_dataset(), batch_size=3, seed=2)), wanted)


def test_a_scan_looks_different_in_each_pass_and_the_cache_does_not_matter() -> None:
    by_index = []
    for indices, images in _batches(TrainingLoader(_dataset(), batch_size=5, seed=0)):
        by_index += list(zip(indices, images, strict=True))
    first, second = dict(by_index[:SCANS]), dict(by_index[SCANS:])
    assert any(not torch.equal(first[index], second[index]) for index in range(SCANS))
    uncached = _batches(TrainingLoader(_dataset(0.0), batch_size=5, seed=0))
    assert _equal(uncached, _batches(TrainingLoader(_dataset(1.0), batch_size=5, seed=0)))


def test_training_goes_on_in_the_middle_of_a_pass() -> None:
    wanted = _batches(TrainingLoader(_dataset(), batch_size=3, seed=1))
    resumed = TrainingLoader(_dataset(), batch_size=3, seed=1, num_workers=1)
    resumed.start_at(2)
    assert _equal(_batches(resumed), wanted[2:])


def test_loading_draws_nothing_from_the_generator_of_the_network() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    for workers in (0, 1):
        _batches(TrainingLoader(_dataset(), batch_size=3, seed=1, num_workers=workers), passes=1)
        _batches(EvaluationLoader(_dataset(), batch_size=3, num_workers=workers), passes=1)
    assert torch.equal(torch.rand(3), wanted)


def test_evaluation_reads_all_scans_in_their_order() -> None:
    batches = _batches(EvaluationLoader(_dataset(), batch_size=4), passes=1)
    assert [index for indices, _ in batches for index in indices] == list(range(SCANS))
