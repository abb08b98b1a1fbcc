"""What a training needs to be the same on one process and on many.

Every process holds the same weights and draws from the same random states; process r of n sees the r-th part of each
batch. A number that depends on the whole batch is therefore computed over all processes, here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import ignite.distributed as idist
import torch
from torch import nn

from dxa_monai.errors import InputError

_Item = TypeVar("_Item")


def join_processes() -> torch.device:
    """Join the other processes that ``torchrun`` has started; the device of this one, a GPU if there are any.

    Raises:
        InputError: the process was not started by ``torchrun``, or there are fewer GPUs than processes of a machine.
    """
    if "LOCAL_RANK" not in os.environ:
        raise InputError("multi_gpu_train.json: expected a process started by torchrun, got one without LOCAL_RANK.")
    gpus, wanted = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if 0 < gpus < wanted:
        raise InputError(f"torchrun: expected at most a process for each of the {gpus} GPUs, got {wanted}.")
    if idist.get_world_size() == 1:
        idist.initialize("nccl" if gpus else "gloo")
    return idist.device()


def over_processes(network: nn.Module, device: torch.device, frozen_at_times: bool = False) -> nn.Module:
    """The network on its device, with gradients averaged and batches normalised over all processes.

    Args:
        network: see :func:`dxa_monai.networks.global_batch_norm.with_global_batch_norm`; it is changed in place.
        device: of this process.
        frozen_at_times: some weights are frozen and set free during training; costs a little in each step.
    """
    from dxa_monai.networks.global_batch_norm import with_global_batch_norm

    return nn.parallel.DistributedDataParallel(
        with_global_batch_norm(network, device).to(device),
        device_ids=[device] if device.type == "cuda" else None,
        # running statistics are computed alike everywhere, and all else is constant
        broadcast_buffers=False,
        find_unused_parameters=frozen_at_times,
    )


def share_of_process(items: Sequence[_Item]) -> list[_Item]:
    """Every n-th item from the r-th on, for process r of n: all items are seen once, by one process each."""
    return list(items[idist.get_rank() :: idist.get_world_size()])


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes, without gradient."""
    values = values.detach()
    if idist.get_world_size() == 1:
        return values
    return torch.as_tensor(idist.all_reduce(values.clone(), "SUM")) / idist.get_world_size()
