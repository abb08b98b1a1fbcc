"""The composition loss: what a reconstruction says about fat, lean and bone, against what the scan says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import nn

from dxa_monai.analysis.bone import decompose, find_bone
from dxa_monai.distributed import mean_over_processes
from dxa_monai.errors import InputError
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.correction import ScanCorrection, find_correction
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model
from dxa_monai.physics.zero import find_zero

SCALES_G_CM2 = (5.0, 5.0, 0.5)
"""Differences of fat, lean and bone mineral that count as 1: about their spread over the pixels of a body."""
MOST_SCALES = 4.0
"""A pixel's difference counts up to this many scales: at first, reconstructions are far from any body."""

_SHOWN = 5
"""Scans that an error names."""


class CompositionLoss(nn.Module):
    r"""Mean absolute difference of areal densities from the differentiable decomposition.

    With a_m the areal densities of :func:`dxa_monai.analysis.bone.decompose` and s_m ``SCALES_G_CM2``,

    .. math:: L = \frac{1}{3 |body|} \sum_{m, body} \min(|a_m(x) - a_m(y)| / s_m, \; 4)

    Both are taken through the correction of the target first, scan by scan: its zero, failed columns and stray signal
    (:mod:`dxa_monai.physics.correction`); a training with scans without open air is refused. Body and bone masks are
    those of the target, held constant for both. Fat and lean follow from the small difference of two energies, so this
    loss sees what an L1 of the channels hardly does; outside of the body it sees no more than the correction does (the
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

    def prepare(self, batches: Iterable[Mapping[str, Any]]) -> None:
        """Look whether every training scan (``label``) shows open air, from which its maps are measured.

        Raises:
            InputError: scans without; those that a manifest should not name.
        """
        without: list[str] = []
        for batch in batches:
            labels = convert_to_tensor(batch["label"]).cpu().numpy()
            names = batch.get("scan_id", ["unnamed"] * len(labels))
            without += [
                str(name)
                for name, scan in zip(names, labels, strict=True)
                if not find_zero(scan, self.scanner_model.full_scale_nepers).enough_air
            ]
        if without:
            shown = ", ".join(sorted(without)[:_SHOWN]) + (", ..." if len(without) > _SHOWN else "")
            raise InputError(
                f"composition: expected open air beside the body in every training scan, without which no map of fat, "
                f"lean and bone can be made, got {len(without)} scans without ({shown}); leave them out of the data."
            )

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's reconstruction against ``target``, both ``(B, 6, H, W)``; NaN if that is not
        finite, so that the training stops and names its scans."""
        with torch.autocast(target.device.type, enabled=False):
            prediction, target = output.reconstruction.float(), target.detach().float()
            if not torch.isfinite(target).all():
                return prediction.sum() * torch.nan
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
