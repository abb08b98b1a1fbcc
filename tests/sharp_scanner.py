"""A scanner whose scans need no correction: the default one's beam and wheel, and nothing that mixes pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.acquisition_parameters import IDEAL
from dxa_monai.physics.scanner_model import ScannerModel


def sharp_scanner(**changes: Any) -> Acquisition:
    """The default scanner without table, zero, scatter, blur, sub-pixels or drift.

    Args:
        **changes: parameters by name.
    """
    wheel = {name: getattr(Acquisition(), name) for name in ("bone_segment", "tissue_segment")}
    return Acquisition.ideal(**{**wheel, **changes})


def clean(acquisition: Acquisition, areal: torch.Tensor, model: ScannerModel) -> torch.Tensor:
    """What the corrected channels of a scanner read behind bodies, pixel by pixel and without noise."""
    beam = {name: getattr(acquisition, name) for name in ("bone_segment", "tissue_segment", "table", "mat")}
    sharp = dataclasses.replace(acquisition, **{**IDEAL, **beam})
    above = sharp.forward(areal) - sharp.forward(torch.zeros_like(areal))
    return above + torch.from_numpy(model.wheel_nepers)[:, None, None] / model.full_scale_nepers
