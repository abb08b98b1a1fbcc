"""Networks as programs of ``torch.export``, which run in PyTorch without any of this project's code."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from dxa_monai.networks.checkpoint import Network
from dxa_monai.networks.landmark_grid import CHANNEL_NAMES, LandmarkGrid
from dxa_monai.networks.landmark_net import LandmarkNetwork
from dxa_monai.networks.pseudo_dxa import POINT_ROWS, PseudoDXA
from dxa_monai.networks.single_output import PredictedScan, Reconstruction
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE

_EXAMPLES = 2
"""A batch of one would be taken for one that always is."""


class Exportable(NamedTuple):
    """What can be exported of a network.

    Attributes:
        module: of one input and one output, in evaluation mode, its weights without gradients.
        example: an input; all but the first of its sizes are those of every input.
    """

    module: nn.Module
    example: torch.Tensor


def exportable(network: Network, points: int) -> Exportable:
    """The part of a network that maps its input to its answer.

    A DXA-VAE answers with the reconstruction, a regressor with the measures in their units, a mesh-to-scan network with
    the scan, a network of landmarks with its logits in the cells of the default field. Scans are counts / 16383,
    ``(B, channels, H, W)``; the cells are those of :mod:`dxa_monai.networks.landmark_grid`.

    Args:
        network: put into evaluation mode, and its weights lose their gradients.
        points: of each body, ``(B, 7, points)``, where the input is points.
    """
    network.eval().requires_grad_(False)
    if isinstance(network, PseudoDXA):
        return Exportable(PredictedScan(network), torch.rand(_EXAMPLES, POINT_ROWS, points))
    if isinstance(network, LandmarkNetwork):
        cells = LandmarkGrid(SCAN_SHAPE, PIXEL_SPACING_MM, network.cell_mm).shape
        return Exportable(network, torch.rand(_EXAMPLES, len(CHANNEL_NAMES), *cells))
    architecture = network.architecture()
    scans = torch.rand(_EXAMPLES, architecture["in_channels"], *architecture["spatial_shape"])
    return Exportable(Reconstruction(network) if isinstance(network, DXAVAE) else network, scans)


def exported_program(of: Exportable) -> ExportedProgram:
    """The program of a module, for any number of scans or bodies at once."""
    with torch.no_grad():
        return torch.export.export(of.module, (of.example,), dynamic_shapes=({0: Dim("batch")},), strict=False)


def loaded_program(path: str | Path) -> nn.Module:
    """A program that was saved by ``torch.export.save``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")  # of a file, which nobody writes to
        return torch.export.load(path).module()
