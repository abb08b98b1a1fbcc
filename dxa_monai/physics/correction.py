"""From what a scanner wrote to what its primary beam says of the body: zero, failed columns, stray signal, shift.

Everything behind this (bone, decomposition, regions) takes scans in which open air reads exactly what the scanner's
model says it does: 0 in the air segment's channels, the wheel's attenuation in the others. :func:`find_correction`
reads all that it needs from the scan itself and from the model; :meth:`ScanCorrection.apply` is differentiable, so that
a network's output can be taken through the correction of its target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from dxa_monai.errors import InputError
from dxa_monai.physics.columns import fill_columns, find_dead_columns
from dxa_monai.physics.registration import EnergyShift, believed_shift_mm, energy_shift, shift_back
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.stray import primary_signal
from dxa_monai.physics.zero import ENERGIES, Zero, find_zero
from dxa_monai.scan.format import FULL_SCALE_COUNTS, PIXEL_SPACING_MM, checked_zero_counts
from dxa_monai.threads import one_thread

FloatArray = npt.NDArray[np.float64]

_LIMIT_NEPERS = (-0.5, 12.0)
_MIXED_SHARE = 0.7
"""Of the second-order term of a mixed pixel. Neighbours differ by more than the two halves of what lies between them
where a body has rims and ridges: on 4 x 4 sub-pixels of 24 virtual people 0.77 would be right for total fat, and 0
where pixels are not mixed at all, as in a simulation that takes the exponential of a pixel's mean."""
_MOST_MIXED_NEPERS = 0.1
"""Of a pixel whose neighbours differ by 3 nepers: beyond, it is an edge, not a slope."""


@dataclass(frozen=True)
class ScanCorrection:
    """How one scan is corrected.

    Attributes:
        model: the scanner.
        zero: what was found in the open air.
        zero_image_nepers: ``(6, H, W)`` what is subtracted: that of ``zero``, or a declared one.
        zero_declared: whether it was declared.
        dead_columns: columns that are filled in from their neighbours.
        energy_shift_mm: how far along rows and columns the low-energy channels are moved back.
        measured_shift: what this scan alone says of that.
        saturated: ``(H, W)`` bool, pixels of which a channel of the air segment is at its highest reading.
        wheel_nepers: ``(6,)`` attenuation of the wheel's segments that is added again, 0 for the air segment.
        pixel_spacing_mm: distance between rows and between columns.
    """

    model: ScannerModel
    zero: Zero
    zero_image_nepers: torch.Tensor
    zero_declared: bool
    dead_columns: tuple[int, ...]
    energy_shift_mm: tuple[float, float]
    measured_shift: EnergyShift
    saturated: torch.Tensor
    wheel_nepers: FloatArray
    pixel_spacing_mm: tuple[float, float]

    def apply(self, raw: torch.Tensor) -> torch.Tensor:
        """Corrected scans.

        Args:
            raw: ``(B, 6, H, W)`` in [0, 1], of the same scanner and place as the scan that the correction is of.

        Returns:
            ``(B, 6, H, W)``: log attenuation / full scale of the primary beam behind each segment of the wheel; air
            scatters about 0 in the air segment. Differentiable.
        """
        full_scale = self.model.full_scale_nepers
        above = fill_columns(raw, self.dead_columns) * full_scale - self.zero_image_nepers.to(raw)
        above = shift_back(above, self.energy_shift_mm, self.pixel_spacing_mm)
        above = self._without_table_edge(above)
        wheel = torch.from_numpy(self.wheel_nepers).to(raw)[:, None, None]
        if not self.model.stray.none:
            air = torch.from_numpy(self.zero.air).to(raw.device)
            signal = torch.exp(-above.clamp(*_LIMIT_NEPERS))
            behind = torch.exp(-wheel[:, 0, 0])
            above = -torch.log(primary_signal(signal, behind, self.model.stray, air, self.pixel_spacing_mm))
        return (_mean_of_mixed_pixels(above) + wheel) / full_scale

    def _without_table_edge(self, above: torch.Tensor) -> torch.Tensor:
        """Beside the table's edge the zero is not known: nothing is measured there."""
        first, stop = self.zero.table_columns
        if (first, stop) == (0, above.shape[-1]):
            return above
        kept = torch.zeros(above.shape[-1], dtype=torch.bool, device=above.device)
        kept[first:stop] = True
        return torch.where(kept, above, torch.zeros_like(above))


def _mean_of_mixed_pixels(nepers: torch.Tensor) -> torch.Tensor:
    """Mean log attenuation of pixels whose signal is a mean: a pixel averages exp(-y), not y.

    To second order -ln mean exp(-y) = mean y - var(y) / 2, and where y changes by g from pixel to pixel its variance
    within one is g^2 / 12.
    """
    padded = F.pad(nepers, (1, 1, 1, 1), mode="replicate")
    along_columns = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2.0
    along_rows = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2.0
    variance = (along_columns.square() + along_rows.square()) / 12.0
    return nepers + (_MIXED_SHARE * variance / 2.0).clamp_max(_MOST_MIXED_NEPERS)


@one_thread()
def find_correction(
    raw: torch.Tensor,
    model: ScannerModel,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
    zero_counts: Sequence[float] | None = None,
    wheel_nepers: FloatArray | None = None,
) -> ScanCorrection:
    """How a scan of this scanner is to be corrected. Nothing is refused: look at the zero's air before it is believed.

    Args:
        raw: ``(6, H, W)`` in [0, 1].
        model: the scanner.
        pixel_spacing_mm: distance between rows and between columns.
        zero_counts: what each of the six channels reads in open air, if the user declares it. None: found in the scan.
        wheel_nepers: ``(6,)`` attenuation of the wheel's segments; None: the model's.

    Raises:
        InputError: ``raw`` has less than two rows or columns or is not finite, or ``zero_counts`` are not six numbers
            in 0..16383.
    """
    not_finite = int((~torch.isfinite(raw)).sum())
    if min(raw.shape[1:]) < 2 or not_finite:
        raise InputError(
            f"raw: expected finite numbers in two or more rows and columns, got shape {tuple(raw.shape)} "
            f"with {not_finite} that are not finite."
        )
    columns = find_dead_columns(raw, model.full_scale_nepers)
    filled = fill_columns(raw, columns)
    zero = find_zero(filled.detach().cpu().numpy(), model.full_scale_nepers)
    if zero_counts is None:
        image = zero.image_nepers()
    else:
        declared = np.array(checked_zero_counts(zero_counts)) / FULL_SCALE_COUNTS * model.full_scale_nepers
        image = np.broadcast_to(declared[:, None, None], raw.shape)
    zero_image = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    above = filled * model.full_scale_nepers - zero_image.to(filled)
    measured = energy_shift(above, pixel_spacing_mm)
    shift = believed_shift_mm([measured], model.energy_shift_mm)
    saturated = (filled[: len(ENERGIES)] >= 1.0 - 0.5 / FULL_SCALE_COUNTS).any(dim=0)
    wheel = model.wheel_nepers if wheel_nepers is None else wheel_nepers
    return ScanCorrection(
        model,
        zero,
        zero_image,
        zero_counts is not None,
        columns,
        shift,
        measured,
        saturated,
        wheel,
        pixel_spacing_mm,
    )
