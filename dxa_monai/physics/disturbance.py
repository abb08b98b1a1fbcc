"""What is different in every scan of a scanner besides its noise: drawn here, applied elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition_parameters import AcquisitionParameters


@dataclass(frozen=True, eq=False)
class Disturbance:
    """Random effects of a batch of B scans of H rows and W columns; None where there is none.

    Attributes:
        motion_mm: ``(B, passes, 2)`` displacement of the body in each pass, towards higher rows and columns.
        mat_g_cm2: ``(B, H, W)`` areal density that is added to the mat (what would fall below 0 in all is 0).
        row_gain: ``(B, 2, H)`` gain of the high-energy and of the low-energy signal in each row.
        column_gain: ``(B, W)`` gain of each detector column.
    """

    motion_mm: torch.Tensor | None = None
    mat_g_cm2: torch.Tensor | None = None
    row_gain: torch.Tensor | None = None
    column_gain: torch.Tensor | None = None

    def check(self, parameters: AcquisitionParameters, batch: int, shape: tuple[int, int]) -> None:
        """Refuse what does not fit the scans.

        Raises:
            InputError: a tensor of another shape, or an uneven mat where there is none.
        """
        rows, columns = shape
        for name, expected in {
            "motion_mm": (batch, parameters.passes, 2),
            "mat_g_cm2": (batch, rows, columns),
            "row_gain": (batch, 2, rows),
            "column_gain": (batch, columns),
        }.items():
            tensor = getattr(self, name)
            if tensor is not None and tuple(tensor.shape) != expected:
                raise InputError(f"disturbance.{name}: expected shape {expected}, got {tuple(tensor.shape)}.")
        if self.mat_g_cm2 is not None and not sum(areal for _, areal in parameters.mat) > 0:
            raise InputError("disturbance.mat_g_cm2: expected None without a mat, got a tensor.")


def draw_disturbance(
    parameters: AcquisitionParameters, batch: int, shape: tuple[int, int], generator: torch.Generator
) -> Disturbance:
    """Random effects with the amplitudes of a scanner. An effect of amplitude 0 draws nothing from the generator.

    Fields over rows and columns are normal with the correlation exp(-(d / correlation length)^2) at the distance d and
    the same standard deviation everywhere. Gains are the exponential of such numbers, so always positive.

    Args:
        parameters: the scanner.
        batch: number of scans; all draws are independent.
        shape: rows and columns.
        generator: source of the numbers, drawn in the order of the attributes of :class:`Disturbance`.

    Returns:
        float64 tensors on the CPU.
    """

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, device=generator.device, dtype=torch.float64).cpu()

    rows, columns = shape
    motion = mat = row_gain = column_gain = None
    if parameters.motion_mm > 0 and parameters.passes > 1:
        later = normal(batch, parameters.passes - 1, 2) * parameters.motion_mm
        motion = torch.cat((later.new_zeros(batch, 1, 2), later), dim=1)  # the first pass says where the body lies
    if parameters.mat_unevenness_g_cm2 > 0:
        along, across = parameters.in_pixels(parameters.mat_correlation_mm)
        smooth = _correlating(rows, along) @ normal(batch, rows, columns) @ _correlating(columns, across).T
        mat = parameters.mat_unevenness_g_cm2 * smooth
    amplitude = torch.tensor([parameters.drift_high, parameters.drift_low], dtype=torch.float64)
    if amplitude.any():
        along, _ = parameters.in_pixels(parameters.drift_correlation_mm)
        row_gain = torch.exp(amplitude[:, None] * (normal(batch, 2, rows) @ _correlating(rows, along).T))
    if parameters.column_gain_sd > 0:
        column_gain = torch.exp(parameters.column_gain_sd * normal(batch, columns))
    return Disturbance(motion, mat, row_gain, column_gain)


@lru_cache(maxsize=16)
def _correlating(length: int, correlation_pixels: float) -> torch.Tensor:
    """Symmetric root ``(L, L)`` of the correlation matrix: it turns independent numbers into a smooth field."""
    # Made outside of any inference mode, as it is kept.
    with torch.inference_mode(False):
        position = torch.arange(length, dtype=torch.float64)
        correlation = torch.exp(-(((position[:, None] - position) / correlation_pixels) ** 2))
        values, vectors = torch.linalg.eigh(correlation)
        return (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
