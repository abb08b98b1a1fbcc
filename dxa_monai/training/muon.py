"""Muon for convolutional networks: weight matrices by orthogonalised steps, everything else by Adam."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


class MatrixMuon(torch.optim.Optimizer):
    """torch's ``Muon`` [1]_ for all weights of two and more dimensions, and Adam for the rest (biases, normalisation).

    torch's class takes matrices alone. The kernel of a convolution ``(O, I, H, W)`` is one of O rows here; the step of
    a matrix is as large as Adam's would be (``match_rms_adamw``), so that one learning rate serves both, which a
    schedule may change as that of any optimizer.

    Args:
        params: weights of a network, on the device where they stay.
        lr: learning rate.
        betas: of Adam.
        momentum: of Muon.

    References:
        .. [1] Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
           https://kellerjordan.github.io/posts/muon/.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
    ) -> None:
        weights = list(params)
        super().__init__(weights, {"lr": lr, "betas": tuple(betas)})
        self._matrices = [weight for weight in weights if weight.ndim >= 2]
        # the same memory under another shape
        self._flat = [nn.Parameter(weight.data.view(len(weight), -1)) for weight in self._matrices]
        others = [weight for weight in weights if weight.ndim < 2]
        parts: dict[str, torch.optim.Optimizer] = {}
        if self._flat:
            parts["muon"] = torch.optim.Muon(
                self._flat, lr=lr, weight_decay=0.0, momentum=momentum, adjust_lr_fn="match_rms_adamw"
            )
        if others:
            parts["adam"] = torch.optim.Adam(others, lr=lr, betas=betas)
        self._parts = parts

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of all weights that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        for flat, weight in zip(self._flat, self._matrices, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.reshape(flat.shape)
        for part in self._parts.values():
            part.param_groups[0]["lr"] = group["lr"]
            if "betas" in part.param_groups[0]:
                part.param_groups[0]["betas"] = group["betas"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """State of both, and the learning rate."""
        return super().state_dict() | {"parts": {name: part.state_dict() for name, part in self._parts.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "parts"})
        for name, part in self._parts.items():
            part.load_state_dict(state_dict["parts"][name])
