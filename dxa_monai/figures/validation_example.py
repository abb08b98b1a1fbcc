"""What the best network of a training makes of one scan that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from monai.utils.enums import CommonKeys

from dxa_monai.figures.arm_comparison import comparison_figure
from dxa_monai.networks.checkpoint import load_network
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.vae import DXAVAE

_DPI = 100


@torch.no_grad()
def validation_figure(checkpoint: str | Path, item: Mapping[str, torch.Tensor], path: str | Path) -> Path | None:
    """Write the scan, what the network makes of it, and the error.

    Args:
        checkpoint: file of the network.
        item: of its validation: ``image`` is what it reads, ``label``, where it is there, the scan to be predicted.
        path: image file.

    Returns:
        ``path``; None for a network that makes no scans.

    Raises:
        InputError: see :func:`dxa_monai.networks.checkpoint.load_network`.
    """
    network = load_network(checkpoint)
    if not isinstance(network, DXAVAE | PseudoDXA):
        return None
    image = torch.as_tensor(item[CommonKeys.IMAGE])[None]
    made = network.reconstruct(image) if isinstance(network, DXAVAE) else network.predict(image)
    target = torch.as_tensor(item.get(CommonKeys.LABEL, item[CommonKeys.IMAGE]))
    return comparison_figure(target.numpy(), {"best network": made[0].numpy()}, path, dpi=_DPI)
