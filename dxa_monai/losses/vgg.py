"""Frozen VGG-16 features, the space in which the perceptual losses compare images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import describe_mismatch, load_tensors
from dxa_monai.networks.imagenet import download_state_dict
from dxa_monai.networks.tensor_checks import refuse_odd_numbers

_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of the 3x3 convolutions in the five blocks of VGG-16 [1]_; a 2x2 max pool ends each block."""

VGG16_LAYERS = (
    "input",
    *(
        name
        for block, widths in enumerate(_WIDTHS, start=1)
        for name in (*(f"relu{block}_{i}" for i in range(1, len(widths) + 1)), f"pool{block}")
    ),
)
"""All layers that can be named, in order: the image itself, the convolutions (after their ReLU) and the pools."""

REFERENCE_LAYERS = tuple(name for name in VGG16_LAYERS if name not in ("pool1", "pool3"))
"""The 17 layers of the published loss (Keras indices 0, 1, 2, 4-9, 11-18; paper/reference_facts.md)."""

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_SD = (0.229, 0.224, 0.225)
_CALIBRATION_SIZE = 64


class VGGFeatures(nn.Module):
    """Feature maps of a frozen VGG-16 [1]_ for images in [0, 1].

    The weights are buffers outside the state dict: no optimiser sees them, no checkpoint holds them, ``train()``
    changes nothing, and the gradient flows through them to the image alone. Only the layers up to the last one asked
    for are built.

    ``layer_scales`` holds a constant for each layer: the mean absolute difference that the layer sees between two fixed
    images (seeded noise of several scales), relative to the difference of the images themselves. Divide a layer's
    distances by it: then those of all layers, and losses with other weights or cut-offs, are of the size of a
    pixel-wise mean absolute error.

    Args:
        weights: ``"random"``: Kaiming initialisation by ``seed``, which keeps differences alive in the deep layers
            where torch's default lets them fade (for untrained perceptual networks see [2]_; no equivalence with
            trained ones is claimed); ``"imagenet"``: torchvision's ``VGG16_Weights.IMAGENET1K_V1``, downloaded once;
            or the path of a file in torchvision's format (``features.*`` tensors; those of the classifier are
            ignored).
        layers: names from ``VGG16_LAYERS`` of the maps to return; they come in the network's order.
        seed: seed of the random weights.
        cutoff: leave out the layers after this one, for example ``"relu2_2"``; None keeps all.
        downsampling: average the image over squares of this many pixels a side first; 2 is half resolution.
        normalise_layers: measure ``layer_scales``; False leaves them at 1, as in the published loss.

    Trained weights get ImageNet's channel normalisation, as torchvision prescribes; random ones get the image as it is.

    Raises:
        InputError: an unknown layer, weights that cannot be downloaded, or a file that does not hold them.

    References:
        .. [1] Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015, arXiv:1409.1556.
        .. [2] Liu et al., "Generic perceptual loss for modeling structured output dependencies", CVPR 2021,
           doi:10.1109/CVPR46437.2021.00538.
    """

    layer_scales: torch.Tensor
    channel_mean: torch.Tensor
    channel_sd: torch.Tensor

    def __init__(
        self,
        weights: str = "random",
        layers: Sequence[str] = REFERENCE_LAYERS,
        seed: int = 0,
        cutoff: str | None = None,
        downsampling: int = 1,
        normalise_layers: bool = True,
    ) -> None:
        super().__init__()
        _check_layers("layers", layers)
        if cutoff is not None:
            _check_layers("cutoff", [cutoff])
            layers = [name for name in layers if VGG16_LAYERS.index(name) <= VGG16_LAYERS.index(cutoff)]
        if not layers:
            raise InputError(f"layers: expected at least one layer up to '{cutoff}', got none.")
        if downsampling < 1:
            raise InputError(f"downsampling: expected a whole number from 1, got {downsampling}.")
        self.layers = tuple(name for name in VGG16_LAYERS if name in layers)
        self.downsampling = downsampling
        self.weights = str(weights)

        # torchvision numbers the modules of vgg16.features: convolution, ReLU, ..., pool.
        self._steps: list[tuple[str, str | None]] = []  # (layer's name, name of its convolution in torchvision or None)
        index = 0
        for name in VGG16_LAYERS[1 : VGG16_LAYERS.index(self.layers[-1]) + 1]:
            pool = name.startswith("pool")
            self._steps.append((name, None if pool else f"features.{index}"))
            index += 1 if pool else 2

        trained = weights != "random"
        convolutions = _trained_weights(weights, self._shapes()) if trained else _random_weights(self._shapes(), seed)
        for key, tensor in convolutions.items():
            self.register_buffer(key.replace(".", "_"), tensor, persistent=False)
        mean, sd = (_IMAGENET_MEAN, _IMAGENET_SD) if trained else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("channel_mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("channel_sd", torch.tensor(sd)[:, None, None], persistent=False)
        self.register_buffer("layer_scales", torch.ones(len(self.layers)), persistent=False)
        if normalise_layers:
            self.layer_scales.copy_(self._measured_scales())

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Feature maps ``(N, C, H', W')``, one for each of ``self.layers``, of images ``(N, 3, H, W)`` in [0, 1]."""
        if self.downsampling > 1:
            images = F.avg_pool2d(images, self.downsampling, ceil_mode=True, count_include_pad=False)
        return self._maps(images)

    def _maps(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = {"input": images}
        y = (images - self.channel_mean) / self.channel_sd
        for name, convolution in self._steps:
            if convolution is None:
                y = F.max_pool2d(y, kernel_size=2)
            else:
                weight, bias = (
                    self.get_buffer(f"{convolution}.{kind}".replace(".", "_")) for kind in ("weight", "bias")
                )
                y = F.relu(F.conv2d(y, weight, bias, padding=1), inplace=True)
            if name in self.layers:
                maps[name] = y
        return [maps[name] for name in self.layers]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes, in torchvision's format, of the tensors that the layers need."""
        shapes: dict[str, tuple[int, ...]] = {}
        channels = 3
        for name, convolution in self._steps:
            if convolution is not None:
                width = _WIDTHS[int(name[4]) - 1][int(name[6]) - 1]
                shapes[f"{convolution}.weight"] = (width, channels, 3, 3)
                shapes[f"{convolution}.bias"] = (width,)
                channels = width
        return shapes

    @torch.no_grad()
    def _measured_scales(self) -> torch.Tensor:
        first, second = _calibration_images()
        differences = [(a - b).abs().mean() for a, b in zip(self._maps(first), self._maps(second), strict=True)]
        return torch.stack(differences) / (first - second).abs().mean()


def _check_layers(argument: str, names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in VGG16_LAYERS]
    if unknown:
        raise InputError(f"{argument}: expected layers from {', '.join(VGG16_LAYERS)}, got '{unknown[0]}'.")


def _random_weights(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Kaiming-normal weights and zero biases, drawn from the input on: a cut-off does not change what is before it."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if name.endswith(".weight"):
            nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=generator)
    return tensors


def _trained_weights(weights: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    state = _download_imagenet() if weights == "imagenet" else load_tensors(Path(weights))
    if not isinstance(state, dict):
        raise InputError(f"{weights}: expected torchvision's VGG-16 state dict, got {type(state).__name__}.")
    used = {name: tensor for name, tensor in state.items() if name in shapes}
    mismatch = describe_mismatch({name: torch.empty(shape) for name, shape in shapes.items()}, used)
    if mismatch is not None:
        raise InputError(
            f"{weights}: expected torchvision's VGG-16 state dict (features.0.weight, ...), got one with {mismatch}."
        )
    refuse_odd_numbers(used, weights)
    return {name: tensor.detach().to(torch.float32) for name, tensor in used.items()}


def _download_imagenet() -> dict[str, Any]:
    # Imported here: torchvision takes a second to import and only this choice of weights needs it.
    from torchvision.models import VGG16_Weights

    return download_state_dict(VGG16_Weights.IMAGENET1K_V1, "VGG-16", 'or choose weights="random"')


def _calibration_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Two images ``(1, 3, 64, 64)`` in [0, 1]: means of seeded noise on grids of 4, 8, ..., 64 cells, so that coarse
    structure and fine texture weigh alike."""
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros(2, 3, _CALIBRATION_SIZE, _CALIBRATION_SIZE)
    cells = [4, 8, 16, 32, 64]
    for count in cells:
        noise = torch.rand(2, 3, count, count, generator=generator)
        images += F.interpolate(noise, size=_CALIBRATION_SIZE, mode="bilinear", align_corners=False) / len(cells)
    return images[:1], images[1:]
