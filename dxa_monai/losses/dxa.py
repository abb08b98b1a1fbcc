"""The DXA loss: perceptual distances of raw scans and of their calibrated stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.utils import convert_to_tensor
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.losses.vgg import REFERENCE_LAYERS, VGG16_LAYERS, VGGFeatures
from dxa_monai.physics.calibration import STACKS, body_mask, calibrated_stacks, stack_indices
from dxa_monai.scan.format import FULL_SCALE_NEPERS

ARMS = ("no_dxa", "dxa", "dxa_masked")
"""``no_dxa``: raw term only. ``dxa``: as published, R of the whole field as it is. ``dxa_masked``: R scaled, inside the
target's body only (the background of the air stack's R is noise over noise)."""

RAW_VIEWS = ("raw_channels_0_2", "raw_channels_3_5")
VIEWS = (*RAW_VIEWS, *STACKS)
"""The eleven three-channel images of a scan that the loss compares."""

REFERENCE_LAYER_WEIGHTS = (0.5, 0.75, 0.5, 0.5, 0.8, 0.8, 0.5, 0.5, 0.3, 0.3, 0.5, 0.5, 0.3, 0.3, 0.3, 0.2, 0.0)
"""The published weights of ``REFERENCE_LAYERS``, paired by position; the list is one short, so the last layer has none
(paper/reference_facts.md). The calibrated term leaves out the first layer, the image itself."""

R_SCALED_FROM = (1.0, 3.0)
"""R that becomes 0 and 1 in the masked arm: no attenuation in excess at the low energy, and bone mineral."""
R_SCALED_LIMITS = (-0.5, 1.5)
"""Scaled R beyond this (R outside 0..4) is clamped: it has no physical meaning."""
R_MASK_THRESHOLD_NEPERS = 0.5
"""Attenuation from which on R counts in the masked arm, about 2.5 cm of soft tissue. An error of the attenuation is
divided by the attenuation in R: thin rims, where that is near zero, would have most of the gradient."""


class DXALoss(nn.Module):
    r"""Perceptual distance of scans: raw term + ``calibrated_weight`` x calibrated term (paper section "DXA loss").

    With f_l the features of layer l of :class:`VGGFeatures`, s_l its scale and w_l its weight, the distance of two
    images is

    .. math:: d(a, b) = \sum_l w_l \, \mathrm{mean} |f_l(a) - f_l(b)| / s_l \Big/ \sum_l w_l

    The raw term is the mean of d over two views (channels 0-2 as one image, 3-5 as another), the calibrated term its
    mean over the nine calibrated stacks. All are means, over scans too: the loss does not depend on batch or image
    size. (The published terms are sums over views and layers: constant factors, which the weights take up.) All
    views of a batch go through VGG in one pass, the target's without gradient.

    With ``raw_views_per_step`` or ``calibrated_views_per_step`` each training step compares a random subset of the
    views of either term: an unbiased estimate at a fraction of the cost. The two terms draw from generators of their
    own, so that with equal seeds the arms see the same raw views in every step and differ in the calibrated term
    alone. The generators' states are in the state dict. In evaluation mode (``eval()``) all views are compared.

    Args:
        arm: one of ``ARMS``.
        calibrated_weight: weight of the calibrated term; 0.05 as published. Unused by ``no_dxa``.
        features: the feature network; None makes ``VGGFeatures()``.
        layer_weights: name of a layer to its weight; None takes ``REFERENCE_LAYER_WEIGHTS``. Layers that ``features``
            does not compute (its cut-off) are left out.
        raw_views_per_step: views of the raw term in a training step, 1 or 2; None takes both.
        calibrated_views_per_step: stacks of the calibrated term in a training step, 1 to 9; None takes all.
        mask_threshold_nepers: of the target's body mask in ``dxa_masked``.
        seed: of the choice of views.

    Raises:
        InputError: an unknown arm or layer, a negative weight, or a number of views that there are not.
    """

    raw_layer_weights: torch.Tensor
    calibrated_layer_weights: torch.Tensor

    def __init__(
        self,
        arm: str = "dxa_masked",
        calibrated_weight: float = 0.05,
        features: VGGFeatures | None = None,
        layer_weights: dict[str, float] | None = None,
        raw_views_per_step: int | None = None,
        calibrated_views_per_step: int | None = None,
        mask_threshold_nepers: float = R_MASK_THRESHOLD_NEPERS,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if arm not in ARMS:
            raise InputError(f"arm: expected one of {', '.join(ARMS)}, got '{arm}'.")
        if calibrated_weight < 0:
            raise InputError(f"calibrated_weight: expected a number from 0, got {calibrated_weight}.")
        self.arm = arm
        self.calibrated_weight = calibrated_weight
        self.features = VGGFeatures() if features is None else features
        self.raw_views_per_step = _view_count("raw_views_per_step", raw_views_per_step, len(RAW_VIEWS))
        self.calibrated_views_per_step = _view_count(
            "calibrated_views_per_step", calibrated_views_per_step, len(STACKS)
        )
        self.mask_threshold_nepers = mask_threshold_nepers
        self._raw_generator = torch.Generator().manual_seed(2 * seed)
        self._calibrated_generator = torch.Generator().manual_seed(2 * seed + 1)

        raw_weights = _weights_of(self.features.layers, layer_weights)
        without_image = [
            0.0 if name == "input" else w for name, w in zip(self.features.layers, raw_weights, strict=True)
        ]
        if sum(raw_weights) == 0 or (arm != "no_dxa" and sum(without_image) == 0):
            raise InputError(f"layer_weights: expected a positive one among {self.features.layers}, got none.")
        for name, weights in (("raw_layer_weights", raw_weights), ("calibrated_layer_weights", without_image)):
            scaled = torch.tensor(weights) / (sum(weights) or 1.0) / self.features.layer_scales
            self.register_buffer(name, scaled, persistent=False)

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of ``prediction`` against ``target``, both ``(B, 6, H, W)``."""
        terms = self.compute_terms(prediction, target)
        total = terms["raw_perceptual"]
        if "calibrated_perceptual" in terms:
            total = total + self.calibrated_weight * terms["calibrated_perceptual"]
        return total

    def compute_terms(self, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Scalars ``raw_perceptual`` and, but for ``no_dxa``, ``calibrated_perceptual`` (not yet weighted)."""
        chosen = self._choose_views()
        distances = self.view_distances(prediction, target, chosen).mean(0)
        raw = [position for position, view in enumerate(chosen) if view < len(RAW_VIEWS)]
        calibrated = [position for position, view in enumerate(chosen) if view >= len(RAW_VIEWS)]
        terms = {"raw_perceptual": distances[raw].mean()}
        if calibrated:
            terms["calibrated_perceptual"] = distances[calibrated].mean()
        return terms

    def view_distances(
        self, prediction: torch.Tensor, target: torch.Tensor, views: Sequence[int] = tuple(range(len(VIEWS)))
    ) -> torch.Tensor:
        """Distance d of each scan in each view, ``(B, len(views))``; ``views`` are indices into ``VIEWS``."""
        # A MetaTensor becomes the tensor in it: metadata of a batch has no meaning for its views.
        prediction, target = convert_to_tensor(prediction), convert_to_tensor(target).detach()
        mask = body_mask(target, self.mask_threshold_nepers)
        indices = list(views)
        # (B, V, 3, H, W) -> (B * V, 3, H, W): views are independent images to VGG.
        images = self._views(prediction, mask, indices).flatten(0, 1)
        with torch.no_grad():
            target_maps = self.features(self._views(target, mask, indices).flatten(0, 1))
        is_raw = torch.tensor([view < len(RAW_VIEWS) for view in indices], device=prediction.device)
        # float32 (the weights' type) under autocast, too: a sum over layers in half precision would round the loss.
        distances = self.raw_layer_weights.new_zeros(len(prediction), len(indices))
        for layer, (map_, target_map) in enumerate(zip(self.features(images), target_maps, strict=True)):
            weights = torch.where(is_raw, self.raw_layer_weights[layer], self.calibrated_layer_weights[layer])
            difference = (map_ - target_map).abs().mean(dim=(1, 2, 3), dtype=distances.dtype)
            distances = distances + weights * difference.reshape(len(prediction), len(indices))
        return distances

    def _views(self, raw: torch.Tensor, mask: torch.Tensor, indices: list[int]) -> torch.Tensor:
        """Views ``(B, len(indices), 3, H, W)`` of scans ``(B, 6, H, W)``; ``mask`` is the target's body."""
        views = raw.unflatten(1, (len(RAW_VIEWS), 3))
        if max(indices) >= len(RAW_VIEWS):
            stacks = calibrated_stacks(raw)
            if self.arm != "dxa":
                r_indices = torch.tensor(stack_indices("r"), device=raw.device)
                stacks = stacks.index_copy(1, r_indices, self._masked_r(stacks, mask))
            views = torch.cat([views, stacks], dim=1)
        return views[:, indices]

    def _masked_r(self, stacks: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """R stacks ``(B, 3, 3, H, W)`` of the masked arm: scaled, 0 outside ``mask``."""
        # Half the mask's threshold as smallest denominator: no target inside the mask is below it, and a prediction
        # that is gets a bounded gradient.
        smallest = 0.5 * self.mask_threshold_nepers / FULL_SCALE_NEPERS
        r = stacks[:, stack_indices("low")] / stacks[:, stack_indices("high")].clamp(min=smallest)
        zero, one = R_SCALED_FROM
        scaled = ((r - zero) / (one - zero)).clamp(*R_SCALED_LIMITS)
        # The same mask for prediction and target: the background is 0 in both and adds nothing.
        return scaled * mask[:, None]

    def _choose_views(self) -> list[int]:
        """Indices into ``VIEWS``: a new draw in training mode, all of the arm's in evaluation mode."""
        raw, calibrated = list(range(len(RAW_VIEWS))), list(range(len(RAW_VIEWS), len(VIEWS)))
        if self.training:
            raw = _draw(raw, self.raw_views_per_step, self._raw_generator)
            calibrated = _draw(calibrated, self.calibrated_views_per_step, self._calibrated_generator)
        return raw if self.arm == "no_dxa" else raw + calibrated

    def get_extra_state(self) -> dict[str, torch.Tensor]:
        """States of the generators that choose views, so that a resumed run sees what an uninterrupted one would."""
        return {"raw": self._raw_generator.get_state(), "calibrated": self._calibrated_generator.get_state()}

    def set_extra_state(self, state: Any) -> None:
        """Set what :meth:`get_extra_state` gave."""
        self._raw_generator.set_state(state["raw"].cpu())
        self._calibrated_generator.set_state(state["calibrated"].cpu())


@torch.no_grad()
def noise_floor(loss: DXALoss, noise_free: torch.Tensor, noisy: torch.Tensor) -> dict[str, float]:
    """Distance in each of ``VIEWS`` between the perfect answer and a noisy target: what no training can get below.

    Args:
        loss: decides features, weights and masks; its arm says how R is treated (``no_dxa`` as ``dxa_masked``).
        noise_free: scans ``(B, 6, H, W)`` as an ideal network would give them (of a virtual cohort: the acquisition
            without noise). A second noisy scan instead gives an upper bound.
        noisy: the same scans as acquired.
    """
    distances = loss.view_distances(noise_free, noisy).mean(0)
    return dict(zip(VIEWS, distances.tolist(), strict=True))


def _draw(views: list[int], count: int, generator: torch.Generator) -> list[int]:
    """``count`` of ``views`` without replacement."""
    order = torch.randperm(len(views), generator=generator)[:count].tolist()
    return [views[position] for position in order]


def _view_count(argument: str, count: int | None, available: int) -> int:
    if count is None:
        return available
    if not 1 <= count <= available:
        raise InputError(f"{argument}: expected 1 to {available}, got {count}.")
    return count


def _weights_of(layers: Sequence[str], layer_weights: dict[str, float] | None) -> list[float]:
    if layer_weights is None:
        layer_weights = dict(zip(REFERENCE_LAYERS, REFERENCE_LAYER_WEIGHTS, strict=True))
    for name, weight in layer_weights.items():
        if name not in VGG16_LAYERS or weight < 0:
            raise InputError(f"layer_weights: expected layers of VGG-16 with weights from 0, got '{name}': {weight}.")
    return [float(layer_weights.get(name, 0.0)) for name in layers]
