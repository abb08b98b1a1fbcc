"""Maps of fat, lean and bone mineral from the shape of a body, and what its regions hold: no image is analysed."""

# No ``from __future__ import annotations`` here, so that TorchScript can read the annotations.
from collections.abc import Sequence

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import OVERLAPPING_REGIONS, SUMMED_REGIONS, SUMS

MATERIALS = 3
"""Fat, lean, bone mineral: the first three of ``SUMS``."""


class MaterialPath(nn.Module):
    r"""Areal densities and regions' sums by ridge regression from components of shape (:class:`ShapePath`).

    An image that is right on average is blurred where bodies lie differently, and its analysis takes blurred bone for
    soft tissue. A sum does not mind: it is linear in the maps, and so is ridge regression, so the sum of regressed maps
    is the regressed sum. With u the components of shape, m the mean maps, V a few components of the regressed maps
    (reduced-rank regression [1]_) and A the area of a pixel,

    .. math:: s = b + W_s u, \qquad \hat a = m + V^T W u, \qquad
              a = \hat a + \frac{m}{A \sum m} \Big(S - A \sum \hat a\Big)

    where S is what all regions in s hold of each material; the last term gives back what V leaves out of the sums. The
    regions of s are each person's own, found in their scans: they do not follow from the maps. Nothing here is trained;
    until it is fitted (:func:`dxa_monai.training.material_start.fit_materials`), maps and sums are zero.

    Maps are those of bodies that lie as they are expected to, in g/cm2, not clamped: what is left of nothing may be
    slightly below zero, without which sums would be too large.

    Args:
        shape_components: numbers of u.
        components: of the maps, K.
        spatial_shape: rows and columns of a map.

    Raises:
        InputError: a number out of its range.

    References:
        .. [1] Izenman AJ. Reduced-rank regression for the multivariate linear model. J Multivar Anal 5:248 (1975),
           doi:10.1016/0047-259X(75)90042-1.
    """

    mean: torch.Tensor
    components: torch.Tensor

    def __init__(self, shape_components: int, components: int, spatial_shape: Sequence[int]) -> None:
        super().__init__()
        if shape_components < 1 or components < 1:
            raise InputError(
                "material_components: expected at least one component of the maps, and a shape path to predict them "
                f"from, got {components} and {shape_components} components of shape."
            )
        rows, columns = (int(size) for size in spatial_shape)
        self.pixel_area_cm2 = pixel_area_cm2()
        self.regions, self.quantities = len(SUMMED_REGIONS), len(SUMS)
        self.apart = self.regions - len(OVERLAPPING_REGIONS)
        self.register_buffer("mean", torch.zeros(MATERIALS, rows, columns))
        self.register_buffer("components", torch.zeros(components, MATERIALS, rows, columns))
        self.readout = KernelReadout(shape_components, components)
        self.held = KernelReadout(shape_components, self.regions * self.quantities)

    def forward(self, shape_codes: torch.Tensor) -> torch.Tensor:
        """Areal densities of fat, lean and bone mineral in g/cm2, ``(B, 3, H, W)``, of u ``(B, shape_components)``."""
        maps = torch.einsum("bk,kmhw->bmhw", self.readout(shape_codes), self.components) + self.mean
        wanted = self.sums(shape_codes)[:, : self.apart, : self.mean.shape[0]].sum(dim=1)
        missing = wanted - self.pixel_area_cm2 * maps.sum(dim=(2, 3))
        mass = (self.pixel_area_cm2 * self.mean.sum(dim=(1, 2))).clamp_min(1.0)
        return maps + self.mean * (missing / mass)[:, :, None, None]

    def sums(self, shape_codes: torch.Tensor) -> torch.Tensor:
        """What each region holds, ``(B, SUMMED_REGIONS, SUMS)``, of u (:func:`~dxa_monai.scan.regions.totals_of_sums`).

        In g and cm2.
        """
        return self.held(shape_codes).reshape(-1, self.regions, self.quantities)
