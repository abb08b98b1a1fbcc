"""A loss made of named terms, each with a weight and a schedule of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import nn

from dxa_monai.distributed import mean_over_processes
from dxa_monai.errors import InputError
from dxa_monai.networks.vae import VAEOutput

_NORM_MOMENTUM = 0.9
_LARGEST_BALANCE = 1e4
"""Limit of a balancing factor, so that a term without gradient is not divided by zero (the limit of [1]_, too)."""


@dataclass(frozen=True, eq=False)
class Term:
    """One term of a :class:`WeightedLoss`.

    Args:
        loss: called with the network's output and the target scan; gives a scalar. What it has to learn from the data
            before training it learns in ``prepare(batches)``, if it has such a method.
        weight: of the term once it is fully on, from 0; 0: it is never computed.
        warm_up_epochs: epochs without the term, from 0.
        ramp_epochs: epochs in which the weight then rises to its full value, from 1.
        balanced: the weight says how hard the term pulls, see :class:`WeightedLoss`.

    Raises:
        InputError: a number out of its range.
    """

    loss: nn.Module
    weight: float = 1.0
    warm_up_epochs: int = 0
    ramp_epochs: int = 1
    balanced: bool = False

    def __post_init__(self) -> None:
        lowest = {"weight": 0, "warm_up_epochs": 0, "ramp_epochs": 1}
        for name, minimum in lowest.items():
            value = getattr(self, name)
            if not value >= minimum:
                raise InputError(f"{name}: expected a number from {minimum}, got {value}.")

    def weight_in(self, epoch: int) -> float:
        """The weight in an epoch; epochs count from 1, as Ignite's do."""
        return self.weight * min(1.0, max(0.0, (epoch - self.warm_up_epochs) / self.ramp_epochs))

    def as_dict(self) -> dict[str, Any]:
        """Plain types for the record of a run."""
        kind = type(self.loss)
        schedule = {name: getattr(self, name) for name in ("weight", "warm_up_epochs", "ramp_epochs", "balanced")}
        about: dict[str, Any] = getattr(self.loss, "as_dict", dict)()
        return {"loss": f"{kind.__module__}.{kind.__qualname__}"} | schedule | about


class WeightedLoss(nn.Module):
    r"""Sum of named terms, each times its weight in the present epoch.

    .. math:: L = \sum_t w_t(epoch) \, b_t \, L_t(output, target)

    A term whose weight is 0 in an epoch is not computed. b is 1, or for ``balanced`` terms the norm of the gradient of
    the term ``yardstick`` at the reconstruction over the norm of the term's own [1]_: their weights say how hard they
    pull relative to a yardstick of weight one, whatever their values. Norms are measured every ``balance_every``
    training steps in which a balanced term is on and averaged exponentially; they are buffers, so a resumed run goes
    on with them. A measurement costs one more backward pass a balanced term.

    After a call ``terms`` holds the detached scalars ``total`` and, of each term that is on, ``{name}``,
    ``weight_{name}``, and ``{name}_{what}`` of what its loss has in a dictionary ``told``. The total is the sum of
    weight x value.

    Args:
        terms: by name; None leaves one out, so that an overlay can take away what a config has.
        balance_every: training steps between measurements of the gradient norms.
        yardstick: name of the term that balanced ones are measured against; it has to be on whenever one of them is.

    Raises:
        InputError: there is no term, something else than one, a number out of its range, or no term of the yardstick's
            name.

    References:
        .. [1] Esser, Rombach and Ommer, "Taming transformers for high-resolution image synthesis", CVPR 2021,
           doi:10.1109/CVPR46437.2021.01268 (adaptive weight).
    """

    gradient_norms: torch.Tensor
    steps_to_measurement: torch.Tensor

    def __init__(self, terms: Mapping[str, Term | None], balance_every: int = 10, yardstick: str = "pixel_l1") -> None:
        super().__init__()
        for name, term in terms.items():
            if term is not None and not isinstance(term, Term):
                raise InputError(
                    f"terms: expected a Term or null (on a command line '$None') for {name}, got {term!r:.80}."
                )
        self.schedule = {name: term for name, term in terms.items() if term is not None}
        if not self.schedule:
            raise InputError("terms: expected at least one, got none.")
        if not balance_every >= 1:
            raise InputError(f"balance_every: expected a number from 1, got {balance_every}.")
        if any(term.balanced for term in self.schedule.values()) and yardstick not in self.schedule:
            raise InputError(f"yardstick: expected one of {', '.join(self.schedule)}, got '{yardstick}'.")
        self.losses = nn.ModuleDict({name: term.loss for name, term in self.schedule.items()})
        self.balance_every = balance_every
        self.yardstick = yardstick
        self.epoch = 1
        self.terms: dict[str, torch.Tensor] = {}
        # averaged norms of the terms' gradients; 0: not measured yet
        self.register_buffer("gradient_norms", torch.zeros(len(self.schedule)))
        self.register_buffer("steps_to_measurement", torch.zeros((), dtype=torch.long))

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch, counted from 1, begins."""
        self.epoch = epoch

    def prepare(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Let the terms learn what they have to know of the training data, before training.

        Args:
            batches: of the training loader; read once for each term that wants them.
        """
        for loss in self.losses.values():
            prepare = getattr(loss, "prepare", None)
            if prepare is not None:
                prepare(batches)

    def as_dict(self) -> dict[str, Any]:
        """The terms as plain types for the record of a run."""
        return {name: term.as_dict() for name, term in self.schedule.items()}

    def forward(
        self, output: VAEOutput | tuple[torch.Tensor, torch.Tensor, torch.Tensor], target: torch.Tensor
    ) -> torch.Tensor:
        """Scalar loss of a reconstruction ``(B, 6, H, W)`` with its mu and log-variance against ``target``.

        Raises:
            InputError: reconstruction and target differ in shape, no term is on in this epoch, or balancing is asked of
                terms that do not depend on the reconstruction or while the yardstick is off.
        """
        # MONAI's metadata stay outside: a loss has none.
        output, target = VAEOutput(*(convert_to_tensor(tensor) for tensor in output)), convert_to_tensor(target)
        reconstruction = output.reconstruction
        if reconstruction.shape != target.shape:
            raise InputError(f"target: expected shape {tuple(reconstruction.shape)}, got {tuple(target.shape)}.")
        weights = {name: term.weight_in(self.epoch) for name, term in self.schedule.items()}
        values = {name: self.losses[name](output, target) for name, weight in weights.items() if weight > 0.0}
        if not values:
            raise InputError(f"terms: expected one that is on in epoch {self.epoch}, got none.")
        weight_tensors = {name: value.new_tensor(weights[name]) for name, value in values.items()}
        self._balance(values, weight_tensors, reconstruction)
        total = torch.stack([weight_tensors[name] * value for name, value in values.items()]).sum()
        self.terms = {name: value.detach() for name, value in values.items()}
        self.terms |= {f"weight_{name}": weight for name, weight in weight_tensors.items()}
        for name in values:
            self.terms |= {f"{name}_{what}": value for what, value in getattr(self.losses[name], "told", {}).items()}
        self.terms["total"] = total.detach()
        return total

    def _balance(
        self, values: Mapping[str, torch.Tensor], weights: dict[str, torch.Tensor], reconstruction: torch.Tensor
    ) -> None:
        """Multiply the weights of balanced terms by their factors."""
        balanced = [name for name in values if self.schedule[name].balanced]
        if not balanced:
            return
        if self.yardstick not in values:
            raise InputError(f"yardstick: expected '{self.yardstick}' to be on in epoch {self.epoch}, got weight 0.")
        if self.training and values[self.yardstick].requires_grad:
            self._measure_gradients({name: values[name] for name in (self.yardstick, *balanced)}, reconstruction)
        places = list(self.schedule)
        norm_of = {name: self.gradient_norms[places.index(name)] for name in (self.yardstick, *balanced)}
        for name in balanced:
            if norm_of[name] > 0:
                factor = (norm_of[self.yardstick] / norm_of[name]).clamp(max=_LARGEST_BALANCE)
                weights[name] = weights[name] * factor

    def _measure_gradients(self, values: Mapping[str, torch.Tensor], reconstruction: torch.Tensor) -> None:
        """Every ``balance_every`` calls: update the averaged gradient norms at the reconstruction."""
        self.steps_to_measurement -= 1
        if self.steps_to_measurement >= 0:
            return
        self.steps_to_measurement.fill_(self.balance_every - 1)
        places = list(self.schedule)
        for name, value in values.items():
            gradient = None
            if value.requires_grad:
                (gradient,) = torch.autograd.grad(value, reconstruction, retain_graph=True, allow_unused=True)
            if gradient is None:
                raise InputError(f"{name}: expected a term of the reconstruction to balance, got one without gradient.")
            # over all processes, which have equal parts of the batch
            norm = mean_over_processes(gradient.square().sum()).sqrt()
            average = self.gradient_norms[places.index(name)]
            average.copy_(torch.where(average > 0, torch.lerp(norm, average, _NORM_MOMENTUM), norm))
