"""Calibrated stacks, R images and the body mask: arithmetic on raw scans that the loss, figures and analysis share.

Per pixel and energy let A, B, T be the air, bone and tissue channels. The wheel segments add cB = B - A and cT = T - A.
For each reference segment there are three calibrated images (Leong et al. 2022, arXiv:2206.06663):

    air group     A         B + cB    T + cT
    bone group    A + cB    B + cB    T + cB
    tissue group  A + cT    B + cT    T + cT

All are clipped to [1/16383, 1], one count to full scale, and R = low / high image by image. That bounds R by 1/16383
and 16383; in a body it lies between about 1 and 3. In the air group's R the air around the body is one count of noise
over another (any value possible), so mask it with :func:`body_mask`.
"""

from __future__ import annotations

import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, FULL_SCALE_COUNTS, FULL_SCALE_NEPERS, HIGH_CHANNELS, LOW_CHANNELS, SEGMENTS

KINDS = ("r", "high", "low")
STACKS = tuple(f"{segment}_{kind}" for segment in SEGMENTS for kind in KINDS)
"""air_r, air_high, air_low, bone_r, ... tissue_low: the order of the nine stacks."""

_AIR_HIGH, _AIR_LOW = CHANNELS.index("air_high"), CHANNELS.index("air_low")

SMALLEST = 1.0 / FULL_SCALE_COUNTS
"""One count; smaller values are raised to it so that R has a denominator."""

MASK_THRESHOLD_NEPERS = 0.02
"""Attenuation from which on a pixel is body: 0.1 g/cm2 of soft tissue, 15 standard deviations of the open beam's noise
at 3e5 photons a pixel, 48 at 3e6 (mean of the two air channels)."""


def stack_indices(kind: str) -> tuple[int, ...]:
    """Positions in ``STACKS`` of the stacks of one kind, in the order air, bone, tissue.

    Args:
        kind: "r", "high" or "low".

    Raises:
        InputError: another kind.
    """
    if kind not in KINDS:
        raise InputError(f"kind: expected one of {', '.join(KINDS)}, got '{kind}'.")
    return tuple(index for index, name in enumerate(STACKS) if name.endswith(f"_{kind}"))


def calibrated_stacks(raw: torch.Tensor) -> torch.Tensor:
    """The nine calibrated three-channel images of each scan.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1], channels as in :data:`dxa_monai.scan.format.CHANNELS`.

    Returns:
        ``(B, 9, 3, H, W)``: stacks in the order of ``STACKS``, each with its air, bone and tissue image. High and low
        lie in [1/16383, 1], R in [1/16383, 16383]; finite for finite input. Half precision is raised to float32,
        because the counts of a 14-bit scan do not fit into it. Gradients are zero where a value is clipped.

    Raises:
        InputError: another shape.
    """
    raw = _checked(raw)
    high = _calibrated(raw[:, list(HIGH_CHANNELS)])
    low = _calibrated(raw[:, list(LOW_CHANNELS)])
    return torch.stack((low / high, high, low), dim=2).flatten(1, 2)


def _calibrated(channels: torch.Tensor) -> torch.Tensor:
    """``(B, 3, H, W)`` A, B, T of one energy -> ``(B, 3, 3, H, W)``: group x image of the table above, clipped."""
    air, bone, tissue = channels.unbind(1)
    c_bone, c_tissue = bone - air, tissue - air
    air_group = (air, bone + c_bone, tissue + c_tissue)
    bone_group = (bone, bone + c_bone, tissue + c_bone)  # A + cB = B
    tissue_group = (tissue, bone + c_tissue, tissue + c_tissue)  # A + cT = T
    groups = [torch.stack(group, dim=1) for group in (air_group, bone_group, tissue_group)]
    return torch.stack(groups, dim=1).clamp(SMALLEST, 1.0)


def r_image(raw: torch.Tensor) -> torch.Tensor:
    """R of the air segment, low / high attenuation, each clipped to [1/16383, 1].

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1].

    Returns:
        ``(B, 1, H, W)`` in [1/16383, 16383]; about 1.2 in fat, 1.3 in lean tissue, 2 and more in bone mineral.

    Raises:
        InputError: another shape.
    """
    clipped = _checked(raw).clamp(SMALLEST, 1.0)
    return clipped[:, [_AIR_LOW]] / clipped[:, [_AIR_HIGH]]


def body_mask(
    raw: torch.Tensor,
    threshold_nepers: float = MASK_THRESHOLD_NEPERS,
    full_scale_nepers: float = FULL_SCALE_NEPERS,
) -> torch.Tensor:
    """Where the body is: the mean log attenuation of the two air channels exceeds a threshold.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1].
        threshold_nepers: raise it for a scanner whose table or mattress is not calibrated away.
        full_scale_nepers: what a raw value of 1 means.

    Returns:
        ``(B, 1, H, W)`` bool.

    Raises:
        InputError: another shape.
    """
    air = _checked(raw)[:, [_AIR_HIGH, _AIR_LOW]]
    return air.mean(dim=1, keepdim=True) * full_scale_nepers > threshold_nepers


def _checked(raw: torch.Tensor) -> torch.Tensor:
    if raw.ndim != 4 or raw.shape[1] != len(CHANNELS):
        raise InputError(f"raw: expected shape (B, {len(CHANNELS)}, H, W), got {tuple(raw.shape)}.")
    return raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
