"""The adversarial term: a small discriminator that learns to tell scans from reconstructions, beside the network."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import PatchAdversarialLoss
from monai.networks.nets import PatchDiscriminator
from torch import nn

from dxa_monai.distributed import mean_over_processes
from dxa_monai.errors import InputError
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.scan.format import CHANNELS

CRITERIA = ("bce", "hinge", "least_squares")
"""Those of MONAI's ``PatchAdversarialLoss``."""


class AdversarialLoss(nn.Module):
    r"""How surely a discriminator D calls a reconstruction one [1]_; D learns in the same training steps.

    With D(x) the discriminator's odds that a patch of x is of a scan, for the criterion ``bce``,

    .. math:: L = -\mathrm{mean} \ln D(\hat{x}), \qquad
              L_D = -\tfrac{1}{2} \mathrm{mean} \left[ \ln D(x) + \ln (1 - D(\hat{x})) \right]

    A call in training mode first makes one step of D's own optimizer (Adam) on L_D, without a gradient to the network,
    and then gives L, whose gradient reaches the reconstruction alone. In evaluation mode, or without gradients, D does
    not learn. D's weights are in the state dict and its optimizer in the extra state, so a resumed run goes on with
    both; over several processes its gradients are averaged. ``told`` holds L_D of the last step.

    D is MONAI's ``PatchDiscriminator`` of scans, with normalisation image by image, so that it does not depend on the
    size of a batch. It has the seed's weights whatever else was drawn before.

    Args:
        learning_rate: of D; the default is that of the published code (paper/reference_facts.md).
        channels: of D's first layer; each later one has twice as many.
        layers: of D between the first and the last.
        criterion: one of ``CRITERIA``.
        seed: of D's first weights.

    Raises:
        InputError: a number that is not positive, or an unknown criterion.

    References:
        .. [1] Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
           arXiv:1611.07004.
    """

    def __init__(
        self,
        learning_rate: float = 5e-7,
        channels: int = 16,
        layers: int = 3,
        criterion: str = "bce",
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("learning_rate", learning_rate), ("channels", channels), ("layers", layers)):
            if not value > 0:
                raise InputError(f"{name}: expected a positive number, got {value}.")
        if criterion not in CRITERIA:
            raise InputError(f"criterion: expected one of {', '.join(CRITERIA)}, got '{criterion}'.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.discriminator = PatchDiscriminator(
                spatial_dims=2, channels=channels, in_channels=len(CHANNELS), num_layers_d=layers, norm="INSTANCE"
            )
        self.learning_rate = learning_rate
        self.criterion = criterion
        self.told: dict[str, torch.Tensor] = {}
        self._judge = PatchAdversarialLoss(criterion=criterion)
        self._optimizer = torch.optim.Adam(self.discriminator.parameters(), lr=learning_rate)

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's reconstruction ``(B, 6, H, W)``; the target ``(B, 6, H, W)`` teaches D."""
        with torch.autocast(target.device.type, enabled=False):
            made, scans = output.reconstruction.float(), target.detach().float()
            if self.training and torch.is_grad_enabled():
                self._learn(made.detach(), scans)
            # the weights of D get their gradients from its own loss alone
            self.discriminator.requires_grad_(False)
            loss: torch.Tensor = self._judge(self.discriminator(made)[-1], True, for_discriminator=False)
            self.discriminator.requires_grad_(True)
        return loss

    def discriminator_loss(self, made: torch.Tensor, scans: torch.Tensor) -> torch.Tensor:
        """L_D of reconstructions and scans, ``(B, 6, H, W)`` each."""
        of_made = self._judge(self.discriminator(made)[-1], False, for_discriminator=True)
        of_scans = self._judge(self.discriminator(scans)[-1], True, for_discriminator=True)
        return torch.stack([of_made, of_scans]).mean()

    def as_dict(self) -> dict[str, Any]:
        """What the record of a run should tell."""
        return {"criterion": self.criterion, "discriminator_learning_rate": self.learning_rate}

    def get_extra_state(self) -> dict[str, Any]:
        """State of D's optimizer."""
        return self._optimizer.state_dict()

    def set_extra_state(self, state: Any) -> None:
        """Set what :meth:`get_extra_state` gave."""
        self._optimizer.load_state_dict(state)

    def _learn(self, made: torch.Tensor, scans: torch.Tensor) -> None:
        """One step of D."""
        self._optimizer.zero_grad()
        loss = self.discriminator_loss(made, scans)
        loss.backward()
        for weight in self.discriminator.parameters():
            if weight.grad is not None:
                weight.grad.copy_(mean_over_processes(weight.grad))
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.told = {"discriminator": loss.detach()}
