"""The loss that trains the DXA-VAE: pixels first, then perceptual terms, and the divergence of the latent code."""

from __future__ import annotations

import torch
from monai.utils import convert_to_tensor
from torch import nn

from dxa_monai.distributed import mean_over_processes
from dxa_monai.errors import InputError
from dxa_monai.losses.composition import CompositionLoss
from dxa_monai.losses.dxa import ARMS, DXALoss
from dxa_monai.networks.vae import VAEOutput

COMPOSITION_ARM = "composition"
"""The arm of pretraining that adds a :class:`CompositionLoss` to the loss of ``no_dxa``."""
_BALANCED = ("pixel_l1", "raw_perceptual", "calibrated_perceptual", "composition")
_NORM_MOMENTUM = 0.9
_LARGEST_BALANCE = 1e4
"""Limit of a balancing factor, so that a term without gradient is not divided by zero (the limit of [1]_, too)."""


def perceptual_arm(arm: str) -> str:
    """The arm of the perceptual loss in an arm of pretraining.

    Raises:
        InputError: there is no such arm.
    """
    if arm not in (*ARMS, COMPOSITION_ARM):
        raise InputError(f"arm: expected one of {', '.join((*ARMS, COMPOSITION_ARM))}, got '{arm}'.")
    return "no_dxa" if arm == COMPOSITION_ARM else arm


class DXAVAELoss(nn.Module):
    r"""Weighted sum of pixel L1, the perceptual terms of :class:`DXALoss`, a composition term and the KL divergence.

    .. math:: L = w_{pixel} L_1 + r \, w_{perceptual} (b_{raw} L_{raw} + w_{calibrated} b_{cal} L_{cal})
                  + r \, w_{composition} b_{comp} L_{comp} + w_{KL} D_{KL}

    - L1 is the mean absolute error over scans, channels and pixels.
    - r is 0 in the first ``warm_up_epochs`` epochs (VGG is not evaluated then), rises linearly over the next
      ``ramp_epochs`` and stays 1: a perceptual loss alone leaves the mean image only after hundreds of steps. Epochs
      count from 1, as Ignite's do; :meth:`set_epoch` has to be called at the start of each.
    - the divergence from the standard normal is a *mean* over scans and latent elements; the textbook sum over the
      latent elements of a scan [2]_ is ``kl_weight`` x their number smaller.
    - b is 1, or with ``balance_gradients`` the norm of the pixel term's gradient at the reconstruction over the norm of
      the term's own [1]_. The weights then say how hard a term pulls, relative to an L1 of weight one, whatever its
      value. Norms are measured every ``balance_every`` training steps with a term active and averaged exponentially;
      they are buffers, so a resumed run goes on with them. Each measurement costs one more backward pass through VGG
      a term.

    After a call ``terms`` holds the detached scalars ``total``, ``pixel_l1``, ``kl``, ``weight_pixel_l1``,
    ``weight_kl`` and, once active, ``raw_perceptual``, ``calibrated_perceptual`` and ``composition`` with the
    ``weight_...`` they had. The total is the sum of weight x value.

    Args:
        perceptual: the perceptual loss; its arm decides between ``no_dxa``, ``dxa`` and ``dxa_masked``. None: pixels
            only.
        pixel_weight: weight of the L1 term.
        perceptual_weight: weight of the raw perceptual term; the calibrated one has that times ``calibrated_weight``.
        kl_weight: weight of the mean divergence of a latent element.
        warm_up_epochs: epochs without perceptual terms.
        ramp_epochs: epochs in which their weight rises to its full value, at least 1.
        balance_gradients: see above.
        balance_every: training steps between measurements of the gradient norms.
        composition: the composition loss; None: without.
        composition_weight: its weight.

    Raises:
        InputError: a negative weight or number of epochs.

    References:
        .. [1] Esser, Rombach and Ommer, "Taming transformers for high-resolution image synthesis", CVPR 2021,
           doi:10.1109/CVPR46437.2021.01268 (adaptive weight).
        .. [2] Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014, arXiv:1312.6114.
    """

    gradient_norms: torch.Tensor
    steps_to_measurement: torch.Tensor

    def __init__(
        self,
        perceptual: DXALoss | None = None,
        pixel_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        kl_weight: float = 1e-5,
        warm_up_epochs: int = 0,
        ramp_epochs: int = 1,
        balance_gradients: bool = False,
        balance_every: int = 10,
        composition: CompositionLoss | None = None,
        composition_weight: float = 0.1,
    ) -> None:
        super().__init__()
        lowest = {
            "pixel_weight": (pixel_weight, 0),
            "perceptual_weight": (perceptual_weight, 0),
            "composition_weight": (composition_weight, 0),
            "kl_weight": (kl_weight, 0),
            "warm_up_epochs": (warm_up_epochs, 0),
            "ramp_epochs": (ramp_epochs, 1),
            "balance_every": (balance_every, 1),
        }
        for name, (value, minimum) in lowest.items():
            if not value >= minimum:
                raise InputError(f"{name}: expected a number from {minimum}, got {value}.")
        self.perceptual = perceptual
        self.composition = composition
        self.composition_weight = composition_weight
        self.pixel_weight = pixel_weight
        self.perceptual_weight = perceptual_weight
        self.kl_weight = kl_weight
        self.warm_up_epochs = warm_up_epochs
        self.ramp_epochs = ramp_epochs
        self.balance_gradients = balance_gradients
        self.balance_every = balance_every
        self.epoch = 1
        self.terms: dict[str, torch.Tensor] = {}
        # Averaged norms of the gradients of _BALANCED; 0: not measured yet.
        self.register_buffer("gradient_norms", torch.zeros(len(_BALANCED)))
        self.register_buffer("steps_to_measurement", torch.zeros((), dtype=torch.long))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, counted from 1, begins."""
        self.epoch = epoch

    @property
    def ramp(self) -> float:
        """The factor r of the perceptual terms in the present epoch, 0 to 1."""
        return min(1.0, max(0.0, (self.epoch - self.warm_up_epochs) / self.ramp_epochs))

    def forward(
        self, output: VAEOutput | tuple[torch.Tensor, torch.Tensor, torch.Tensor], target: torch.Tensor
    ) -> torch.Tensor:
        """Scalar loss of a reconstruction ``(B, 6, H, W)`` with its mu and log-variance against ``target``.

        Raises:
            InputError: reconstruction and target differ in shape.
        """
        # MONAI's metadata stay outside: a loss has none.
        reconstruction, mu, log_variance, target = (convert_to_tensor(tensor) for tensor in (*output, target))
        if reconstruction.shape != target.shape:
            raise InputError(f"target: expected shape {tuple(reconstruction.shape)}, got {tuple(target.shape)}.")
        values = {"pixel_l1": (reconstruction - target).abs().mean(), "kl": kl_divergence(mu, log_variance)}
        weights = {"pixel_l1": self.pixel_weight, "kl": self.kl_weight}
        if self.perceptual is not None and self.perceptual_weight > 0 and self.ramp > 0:
            values |= self.perceptual.compute_terms(reconstruction, target)
            weights["raw_perceptual"] = self.ramp * self.perceptual_weight
            weights["calibrated_perceptual"] = weights["raw_perceptual"] * self.perceptual.calibrated_weight
        if self.composition is not None and self.composition_weight > 0 and self.ramp > 0:
            values["composition"] = self.composition(reconstruction, target)
            weights["composition"] = self.ramp * self.composition_weight
        weight_tensors = {name: value.new_tensor(weights[name]) for name, value in values.items()}
        if self.balance_gradients and self.ramp > 0:
            if self.training and values["pixel_l1"].requires_grad:
                self._measure_gradients(values, reconstruction)
            for i, name in enumerate(_BALANCED[1:], start=1):
                if name in values and self.gradient_norms[i] > 0:
                    balance = self.gradient_norms[0] / self.gradient_norms[i]
                    weight_tensors[name] = weight_tensors[name] * balance.clamp(max=_LARGEST_BALANCE)
        total = torch.stack([weight_tensors[name] * value for name, value in values.items()]).sum()
        self.terms = {name: value.detach() for name, value in values.items()}
        self.terms |= {f"weight_{name}": weight for name, weight in weight_tensors.items()}
        self.terms["total"] = total.detach()
        return total

    def _measure_gradients(self, values: dict[str, torch.Tensor], reconstruction: torch.Tensor) -> None:
        """Every ``balance_every`` calls: update the averaged gradient norms at the reconstruction."""
        self.steps_to_measurement -= 1
        if self.steps_to_measurement >= 0:
            return
        self.steps_to_measurement.fill_(self.balance_every - 1)
        for i, name in enumerate(_BALANCED):
            if name in values:
                (gradient,) = torch.autograd.grad(values[name], reconstruction, retain_graph=True)
                # over all processes, which have equal parts of the batch
                norm, average = mean_over_processes(gradient.square().sum()).sqrt(), self.gradient_norms[i]
                average.copy_(torch.where(average > 0, torch.lerp(norm, average, _NORM_MOMENTUM), norm))


def kl_divergence(mu: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Divergence of the normal (mu, exp(log_variance)) from the standard normal, mean over all elements, a scalar."""
    return 0.5 * (mu.square() + log_variance.exp() - 1.0 - log_variance).mean()
