"""The order in which a training sees its scans, as a function of the seed and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import ignite.distributed as idist
import numpy as np
from torch.utils.data import Sampler

from dxa_monai.errors import InputError

Draw = tuple[int, int]
"""The number of a pass through the data, from 0, and the index of a scan: what one reading of a scan depends on."""


class ShuffledPasses(Sampler[list[Draw]]):
    """Batches of one shuffled pass through the data after the other, each pass in an order of its own.

    Batch number i of a training, counted from 0 over all passes, depends on ``seed`` and i alone. A resumed training
    goes on at any batch with :meth:`start_at`, and of n processes each gets its n-th part of the same batches. Scans
    that fill no whole batch are left out of their pass.

    Args:
        scans: how many there are.
        batch_size: scans in a batch, over all processes.
        seed: of the orders.

    Raises:
        InputError: fewer scans than a batch has, or a batch that cannot be divided among the processes.
    """

    def __init__(self, scans: int, batch_size: int, seed: int) -> None:
        processes = idist.get_world_size()
        if batch_size < 1 or batch_size % processes:
            raise InputError(f"batch_size: expected a multiple of the {processes} processes, got {batch_size}.")
        if scans < batch_size:
            raise InputError(f"batch_size: expected at most the {scans} scans there are to train on, got {batch_size}.")
        self.scans = scans
        self.batch_size = batch_size
        self.seed = seed
        self._next_batch = 0

    def __len__(self) -> int:
        """Batches in a pass."""
        return self.scans // self.batch_size

    def start_at(self, batch: int) -> None:
        """Let the next pass begin with this batch of the training; it ends where that pass ends."""
        self._next_batch = batch

    def __iter__(self) -> Iterator[list[Draw]]:
        number, first = divmod(self._next_batch, len(self))
        self._next_batch = (number + 1) * len(self)
        order = np.random.default_rng([self.seed, number]).permutation(self.scans)
        share = self.batch_size // idist.get_world_size()
        for batch in range(first, len(self)):
            begin = batch * self.batch_size + idist.get_rank() * share
            yield [(number, int(index)) for index in order[begin : begin + share]]
