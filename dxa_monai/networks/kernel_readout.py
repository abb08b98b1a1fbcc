"""Kernel ridge regression as a layer: fitted in closed form, stored with the network, exported with it."""

# No ``from __future__ import annotations`` here, so that TorchScript can read the annotations.
import torch
from torch import nn

from dxa_monai.errors import InputError


class KernelReadout(nn.Module):
    r"""Outputs from codes: a line, and smooth bumps about the codes of the training scans.

    With x = (c - mean) / scale the code of a scan, x_i those of the training scans and a_i their weights,

    .. math:: f(c) = b + W x + \sum_i a_i \exp\!\left(-\frac{\|x - x_i\|^2}{2 l^2}\right)

    which is kernel ridge regression with the kernel x \cdot y + m \exp(-\|x - y\|^2 / 2 l^2)
    (:func:`dxa_monai.training.kernel_fit.fit_readout`): W and a follow from one set of dual weights. Without training
    scans it is ridge regression. Nothing here is trained; until it is fitted, outputs are zero.

    Thousands of large terms cancel in the sum, so it is taken in double precision, also under autocast.

    Args:
        inputs: numbers of a code, K.
        outputs: numbers that are predicted, T.
        centres: codes of training scans that are kept, N.

    Raises:
        InputError: a number out of its range.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    centres: torch.Tensor
    dual: torch.Tensor
    linear: torch.Tensor
    bias: torch.Tensor
    length: torch.Tensor

    def __init__(self, inputs: int, outputs: int, centres: int = 0) -> None:
        super().__init__()
        for name, value, least in (("inputs", inputs, 1), ("outputs", outputs, 1), ("centres", centres, 0)):
            if value < least:
                raise InputError(f"{name}: expected a number from {least}, got {value}.")
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centres", torch.zeros(centres, inputs))
        self.register_buffer("dual", torch.zeros(centres, outputs))
        self.register_buffer("linear", torch.zeros(inputs, outputs))
        self.register_buffer("bias", torch.zeros(outputs))
        self.register_buffer("length", torch.ones(()))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Outputs ``(B, T)`` of codes ``(B, K)``."""
        x = (codes.double() - self.mean) / self.scale
        outputs = self.bias + x @ self.linear.double()
        if self.centres.shape[0] > 0:
            centres = self.centres.double()
            squares = x.square().sum(dim=1, keepdim=True) + centres.square().sum(dim=1)
            distances = (squares - 2.0 * x @ centres.T).clamp_min(0.0)
            outputs = outputs + torch.exp(-distances / (2.0 * self.length.double().square())) @ self.dual.double()
        return outputs.to(self.bias.dtype)
