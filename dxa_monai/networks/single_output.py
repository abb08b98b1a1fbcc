"""Networks of one input and one output, as exports and tools expect them."""

# No ``from __future__ import annotations`` here: TorchScript compiles the methods with their annotations.
import torch
from torch import nn

from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE


class Reconstruction(nn.Module):
    """Scan in, reconstructed scan out: what ``metadata.json`` tells of the bundle, for tools that expect one tensor.

    MONAI's ``verify_net_in_out`` is one of them; :class:`DXAVAE` itself returns three.

    Args:
        vae: the network; its weights are shared.
    """

    def __init__(self, vae: DXAVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """:meth:`DXAVAE.reconstruct`: scans ``(B, in_channels, H, W)`` in [0, 1] to the same."""
        return self.vae.reconstruct(x)


class PredictedScan(nn.Module):
    """Points of bodies in, their scans out; :class:`PseudoDXA` itself returns three things.

    Args:
        network: its weights are shared.
    """

    def __init__(self, network: PseudoDXA) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """:meth:`PseudoDXA.predict`: points ``(B, 7, P)`` to scans ``(B, out_channels, H, W)`` in [0, 1]."""
        return self.network.predict(points)
