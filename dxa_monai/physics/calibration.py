"""Calibrated stacks, R images, air level and body mask: arithmetic on raw scans that loss, figures and analysis share.

Per pixel and energy let A, B, T be the air, bone and tissue channels. The wheel segments add cB = B - A and cT = T - A.
For each reference segment there are three calibrated images (Leong et al. 2022, arXiv:2206.06663):

    air group     A         B + cB    T + cT
    bone group    A + cB    B + cB    T + cB
    tissue group  A + cT    B + cT    T + cT

All are clipped to [1/16383, 1], one count to full scale, and R = low / high image by image. That bounds R by 1/16383
and 16383; in a body it lies between about 1 and 3.

Readings lie above a zero (electronics, table, mat), which dilutes R of the readings as they are: a ratio of
attenuations is that of what is above it (:func:`above_air`). A zero that all segments share cancels in cB and cT. Where
nothing attenuates, R is one count of noise over another (any value possible), so mask it with :func:`body_mask`.
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

_AIR_NEPERS = 0.03
"""How far readings of the open air lie from their mean at most: noise, uneven mat, drift of a percent."""
_AIR_PERCENTILES = tuple(range(5, 51, 5))
_AIR_SHARE = 0.2
"""Of a scan's pixels that reads alike: air that surrounds a body. No body has as many, nor the field beside a table."""
_SORTED_PIXELS = 2048
"""Of a scan, evenly spread over it: enough to find the air among."""
_AIR_ROUNDS = 2


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
        raw: ``(B, 6, H, W)`` in [0, 1]. Of scans as they are, R is diluted by their zero, as in the published stacks;
            R of the body is that of :func:`above_air` of them.

    Returns:
        ``(B, 1, H, W)`` in [1/16383, 16383]; of a body alone about 1.2 in fat, 1.3 in lean tissue, 2 and more in bone
        mineral.

    Raises:
        InputError: another shape.
    """
    clipped = _checked(raw).clamp(SMALLEST, 1.0)
    return clipped[:, [_AIR_LOW]] / clipped[:, [_AIR_HIGH]]


@torch.no_grad()
def air_level(raw: torch.Tensor, full_scale_nepers: float = FULL_SCALE_NEPERS) -> torch.Tensor:
    """What each channel reads in the open air of each scan: electronics, table, mat and the segment of the wheel.

    Among low quantiles of the mean of all channels, the lowest is sought around which a fifth of the scan reads alike
    (within 0.03 nepers): a narrow table's uncovered margins and failed columns are passed over. If there is none, it is
    the 5 % quantile. The level is the mean of each channel over the pixels that read alike there.

    A number a channel does not follow what drifts along the scan; :func:`dxa_monai.physics.zero.find_zero` does, in 20
    times the time. Nothing is refused: where a scan shows no air, as when it is cropped to a part of a body, the level
    is that of what attenuates least (5 % of the pixels), and what is above it is too little. An image of a uniform slab
    with hardly any air takes the slab for air. Channels that are cut off at 0 counts read half their noise too much.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1], finite; another number of channels is taken, too.
        full_scale_nepers: what a raw value of 1 means.

    Returns:
        ``(B, 6, 1, 1)``, as many as there are channels, float32 or wider, without gradient.

    Raises:
        InputError: another shape.
    """
    channels = _checked(raw, None).flatten(2)
    mean = channels.mean(dim=1)
    window = _AIR_NEPERS / full_scale_nepers
    ordered = mean[:, :: max(1, mean.shape[1] // _SORTED_PIXELS)].sort(dim=1).values
    count = ordered.shape[1]
    candidates = ordered[:, [max(0, round(count * percent / 100) - 1) for percent in _AIR_PERCENTILES]]
    alike = torch.searchsorted(ordered, candidates + window) - torch.searchsorted(ordered, candidates - window)
    # The lowest that qualifies; argmax of all False is 0, the lowest of all.
    chosen = (alike >= _AIR_SHARE * count).int().argmax(dim=1, keepdim=True)
    level = candidates.gather(1, chosen)
    for _ in range(_AIR_ROUNDS):
        air = ((mean - level).abs() <= window).to(mean)
        pixels = air.sum(dim=1, keepdim=True).clamp_min(1.0)
        level = (mean * air).sum(dim=1, keepdim=True) / pixels
    # Not as a matrix product, which on some processors adds up 10,000 pixels one after the other: a count is lost.
    return ((channels * air[:, None]).sum(dim=2) / pixels)[:, :, None, None]


def above_air(raw: torch.Tensor, level: torch.Tensor | None = None) -> torch.Tensor:
    """What a scan reads above the open air of the air segment: the body's attenuation, and the wheel's on top of it.

    From every channel the level of the air segment's channel of the same energy is taken off, so that bone and tissue
    channels keep what their segment attenuates.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1].
        level: ``(B, 6, 1, 1)`` of :func:`air_level`; None: that of ``raw``. A network's output is judged by its
            target's.

    Returns:
        ``(B, 6, H, W)``; air scatters about 0 in the air segment.

    Raises:
        InputError: another shape.
    """
    raw = _checked(raw)
    level = air_level(raw) if level is None else level.to(raw)
    return raw - level[:, [_AIR_HIGH, _AIR_LOW] * len(SEGMENTS)]


def body_mask(
    raw: torch.Tensor,
    threshold_nepers: float = MASK_THRESHOLD_NEPERS,
    full_scale_nepers: float = FULL_SCALE_NEPERS,
    level: torch.Tensor | None = None,
) -> torch.Tensor:
    """Where the body is: the mean log attenuation of the two air channels exceeds its level in air by a threshold.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1].
        threshold_nepers: raise it for a scanner whose readings drift by more along a scan.
        full_scale_nepers: what a raw value of 1 means.
        level: ``(B, 6, 1, 1)`` of :func:`air_level`; None: that of ``raw``. A network's output is judged by its
            target's; scans that were corrected for their zero have a level of 0.

    Returns:
        ``(B, 1, H, W)`` bool.

    Raises:
        InputError: another shape.
    """
    raw = _checked(raw)
    level = air_level(raw, full_scale_nepers) if level is None else level.to(raw)
    air = [_AIR_HIGH, _AIR_LOW]
    above = raw[:, air].mean(dim=1, keepdim=True) - level[:, air].mean(dim=1, keepdim=True)
    return above * full_scale_nepers > threshold_nepers


def _checked(raw: torch.Tensor, channels: int | None = len(CHANNELS)) -> torch.Tensor:
    if raw.ndim != 4 or (channels is not None and raw.shape[1] != channels):
        expected = "C" if channels is None else channels
        raise InputError(f"raw: expected shape (B, {expected}, H, W), got {tuple(raw.shape)}.")
    return raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
