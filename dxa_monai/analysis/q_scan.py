"""A second reader of a scan: the published scheme of scanners with a wheel, by ratios instead of Newton's method.

With L and H the log attenuations at low and high energy behind the air segment, the tissue segment tells how much more
of it the low energy loses where it lies behind so much body, and the bone segment what mineral adds to the rest [1]:

    k = (L_tissue - L_air) / (H_tissue - H_air),        Q = L_air - k H_air                                     (1)
    d0 = [(L_bone - L_air) - k (H_bone - H_air)] / (mineral of the segment)                                     (2)

Where there is no bone, L and H alone tell fat's share of the mass: of each H the scanner's model knows L for all fat,
half fat and none. Behind bone, the fat that is carried on from there gives a baseline of Q, and what lies above it is
mineral, (Q - baseline) / d0.

Behind a single pixel, k of so thin a segment is noise. Its dependence on H and on the share of fat is the model's; the
scan says by which factor its k and d0 differ, from all soft pixels, each by its photons. In a scan of the scanner that
the model was calibrated on both factors are 1 within a few thousandths.

Bone mask and continuation of the fat are those of :mod:`dxa_monai.analysis.bone`, so both readers share their errors;
what differs is how channels become materials. The fat of the marrow is given as there.

References:
    [1] Stein: Bone densitometer. US patent 4,811,373 (1989). The service manual of the QDR-4500 names k, Q and d0.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

from dxa_monai.analysis.bone import BoneSettings, Masks, carried_fat
from dxa_monai.analysis.soft_tissue import trunk_share
from dxa_monai.errors import InputError
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM

_AIR_HIGH, _AIR_LOW, _BONE_HIGH, _BONE_LOW, _TISSUE_HIGH, _TISSUE_LOW = (
    CHANNELS.index(f"{segment}_{energy}") for segment in ("air", "bone", "tissue") for energy in ("high", "low")
)
_MINERAL = "bone_mineral"
_THICKEST_G_CM2 = 60.0
_NODES = 241
_MINERAL_STEP_G_CM2 = 1.0
_SHARES = (0.0, 0.5, 1.0)  # of fat, between which a parabola is exact within 0.1 g/cm2
_SHARE_RANGE = (-5.0, 3.0)  # without bone in mind, bone reads as far less than no fat
_BASELINE_SHARES = (-0.5, 1.2)
_MINERAL_RANGE_G_CM2 = (-2.0, 6.0)
_ROUNDS, _SHARE_ROUNDS = 6, 3
_THINNEST_G_CM2 = 0.1
_THINNEST_NEPERS = 0.01  # of H; nothing tells fat from lean tissue where there is neither


@dataclass(frozen=True)
class QReading:
    """What the second reader finds.

    Attributes:
        areal_density_g_cm2: ``(1, 3, H, W)`` fat, lean, bone mineral; signed noise, zero outside of the body.
        k_ratio: the scan's k over the model's.
        d0_ratio: the scan's d0 over the model's.
    """

    areal_density_g_cm2: torch.Tensor
    k_ratio: float
    d0_ratio: float


def read_q(
    raw: torch.Tensor,
    model: ScannerModel,
    masks: Masks,
    settings: BoneSettings | None = None,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> QReading:
    """Areal densities of one scan by the scheme above.

    Args:
        raw: ``(1, 6, H, W)`` a corrected scan (:mod:`dxa_monai.physics.correction`).
        model: the scanner.
        masks: of :func:`dxa_monai.analysis.bone.find_bone`.
        settings: ``marrow_fat_per_mineral`` is used.
        pixel_spacing_mm: distance between rows and between columns.

    Raises:
        InputError: the wheel has no tissue segment, or no bone mineral in its bone segment.
    """
    if not model.wheel.tissue or all(name != _MINERAL for name, _ in model.wheel.bone):
        raise InputError(
            f"method q_scan: expected a wheel with a tissue segment and {_MINERAL} in its bone segment, "
            f"got {model.wheel}."
        )
    body, marrow = masks.body, (BoneSettings() if settings is None else settings).marrow_fat_per_mineral
    nepers = raw.double()[0, :, body[0, 0]] * model.full_scale_nepers  # (6, N)
    low, high = nepers[_AIR_LOW], nepers[_AIR_HIGH]
    table = _Table(model, raw.device)

    def image(pixels: torch.Tensor) -> torch.Tensor:
        return torch.zeros(body.shape, dtype=torch.float64, device=raw.device).masked_scatter(body, pixels)

    share = table.share_of_fat(high, low)
    total = table.at(high, share).total
    soft = torch.cat([image(share * total), image((1.0 - share) * total)], dim=1).to(raw.dtype)
    fat = carried_fat(soft, masks, trunk_share(body, pixel_spacing_mm), pixel_spacing_mm)[body].double()
    k_ratio, d0_ratio = _ratios(nepers, table.at(high, share), ~masks.hidden[body])

    mineral, share = torch.zeros_like(low), share.clamp(*_BASELINE_SHARES)
    there = table.at(high, share)
    for _ in range(_ROUNDS):
        rest = (high - mineral * (there.high_of_mineral + mineral * there.high_bend)).clamp_min(0.0)
        for _ in range(_SHARE_ROUNDS):
            there = table.at(rest, share)
            share = (fat + marrow * mineral) / there.total.clamp_min(_THINNEST_G_CM2)
            share = share.clamp(*_BASELINE_SHARES)
        k = k_ratio * there.k
        above_baseline = (low - k * high) - (there.low - k * rest)
        d0 = d0_ratio * (there.d0 + mineral * there.d0_bend)
        mineral = (above_baseline / d0).clamp(*_MINERAL_RANGE_G_CM2)
    fat = fat + marrow * mineral
    behind = torch.cat([image(fat), image(there.total - fat), image(mineral)], dim=1).to(raw.dtype)
    return QReading(torch.where(masks.hidden, behind, F.pad(soft, (0, 0, 0, 0, 0, 1))), k_ratio, d0_ratio)


@dataclass(frozen=True)
class _Behind:
    """What a pixel without bone is expected to read, of its H and its share of fat."""

    low: torch.Tensor
    total: torch.Tensor
    k: torch.Tensor
    d0: torch.Tensor
    d0_bend: torch.Tensor
    """Mineral hardens the beam: what d0 changes by for each g/cm2 of it."""
    high_of_mineral: torch.Tensor
    """H of each g/cm2 of mineral, and what it changes by."""
    high_bend: torch.Tensor
    segment: torch.Tensor
    """The bone segment's Q."""


class _Table:
    """:class:`_Behind` for any H and share, off nodes of H and three shares."""

    def __init__(self, model: ScannerModel, device: torch.device) -> None:
        nodes, values = _nodes_and_values(model)
        self._nodes, self._values = nodes.to(device), values.to(device)

    def at(self, high: torch.Tensor, share: torch.Tensor) -> _Behind:
        weights = torch.stack(
            [2.0 * (share - 0.5) * (share - 1.0), 4.0 * share * (1.0 - share), 2.0 * share * (share - 0.5)]
        )
        return _Behind(*(weights[:, None] * self._between(high)).sum(dim=0))

    def share_of_fat(self, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """At which share a pixel reads both, by Newton's method on a parabola."""
        high = high.clamp_min(_THINNEST_NEPERS)
        none, half, all_ = self._between(high)[:, 0]
        share = (low - none) / (all_ - none)
        for _ in range(_SHARE_ROUNDS):
            slope = (4.0 * share - 3.0) * none + (4.0 - 8.0 * share) * half + (4.0 * share - 1.0) * all_
            share = (share - (self.at(high, share).low - low) / slope).clamp(*_SHARE_RANGE)
        return share

    def _between(self, high: torch.Tensor) -> torch.Tensor:
        """``(3, 8, N)``, linear between nodes."""
        place = high / self._nodes[1]
        below = place.long().clamp(0, len(self._nodes) - 2)
        return torch.lerp(self._values[..., below], self._values[..., below + 1], place - below)


@lru_cache(maxsize=16)
def _nodes_and_values(model: ScannerModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Evenly spaced H ``(N,)`` from 0, and ``(3, 8, N)`` the attributes of :class:`_Behind` there for ``_SHARES``."""
    with torch.inference_mode(False), torch.no_grad():
        attenuation, weights, _ = model.tensors(torch.float64, torch.device("cpu"))
        total = torch.linspace(0.0, _THICKEST_G_CM2, _NODES, dtype=torch.float64)
        curves: list[tuple[torch.Tensor, torch.Tensor]] = []
        for share in _SHARES:
            soft = torch.stack([share * total, (1.0 - share) * total, torch.zeros_like(total)], dim=1)

            def nepers(mineral: float, soft: torch.Tensor = soft) -> torch.Tensor:
                areal = soft + torch.tensor([0.0, 0.0, mineral], dtype=torch.float64)
                return -torch.log(torch.exp(-areal @ attenuation) @ weights).T

            none, one, two = (nepers(number * _MINERAL_STEP_G_CM2) for number in range(3))
            low, high = none[_AIR_LOW], none[_AIR_HIGH]
            k = (none[_TISSUE_LOW] - low) / (none[_TISSUE_HIGH] - high)
            segment = none[_BONE_LOW] - low - k * (none[_BONE_HIGH] - high)
            bend = (two - 2.0 * one + none) / (2.0 * _MINERAL_STEP_G_CM2**2)
            slope = (one - none) / _MINERAL_STEP_G_CM2 - bend * _MINERAL_STEP_G_CM2
            d0, d0_bend = (part[_AIR_LOW] - k * part[_AIR_HIGH] for part in (slope, bend))
            behind = _Behind(low, total, k, d0, d0_bend, slope[_AIR_HIGH], bend[_AIR_HIGH], segment)
            curves.append((high.contiguous(), torch.stack(dataclasses.astuple(behind))))
        nodes = torch.linspace(0.0, min(float(high[-1]) for high, _ in curves), _NODES, dtype=torch.float64)
        values = []
        for highs, curve in curves:
            after = torch.searchsorted(highs, nodes).clamp(1, len(highs) - 1)
            part = (nodes - highs[after - 1]) / (highs[after] - highs[after - 1])
            values.append(torch.lerp(curve[:, after - 1], curve[:, after], part))
        return nodes, torch.stack(values)


def _ratios(nepers: torch.Tensor, expected: _Behind, soft: torch.Tensor) -> tuple[float, float]:
    """k and d0 of the scan over those of the model: sums over soft pixels, each by the photons that it lets through."""
    if not soft.any():
        return 1.0, 1.0
    low, high = nepers[_AIR_LOW], nepers[_AIR_HIGH]
    photons = torch.exp(-high) * soft
    more_low, more_high = nepers[_TISSUE_LOW] - low, nepers[_TISSUE_HIGH] - high
    k_ratio = (more_low * photons).sum() / (more_high * expected.k * photons).sum()
    segment = nepers[_BONE_LOW] - low - k_ratio * expected.k * (nepers[_BONE_HIGH] - high)
    d0_ratio = (segment * photons).sum() / (expected.segment * photons).sum()
    return float(k_ratio), float(d0_ratio)
