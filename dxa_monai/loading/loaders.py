"""Data loaders whose batches depend on the seed alone, not on workers, processes or interruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Randomizable
from torch.utils.data import Dataset as TorchDataset

from dxa_monai.loading.passes import Draw, ShuffledPasses


class RepeatableDataset(TorchDataset[Any]):
    """A MONAI dataset whose random transforms are seeded anew for each reading of each scan.

    MONAI seeds the transforms of each worker process once; what a scan looks like then depends on the number of workers
    and on all that the worker has read before, and a training that was interrupted cannot go on as it would have.

    Args:
        dataset: with a ``Compose`` as its ``transform``.
        seed: of the transforms.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        """Scan ``draw[1]`` as it is seen in pass ``draw[0]``."""
        transform: Any = self.dataset.transform
        if isinstance(transform, Randomizable):
            transform.set_random_state(seed=int(np.random.SeedSequence([self.seed, *draw]).generate_state(1)[0]))
        return self.dataset[draw[1]]


class TrainingLoader(DataLoader):
    """Shuffled batches of a training; see :class:`ShuffledPasses` and :class:`RepeatableDataset`.

    Args:
        dataset: a MONAI dataset.
        batch_size: scans in a batch, over all processes of a distributed training.
        seed: of order and transforms.
        num_workers: processes that read; the batches are the same with any number.

    Raises:
        InputError: see :class:`ShuffledPasses`.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int, num_workers: int = 0) -> None:
        self.passes = ShuffledPasses(len(dataset), batch_size, seed)
        super().__init__(
            RepeatableDataset(dataset, seed),
            batch_sampler=self.passes,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=_generator_aside(),
        )

    def start_at(self, batch: int) -> None:
        """Let the next iteration begin with this batch of the training, counted from 0."""
        self.passes.start_at(batch)


class EvaluationLoader(DataLoader):
    """Batches in the order of the data.

    Args:
        dataset: a MONAI dataset.
        batch_size: scans in a batch.
        num_workers: processes that read.
    """

    def __init__(self, dataset: Dataset, batch_size: int, num_workers: int = 0) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            generator=_generator_aside(),
        )


def _generator_aside() -> torch.Generator:
    """For the seeds of worker processes, which torch else draws from the generator that the network's noise is from.

    It does so once for each set of workers, which a resumed training has one more of.
    """
    return torch.Generator().manual_seed(0)
