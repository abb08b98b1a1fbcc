"""What a training needs to be the same on one process and on many.

Every process holds the same weights and draws from the same random states; process r of n sees the r-th part of each
batch. A number that depends on the whole batch is therefore computed over all processes, here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import ignite.distributed as idist
import torch

_Item = TypeVar("_Item")


def share_of_process(items: Sequence[_Item]) -> list[_Item]:
    """Every n-th item from the r-th on, for process r of n: all items are seen once, by one process each."""
    return list(items[idist.get_rank() :: idist.get_world_size()])


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes, without gradient."""
    values = values.detach()
    if idist.get_world_size() == 1:
        return values
    return torch.as_tensor(idist.all_reduce(values.clone(), "SUM")) / idist.get_world_size()


@torch.jit.unused
def standard_normal_like(values: torch.Tensor) -> torch.Tensor:
    """Standard normal noise ``(B, ...)`` for this process's part of a batch.

    Every process draws the noise of the whole batch and takes its own part. Scan i of a batch so gets the same noise
    whatever the number of processes, and all of them leave the generator in the same state. A network exported to
    TorchScript, which is not trained, has no noise.
    """
    processes = idist.get_world_size()
    if processes == 1:
        return torch.randn_like(values)
    scans = len(values)
    noise = torch.randn((processes * scans, *values.shape[1:]), dtype=values.dtype, device=values.device)
    return noise[idist.get_rank() * scans :][:scans]
