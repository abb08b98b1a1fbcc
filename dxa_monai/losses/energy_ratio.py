"""The energy ratio in the window that tells fat from lean: an L1 of R that pulls where a perceptual term does not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dxa_monai.distributed import mean_over_processes
from dxa_monai.errors import InputError
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.calibration import above_air, air_level, body_mask
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.soft_tissue_window import soft_tissue_window
from dxa_monai.scan.format import FULL_SCALE_NEPERS, HIGH_CHANNELS, LOW_CHANNELS

FAT_LEAN_DISTANCE = 0.07
"""Between fat and lean tissue in R on the virtual scanner: 1.19 and 1.26 behind 15 g/cm2."""
MOST_DISTANCES = 8.0
"""A pixel's difference counts up to this many distances: at first, reconstructions are far from any body."""


class EnergyRatioLoss(nn.Module):
    r"""Mean absolute difference of the energy ratio R = low / high inside the target's body, in units of a window.

    With R_s the ratio behind segment s of the wheel (air, bone, tissue), of what lies above the level of the target's
    open air in the air segment (:func:`dxa_monai.physics.calibration.above_air`), and w the window,

    .. math:: L = \frac{1}{3 |body|} \sum_{s, body} \min(|R_s(x) - R_s(y)| / w, \; 8)

    so that 1 is the difference between pure fat and pure lean tissue. Fat and lean lie a few percent of R apart: where
    R is scaled to its whole range (1 to 3), that difference hardly counts. It does not depend on the scanner's zero
    either, which would pull all R of readings as they are towards one value. A target without open air has too high a
    level (:func:`dxa_monai.physics.calibration.air_level`) and little body.

    Args:
        window: difference of R that counts as 1, in every pixel; None: that of pure lean and pure fat tissue at the
            target pixel's thickness, segment by segment
            (:class:`dxa_monai.physics.soft_tissue_window.SoftTissueWindow`).
        mask_threshold_nepers: of the target's body mask, above its air; half of it is the smallest denominator.
        scanner_model: whose window it is, a model or a file of one; None: the nominal scanner's.

    Raises:
        InputError: a number that is not positive, a scanner beside a window that is a number, or one that does not tell
            fat from lean.
    """

    def __init__(
        self,
        window: float | None = FAT_LEAN_DISTANCE,
        mask_threshold_nepers: float = 0.5,
        scanner_model: ScannerModel | str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("window", window), ("mask_threshold_nepers", mask_threshold_nepers)):
            if value is not None and not value > 0:
                raise InputError(f"{name}: expected a positive number, got {value}.")
        self.window = window
        self.mask_threshold_nepers = mask_threshold_nepers
        if window is not None and scanner_model is not None:
            raise InputError(f"scanner_model: expected none beside a window that is a number, got window {window}.")
        self.soft_tissue = soft_tissue_window(scanner_model) if window is None else None

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's reconstruction against a target, both ``(B, 6, H, W)``."""
        level = air_level(target)
        body = body_mask(target, self.mask_threshold_nepers, level=level)
        made, wanted = (above_air(scans, level) for scans in (output.reconstruction, target))
        difference = (self._ratios(made) - self._ratios(wanted)).abs() / self._window_of(wanted)
        # of all processes: the body's pixels in the whole batch, as if one process had it
        pixels = mean_over_processes(body.sum().float()).clamp_min(1)
        return (difference.clamp_max(MOST_DISTANCES) * body).sum() / (len(LOW_CHANNELS) * pixels)

    def as_dict(self) -> dict[str, Any]:
        """What the record of a run should tell."""
        return {"window": "soft_tissue" if self.window is None else self.window}

    def _window_of(self, wanted: torch.Tensor) -> torch.Tensor | float:
        """The difference of R that counts as 1, a number or ``(B, 3, H, W)``."""
        if self.soft_tissue is None:
            return self.window or 1.0
        fat, lean = self.soft_tissue.of_channels(wanted[:, HIGH_CHANNELS[:1]] * FULL_SCALE_NEPERS)
        return lean - fat

    def _ratios(self, above: torch.Tensor) -> torch.Tensor:
        """R behind each segment, ``(B, 3, H, W)``, of what lies above the air."""
        smallest = 0.5 * self.mask_threshold_nepers / FULL_SCALE_NEPERS
        return above[:, list(LOW_CHANNELS)] / above[:, list(HIGH_CHANNELS)].clamp_min(smallest)
