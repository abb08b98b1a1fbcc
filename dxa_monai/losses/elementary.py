"""The terms that need no more than a line: pixels, the divergence of the latent code, a PointNet's transforms."""

from __future__ import annotations

import torch
from torch import nn

from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import VAEOutput


class PixelL1(nn.Module):
    """Mean absolute error over scans, channels and pixels."""

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar, of the output's reconstruction against a target ``(B, 6, H, W)``."""
        return (output.reconstruction - target).abs().mean()


class KLDivergence(nn.Module):
    """Divergence of the latent code from the standard normal, a *mean* over scans and latent elements.

    The textbook sum over the latent elements of a scan [1]_ has a weight that is their number smaller.

    References:
        .. [1] Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv:1312.6114.
    """

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar; the target is not looked at."""
        return kl_divergence(output.mu, output.log_variance)


class OrthogonalityPenalty(nn.Module):
    r"""How far a PointNet's feature transforms were from orthogonal in the network's last forward pass [1]_.

    .. math:: \sum_T \|I - A_T A_T^T\|_F^2

    Args:
        network: with transforms (``has_transforms``).

    References:
        .. [1] Qi et al. 2017, arXiv:1612.00593 (weight 1e-3).
    """

    def __init__(self, network: PseudoDXA) -> None:
        super().__init__()
        # In a tuple it is no submodule of the loss: its weights are no state of it.
        self._network = (network,)

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar; neither argument is looked at."""
        return self._network[0].orthogonality_penalty()


def kl_divergence(mu: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Divergence of the normal (mu, exp(log_variance)) from the standard normal, mean over all elements, a scalar."""
    return 0.5 * (mu.square() + log_variance.exp() - 1.0 - log_variance).mean()
