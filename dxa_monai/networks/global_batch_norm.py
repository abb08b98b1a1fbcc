"""Batch normalisation over the batches of all processes of a distributed training."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class GlobalBatchNorm(_BatchNorm):
    """What ``torch.nn.SyncBatchNorm`` does on GPUs, on any device and for channels on any axis.

    With x all values of a channel in all processes, which have equal parts of a batch, the output is
    ``(x - mean(x)) / sqrt(var(x) + eps)`` times weight plus bias, as :class:`torch.nn.BatchNorm1d` gives for one
    process that has the whole batch.

    Args:
        like: the normalisation to replace; its weights and running statistics are taken over, not copied.
        channel_axis: where its input ``(N, C, ...)`` or ``(..., C)`` has the channels: 1 or -1.
    """

    def __init__(self, like: _BatchNorm, channel_axis: int = 1) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self.channel_axis = channel_axis
        self.training = like.training
        for name in (*like._parameters, *like._buffers):
            setattr(self, name, getattr(like, name))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise ``(N, C, ...)``, or ``(..., C)`` with ``channel_axis`` -1."""
        rows = input if self.channel_axis == 1 else input.reshape(-1, input.shape[-1])
        if self.training and dist.is_initialized():
            return self._over_processes(rows).reshape(input.shape)
        return super().forward(rows).reshape(input.shape)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        pass

    def _over_processes(self, rows: torch.Tensor) -> torch.Tensor:
        axes = [axis for axis in range(rows.ndim) if axis != 1]
        shape = [1, -1, *[1] * (rows.ndim - 2)]
        count = rows.numel() // rows.shape[1] * dist.get_world_size()
        mean = all_reduce(rows.sum(axes)) / count
        # from the deviations, not from the squares: those would cancel
        variance = all_reduce((rows - mean.reshape(shape)).square().sum(axes)) / count
        self._average(mean.detach(), variance.detach() * count / (count - 1))
        normalised = (rows - mean.reshape(shape)) * torch.rsqrt(variance + self.eps).reshape(shape)
        return normalised * self.weight.reshape(shape) + self.bias.reshape(shape) if self.affine else normalised

    @torch.no_grad()
    def _average(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # None: a plain average over all batches so far, the present one counted
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def with_global_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Replace every batch normalisation in ``network``, in place, by one over all processes; names and weights stay.

    On GPUs it is torch's own where that can be used.
    """
    for name, module in network.named_children():
        if not isinstance(module, _BatchNorm):
            with_global_batch_norm(module, device)
            continue
        channel_axis = getattr(module, "channel_axis", 1)
        if device.type == "cuda" and channel_axis == 1:
            setattr(network, name, nn.SyncBatchNorm.convert_sync_batchnorm(module))
        else:
            setattr(network, name, GlobalBatchNorm(module, channel_axis))
    return network
