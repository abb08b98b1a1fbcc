"""The noise of a variational code, the same for each scan whatever the number of processes."""

# No `from __future__ import annotations`: TorchScript reads the types.
import ignite.distributed as idist
import torch


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
