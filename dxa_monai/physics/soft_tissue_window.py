"""Where soft tissue lies in R, the ratio of the energies: between pure fat and pure lean, at every thickness.

Beams harden: behind 3 g/cm2 of soft tissue fat and lean are 0.10 apart in R of the air segment, behind 35 g/cm2 0.04
(nominal scanner). A look at R that is to tell fat from lean therefore follows the thickness, for which the attenuation
of the high energy above the open air stands.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import BODY_MATERIALS
from dxa_monai.physics.calibration import calibrated_stacks, stack_indices
from dxa_monai.physics.forward import log_attenuation
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model
from dxa_monai.scan.format import CHANNELS, HIGH_CHANNELS, LOW_CHANNELS, SEGMENTS

_NEPERS = (0.1, 9.0)
"""Attenuation of the high energy for which the table is made; below and above counts as at its ends."""
_STEP_NEPERS = 0.05
_LARGEST_G_CM2 = 150.0
_SMALLEST_DISTANCE = 1e-3
"""Of fat and lean in R; below it a scanner tells no soft tissue apart."""


class SoftTissueWindow:
    """R of pure fat and of pure lean tissue behind each segment of the wheel, by the thickness of a pixel.

    Both are worked out once, from the model's own beam without noise and stray signal, and then looked up.

    Args:
        model: the scanner.

    Raises:
        InputError: fat and lean have one R on this scanner.
    """

    def __init__(self, model: ScannerModel) -> None:
        self.model = model
        steps = round((_NEPERS[1] - _NEPERS[0]) / _STEP_NEPERS)
        self.nepers = torch.linspace(*_NEPERS, steps + 1, dtype=torch.float64)
        self._above = torch.stack([_above_air(self.model, name, self.nepers) for name in ("fat", "lean")])
        distance = (self.channels[1] - self.channels[0]).min()
        if not float(distance) > _SMALLEST_DISTANCE:
            raise InputError(
                f"scanner_model: expected a scanner on which R of lean tissue lies above that of fat, got one on which "
                f"they are {float(distance):.4f} apart ({self.model.beam})."
            )

    @cached_property
    def channels(self) -> torch.Tensor:
        """``(2, G, 3)``: R of fat and of lean, by attenuation and segment, of the channels as they are."""
        return self._above[..., list(LOW_CHANNELS)] / self._above[..., list(HIGH_CHANNELS)]

    @cached_property
    def images(self) -> torch.Tensor:
        """``(2, G, 9)``: R of fat and of lean in the nine images of the three R stacks."""
        scans = (self._above / self.model.full_scale_nepers).flatten(0, 1)[..., None, None]
        return calibrated_stacks(scans)[:, list(stack_indices("r"))].reshape(2, len(self.nepers), -1)

    def of_channels(self, high_nepers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """R of fat and of lean behind each segment, ``(B, 3, H, W)`` each.

        Args:
            high_nepers: ``(B, 1, H, W)`` attenuation of the high energy above the air, in the air segment.
        """
        fat, lean = self._at(self.channels, high_nepers)
        return fat, lean

    def of_images(self, high_nepers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """R of fat and of lean in the R stacks, ``(B, 3, 3, H, W)`` each; see :meth:`of_channels`."""
        fat, lean = self._at(self.images, high_nepers)
        shape = (len(SEGMENTS), len(SEGMENTS))
        return fat.unflatten(1, shape), lean.unflatten(1, shape)

    def _at(self, table: torch.Tensor, high_nepers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows of a table ``(2, G, K)`` at attenuations, linear between them: twice ``(B, K, H, W)``."""
        with torch.no_grad():
            rows = table.to(high_nepers)
            place = ((high_nepers[:, 0] - _NEPERS[0]) / _STEP_NEPERS).clamp(0, len(self.nepers) - 1 - 1e-3)
            below = place.floor().long()
            part = (place - below).unsqueeze(-1)
            fat, lean = (torch.lerp(each[below], each[below + 1], part).movedim(-1, 1) for each in rows)
        return fat, lean


def soft_tissue_window(scanner_model: ScannerModel | str | None) -> SoftTissueWindow:
    """The window of a scanner: a model, a file of one, or None for the nominal scanner.

    Raises:
        InputError: the file is no scanner model, or fat and lean have one R on it.
    """
    if scanner_model is None:
        return _nominal_window()
    return SoftTissueWindow(read_scanner_model(scanner_model) if isinstance(scanner_model, str) else scanner_model)


@lru_cache(maxsize=1)
def _nominal_window() -> SoftTissueWindow:
    return SoftTissueWindow(ScannerModel())


def _above_air(model: ScannerModel, material: str, nepers: torch.Tensor) -> torch.Tensor:
    """``(G, 6)`` nepers above the air segment's open air behind as much of a material as attenuates the high energy so
    far."""
    attenuation, weights, _ = model.tensors(torch.float64, torch.device("cpu"))
    areal = torch.zeros(2000, len(BODY_MATERIALS), dtype=torch.float64)
    areal[:, BODY_MATERIALS.index(material)] = torch.linspace(0.0, _LARGEST_G_CM2, len(areal), dtype=torch.float64)
    channels = log_attenuation(areal, attenuation, weights)
    air = channels[0, [CHANNELS.index("air_high"), CHANNELS.index("air_low")] * len(SEGMENTS)]
    above = channels - air
    high = above[:, HIGH_CHANNELS[0]].contiguous()
    upper = torch.searchsorted(high, nepers).clamp(1, len(high) - 1)
    part = ((nepers - high[upper - 1]) / (high[upper] - high[upper - 1])).unsqueeze(-1)
    return torch.lerp(above[upper - 1], above[upper], part)
