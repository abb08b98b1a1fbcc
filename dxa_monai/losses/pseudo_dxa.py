"""The loss that trains a Pseudo-DXA: that of pretraining, latent matching, and a PointNet's orthogonality penalty."""

from __future__ import annotations

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.losses.latent_matching import LatentMatchingLoss
from dxa_monai.losses.vae import DXAVAELoss
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import VAEOutput

ORTHOGONALITY_WEIGHT = 1e-3
"""Of Qi et al. 2017, arXiv:1612.00593."""


class PseudoDXALoss(nn.Module):
    r"""Weighted sum of :class:`DXAVAELoss`, :class:`LatentMatchingLoss` and the orthogonality penalty of the encoder.

    .. math:: L = L_{VAE} + w_{latent} L_{latent} + w_{orthogonality} \sum_T \|I - A_T A_T^T\|_F^2

    The penalty is that of the network's last forward pass, and there is none for encoders without transforms. As
    after a :class:`DXAVAELoss`, ``terms`` holds the detached ``total``, every value and its ``weight_...``.

    Args:
        reconstruction: the loss of pretraining, with the arm and perhaps the composition term.
        latent_matching: None: without.
        latent_weight: its weight.
        network: whose penalty is added; None: without.
        orthogonality_weight: weight of the penalty.

    Raises:
        InputError: a negative weight.
    """

    def __init__(
        self,
        reconstruction: DXAVAELoss,
        latent_matching: LatentMatchingLoss | None = None,
        latent_weight: float = 0.1,
        network: PseudoDXA | None = None,
        orthogonality_weight: float = ORTHOGONALITY_WEIGHT,
    ) -> None:
        super().__init__()
        for name, weight in (("latent_weight", latent_weight), ("orthogonality_weight", orthogonality_weight)):
            if not weight >= 0:
                raise InputError(f"{name}: expected a number from 0, got {weight}.")
        self.reconstruction = reconstruction
        self.latent_matching = latent_matching
        self.latent_weight = latent_weight
        # In a tuple it is no submodule of the loss: its weights are no state of it.
        self._network = () if network is None else (network,)
        self.orthogonality_weight = orthogonality_weight
        self.terms: dict[str, torch.Tensor] = {}

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, counted from 1, begins."""
        self.reconstruction.set_epoch(epoch)

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of what the network made of bodies against their scans ``(B, 6, H, W)``.

        Raises:
            InputError: as the losses that are summed.
        """
        total = self.reconstruction(output, target)
        self.terms = dict(self.reconstruction.terms)
        if self.latent_matching is not None and self.latent_weight > 0:
            total = total + self._weighted("latent", self.latent_matching(output.mu, target), self.latent_weight)
        for network in self._network:
            if network.has_transforms and self.orthogonality_weight > 0:
                penalty = network.orthogonality_penalty()
                total = total + self._weighted("orthogonality", penalty, self.orthogonality_weight)
        self.terms["total"] = total.detach()
        return total

    def _weighted(self, name: str, value: torch.Tensor, weight: float) -> torch.Tensor:
        self.terms[name] = value.detach()
        self.terms[f"weight_{name}"] = value.new_tensor(weight)
        return weight * value
