"""Latent matching: the mesh encoder's code of a body against the scan encoder's code of its true scan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ignite.distributed as idist
import torch
from monai.utils import convert_to_tensor
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.vae import DXAVAE, VAEOutput


class LatentMatchingLoss(nn.Module):
    r"""Mean squared distance of predicted codes from a trained DXA-VAE's, in units of the variance of codes.

    With mu the prediction and c the mean of the VAE's code of the true scan, L of each,

    .. math:: L = \frac{1}{L v} \sum_l (\mu_l - c_l)^2, \qquad
              v = \frac{1}{L} \sum_l \mathrm{var}(c_l \text{ over training scans})

    so that 0 is the VAE's code itself and 1 what predicting the mean code gives, whatever spread a VAE's codes have.
    v is one number for all elements: those in which the codes of people hardly differ hardly count. The
    weighted sum with other losses is the caller's.

    The VAE stays in evaluation mode and gets no gradient. v is a buffer: call :meth:`prepare` (or :meth:`set_variance`)
    before training.
    The VAE's own tensors are in its checkpoint and not in the state dict here.

    Args:
        vae: of the latent map that the mesh encoder predicts. It is frozen in place.
    """

    code_variance: torch.Tensor

    def __init__(self, vae: DXAVAE) -> None:
        super().__init__()
        # In a tuple it is no submodule: train() and state_dict() pass it by. _apply moves it to the device.
        self._vae = (vae.requires_grad_(False).eval(),)
        self.register_buffer("code_variance", torch.zeros(()))

    def prepare(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Measure v on the scans (``label``) of a training loader's batches; see :meth:`set_variance`."""
        self.set_variance(batch["label"] for batch in batches)

    @torch.no_grad()
    def set_variance(self, batches: Iterable[torch.Tensor]) -> None:
        """Measure v on scans ``(B, 6, H, W)`` of the training set, batch by batch.

        Raises:
            InputError: fewer than two scans, or scans whose codes do not differ.
        """
        device = self.code_variance.device
        codes = [self._vae[0].encode(convert_to_tensor(scans).to(device))[0].flatten(1) for scans in batches]
        count = sum(len(code) for code in codes)
        variance = self.code_variance.new_zeros(())
        if count > 1:
            # each process has an equal part of the scans
            everywhere = torch.as_tensor(idist.all_gather(torch.cat(codes)))
            variance = everywhere.var(dim=0, correction=0).mean()
        if not variance > 0:
            raise InputError(f"batches: expected at least two scans of different codes, got {count}.")
        self.code_variance.copy_(variance)

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's codes ``(B, latent_channels, *latent_shape)`` against those of scans.

        Raises:
            InputError: the variance was not set, or the VAE's latent map has another shape.
        """
        mu = output.mu
        if not self.code_variance > 0:
            raise InputError("latent matching: expected set_variance to be called before training, got no call.")
        with torch.no_grad():
            codes, _ = self._vae[0].encode(convert_to_tensor(target))
        if codes.shape != mu.shape:
            raise InputError(f"mu: expected the shape of the VAE's codes {tuple(codes.shape)}, got {tuple(mu.shape)}.")
        return (mu - codes).square().mean() / self.code_variance

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> LatentMatchingLoss:
        super()._apply(fn, recurse)
        self._vae[0]._apply(fn, recurse)
        return self
