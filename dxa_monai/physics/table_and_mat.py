"""What lies in the beam of every scan: the table and the mat on it.

Each is a stack of layers with areal densities a_k, of which a pixel has the amount t (1 where it is as stated), so the
body's exponent grows by t sum_k a_k mu_k(E): the beam is hardened by table and body together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.physics.acquisition_parameters import AcquisitionParameters
from dxa_monai.physics.attenuation import Layers, mass_attenuation_cm2_g


def stacks(parameters: AcquisitionParameters) -> tuple[Layers, ...]:
    """What there is of table and mat, in that order."""
    return tuple(stack for stack in (parameters.table, parameters.mat) if stack)


def stack_attenuation(layers: Layers, energy_kev: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Nepers ``(E,)`` of layers in g/cm2 at each energy."""
    nepers = [areal * mass_attenuation_cm2_g(name, energy_kev) for name, areal in layers]
    return np.sum(nepers, axis=0)


def stack_amounts(
    parameters: AcquisitionParameters, columns: int, mat_g_cm2: torch.Tensor | None = None
) -> torch.Tensor | None:
    """Amount of each of :func:`stacks` in each pixel, 1 where it has the areal density that is stated.

    Args:
        parameters: the scanner.
        columns: of the scan.
        mat_g_cm2: ``(B, H, W)`` to be added to the mat.

    Returns:
        float64 ``(B or 1, K, H or 1, W * parts)`` with ``subpixels[1]`` parts of every column; None without a stack.
    """
    parts = parameters.subpixels[1]
    amounts = []
    covered = _coverage(parameters, columns, parts)[None, None, None]
    if parameters.table:
        # -1 and 1 in the middle of the outermost columns.
        across = _centres(columns, parts) / max((columns - 1) / 2.0, 0.5)
        amounts.append(covered * (1.0 + parameters.table_profile * across**2))
    if parameters.mat:
        mat = covered
        if mat_g_cm2 is not None:
            stated = sum(areal for _, areal in parameters.mat)
            uneven = (1.0 + mat_g_cm2.to("cpu", torch.float64) / stated).clamp_min(0.0)
            mat = covered * uneven.repeat_interleave(parts, dim=-1)[:, None]
        amounts.append(mat)
    if not amounts:
        return None
    return torch.cat(torch.broadcast_tensors(*amounts), dim=1)


def _centres(columns: int, parts: int) -> torch.Tensor:
    """Middle of every part of every column, in columns from the middle of the field."""
    return (torch.arange(columns * parts, dtype=torch.float64) + 0.5) / parts - columns / 2.0


def _coverage(parameters: AcquisitionParameters, columns: int, parts: int) -> torch.Tensor:
    """Share ``(W * parts,)`` of every part of a column with the table under it."""
    if parameters.table_width_mm is None:
        return torch.ones(columns * parts, dtype=torch.float64)
    edge = parameters.table_width_mm / parameters.pixel_spacing_mm[1] / 2.0
    left = _centres(columns, parts) - 0.5 / parts
    return ((left + 1.0 / parts).clamp_max(edge) - left.clamp_min(-edge)).clamp_min(0.0) * parts
