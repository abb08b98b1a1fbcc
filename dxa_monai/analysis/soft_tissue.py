"""How fat lies in a body: what is carried on from soft pixels to those where bone hides it.

In limbs and head fat is a layer around lean tissue. In a circular cross-section of radius r with a layer of thickness
t, the fat along the beam rises from the middle to the sides, but

    (fat + lean)^2 - (lean / (1 - s))^2 = 4 (2 r t - t^2)                                            (1)

is the same everywhere (in an ellipse too), with s the share of fat inside of the layer, between and in the muscles:
that is carried on there. In the trunk, with fat inside and air in the lungs, it is not, and fat itself is carried on.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from dxa_monai.physics.forward import gaussian_blur

_ENVELOPE_MM = 65.0  # about as wide as a limb
_CROTCH = (0.50, 0.54)
"""Share of the length from crown to toes, toes pointed, above which is trunk and below which are legs: the crotch lies
at 0.47 of the stature (children: 0.45) from the sole, and pointed toes add a fourteenth."""
_ENVELOPE_EVERY = 2
"""Columns are half as far apart as rows: every other one is enough."""
_MUCH_THICKER = 1.4
_OUTSIDE = -100.0  # what air counts as in the envelope's quantile
FAT_OF_MUSCLE = 0.04
"""s of equation (1): where it leaves no error behind the bones of arms and legs of 32 virtual people, who hold 5 % or
more by volume; lean muscle holds 1 to 2 %, and there is fat between the muscles."""
_TRUNK_BLUR_MM = 80.0
_TRUNK_COVERAGE = (0.75, 0.9)
"""A pixel counts as limb below the first and as trunk above the second share of body in its surroundings."""


def fields_of_fat(soft: torch.Tensor, lean_noise: torch.Tensor) -> torch.Tensor:
    """What can be carried on: the shell (1) and fat itself, ``(B, 2, H, W)``.

    Args:
        soft: ``(B, 2, H, W)`` fat and lean in g/cm2 of the decomposition without bone.
        lean_noise: ``(B, 1, H, W)`` standard deviation of lean; the square of a noisy value is too large by its square.
    """
    fat, lean = soft[:, :1], soft[:, 1:]
    inside = (lean**2 - lean_noise**2) / (1.0 - FAT_OF_MUSCLE) ** 2
    return torch.cat([(fat + lean) ** 2 - inside, fat], dim=1)


def fat_of_fields(fields: torch.Tensor, soft: torch.Tensor, trunk: torch.Tensor) -> torch.Tensor:
    """Fat of every pixel, ``(B, 1, H, W)`` in g/cm2, from :func:`fields_of_fat` as they were carried on.

    The shell needs the pixel's total. That of the decomposition without bone serves: bone shifts much of fat into lean
    but hardly changes their sum.

    Args:
        fields: ``(B, 2, H, W)``.
        soft: ``(B, 2, H, W)``.
        trunk: ``(B, 1, H, W)`` of :func:`trunk_share`.
    """
    total = soft.sum(dim=1, keepdim=True).clamp_min(0.0)
    shell = torch.minimum(fields[:, :1].clamp_min(0.0), total**2)
    # The square root has no finite slope at 0, where all is fat.
    layers = total - (1.0 - FAT_OF_MUSCLE) * torch.sqrt((total**2 - shell).clamp_min(1e-4))
    return torch.lerp(layers, fields[:, 1:].clamp_min(0.0), trunk.to(layers.dtype))


def trunk_share(body: torch.Tensor, pixel_spacing_mm: tuple[float, float]) -> torch.Tensor:
    """1 in the trunk, 0 in limbs and head, between them where they meet: by how much of the surroundings is body.

    Thighs that touch have as much body around them as a trunk. They lie in the lower half of a body that is seen whole.

    Args:
        body: ``(B, 1, H, W)`` bool.
        pixel_spacing_mm: distance between rows and between columns.
    """
    inside = body.float()
    coverage = gaussian_blur(inside, (_TRUNK_BLUR_MM / pixel_spacing_mm[0], _TRUNK_BLUR_MM / pixel_spacing_mm[1]))
    limb, trunk = _TRUNK_COVERAGE
    share = ((coverage - limb) / (trunk - limb)).clamp(0.0, 1.0) * inside
    return share * (1.0 - _leg_share(body))


def _leg_share(body: torch.Tensor) -> torch.Tensor:
    """``(B, 1, H, 1)``: 0 above the crotch and 1 below, by where it lies along a body; 0 for one that is not whole."""
    above, below = _CROTCH
    return ((along_body(body) - above) / (below - above)).clamp(0.0, 1.0)


def along_body(body: torch.Tensor) -> torch.Tensor:
    """``(B, 1, H, 1)``: 0 at the crown and 1 at the toes of a body that is seen whole; 0 for one that is not.

    Args:
        body: ``(B, 1, H, W)`` bool.
    """
    occupied = body.any(dim=3, keepdim=True)
    rows = torch.arange(body.shape[2], device=body.device, dtype=torch.float32)[None, None, :, None]
    top = torch.where(occupied, rows, torch.inf).amin(dim=2, keepdim=True)
    bottom = torch.where(occupied, rows, -torch.inf).amax(dim=2, keepdim=True)
    whole = (top > 0) & (bottom < body.shape[2] - 1) & (bottom > top)
    along = (rows - top) / (bottom - top).clamp_min(1.0)
    return torch.where(whole, along, torch.zeros_like(along))


def upper_envelope(
    fields: torch.Tensor,
    total: torch.Tensor,
    body: torch.Tensor,
    quantile: float,
    pixel_spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """A first guess behind bone, which reads as too little fat: a high quantile of the surroundings.

    Surroundings that are much thicker are another part of the body (the trunk beside an arm) and do not count.

    Args:
        fields: ``(B, C, H, W)``.
        total: ``(B, 1, H, W)`` fat and lean in g/cm2.
        body: ``(B, 1, H, W)`` bool.
        quantile: 0 to 1.
        pixel_spacing_mm: distance between rows and between columns.

    Returns:
        ``(B, C, H, W)`` without gradient, not negative: in the skull, all of which is bone, even the best pixels read
        less than no fat.
    """
    rows, columns = (max(1, round(_ENVELOPE_MM / 2.0 / spacing)) for spacing in pixel_spacing_mm)
    every = _ENVELOPE_EVERY
    near_body = F.max_pool2d(body.to(fields.dtype), 2 * every + 1, 1, every)[:, 0, :, ::every] > 0

    def windows(image: torch.Tensor) -> torch.Tensor:
        """``(C, N, K)`` surroundings of the pixels of every other column that are in or beside the body."""
        padded = F.pad(image, (columns, columns, rows, rows), value=_OUTSIDE)
        views = padded.unfold(2, 2 * rows + 1, 1).unfold(3, 2 * columns + 1, every)[..., ::every]
        return views.movedim(1, 0)[:, near_body].flatten(2)

    values = windows(torch.where(body, fields, torch.full_like(fields, _OUTSIDE)))
    here = total[..., ::every].movedim(1, 0)[:, near_body, None]
    values = values.masked_fill(windows(total) > _MUCH_THICKER * here, _OUTSIDE)
    rank = round(quantile * (values.shape[-1] - 1)) + 1
    sampled = fields.new_zeros(fields.shape[1], *near_body.shape)
    sampled[:, near_body] = _kth_smallest(values, rank)
    envelope = F.interpolate(sampled.movedim(0, 1), size=fields.shape[-2:], mode="bilinear", align_corners=False)
    return torch.where(body, envelope.clamp_min(0.0), torch.zeros_like(envelope))


def _kth_smallest(values: torch.Tensor, rank: int) -> torch.Tensor:
    """The value at place ``rank``, counted from 1, along the last axis; without gradient."""
    values = values.detach()
    if values.device.type == "cpu":  # numpy's selection takes a sixth of the time of torch's
        return torch.from_numpy(np.partition(values.numpy(), rank - 1, axis=-1)[..., rank - 1].copy())
    return values.kthvalue(rank, dim=-1).values
