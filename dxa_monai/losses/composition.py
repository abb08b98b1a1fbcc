"""The composition loss: what a reconstruction says about fat, lean and bone, against what the scan says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.analysis.bone import decompose, find_bone
from dxa_monai.distributed import mean_over_processes
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.correction import ScanCorrection, find_correction
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model

SCALES_G_CM2 = (5.0, 5.0, 0.5)
"""Differences of fat, lean and bone mineral that count as 1: about their spread over the pixels of a body."""
MOST_SCALES = 4.0
"""A pixel's difference counts up to this many scales: at first, reconstructions are far from any body."""


class CompositionLoss(nn.Module):
    r"""Mean absolute difference of areal densities from the differentiable decomposition.

    With a_m the areal densities of :func:`dxa_monai.analysis.bone.decompose` and s_m ``SCALES_G_CM2``,

    .. math:: L = \frac{1}{3 |body|} \sum_{m, body} \min(|a_m(x) - a_m(y)| / s_m, \; 4)

    Both are taken through the correction of the target first, scan by scan: its zero, failed columns and stray signal
    (:mod:`dxa_monai.physics.correction`); a target without open air is taken as it reads. Body and bone masks are those
    of the target, held constant for both. Fat and lean follow from the small difference of two energies, so this loss
    sees what an L1 of the channels hardly does; outside of the body it sees no more than the correction does (the
    pixels next to it, and what scatters there if the model has scatter) and needs a pixel term beside it.

    Args:
        scanner_model: calibrated scanner, a file of one, or None for the nominal scanner.

    Raises:
        InputError: the file is no scanner model.
    """

    def __init__(self, scanner_model: ScannerModel | str | None = None) -> None:
        super().__init__()
        if isinstance(scanner_model, str):
            scanner_model = read_scanner_model(scanner_model)
        self.scanner_model = ScannerModel() if scanner_model is None else scanner_model

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's reconstruction against ``target``, both ``(B, 6, H, W)``."""
        with torch.autocast(target.device.type, enabled=False):
            prediction, target = output.reconstruction.float(), target.detach().float()
            with torch.no_grad():
                corrections = [find_correction(scan, self.scanner_model) for scan in target]
                corrected = _corrected(target, corrections)
                masks = find_bone(corrected, self.scanner_model)
                wanted = decompose(corrected, self.scanner_model, masks)
            made = decompose(_corrected(prediction, corrections), self.scanner_model, masks)
            scales = prediction.new_tensor(SCALES_G_CM2)[None, :, None, None]
            difference = ((made - wanted).abs() / scales).clamp_max(MOST_SCALES)
            # of all processes: the body's pixels in the whole batch, as if one process had it
            body = mean_over_processes(masks.body.sum().float()).clamp_min(1)
            return difference.sum() / (len(SCALES_G_CM2) * body)


def _corrected(scans: torch.Tensor, corrections: Sequence[ScanCorrection]) -> torch.Tensor:
    """Each scan of a batch by its own correction."""
    return torch.cat([each.apply(scan[None]) for scan, each in zip(scans, corrections, strict=True)])
