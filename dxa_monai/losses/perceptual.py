"""Perceptual distances of raw scans and of their calibrated stacks: the two terms of the paper's DXA loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dxa_monai.errors import InputError
from dxa_monai.losses.vgg import REFERENCE_LAYERS, VGG16_LAYERS, VGGFeatures
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.physics.calibration import (
    KINDS,
    STACKS,
    above_air,
    air_level,
    body_mask,
    calibrated_stacks,
    stack_indices,
)
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.physics.soft_tissue_window import soft_tissue_window
from dxa_monai.scan.format import FULL_SCALE_NEPERS, HIGH_CHANNELS

RAW_VIEWS = ("raw_channels_0_2", "raw_channels_3_5")
"""The two three-channel images of a raw scan."""

REFERENCE_LAYER_WEIGHTS = (0.5, 0.75, 0.5, 0.5, 0.8, 0.8, 0.5, 0.5, 0.3, 0.3, 0.5, 0.5, 0.3, 0.3, 0.3, 0.2, 0.0)
"""The published weights of ``REFERENCE_LAYERS``, paired by position; the list is one short, so the last layer has none
(paper/reference_facts.md). The calibrated term leaves out the first layer, the image itself."""

R_FORMS = ("masked", "as_published", "window")
"""``masked``: R of what lies above the target's open air, scaled, inside the target's body only (in the background of
the air stack it is noise over noise). ``as_published``: R of the readings as they are, in the whole field. ``window``:
as ``masked``, but seen through the window of soft tissue: fat is 0 and lean 1 at the target pixel's thickness
(:class:`dxa_monai.physics.soft_tissue_window.SoftTissueWindow`)."""
R_WINDOW_MARGIN = 1.0
"""How far the window goes on beyond fat and beyond lean, in distances of the two: noise, and some bone."""
R_SCALED_FROM = (1.0, 3.0)
"""R that becomes 0 and 1 in the masked form: no attenuation in excess at the low energy, and bone mineral."""
R_SCALED_LIMITS = (-0.5, 1.5)
"""Scaled R beyond this (R outside 0..4) is clamped: it has no physical meaning."""
R_MASK_THRESHOLD_NEPERS = 0.5
"""Attenuation from which on R counts in the masked form, about 2.5 cm of soft tissue. An error of the attenuation is
divided by the attenuation in R: thin rims, where that is near zero, would have most of the gradient."""


class PerceptualDistance(nn.Module):
    r"""Perceptual distance of scans, the mean over several three-channel views of them.

    With f_l the features of layer l of :class:`VGGFeatures`, s_l its scale and w_l its weight, the distance of two
    images is

    .. math:: d(a, b) = \sum_l w_l \, \mathrm{mean} |f_l(a) - f_l(b)| / s_l \Big/ \sum_l w_l

    and the loss its mean over views and scans: it does not depend on batch or image size. (The published terms are
    sums over views and layers: constant factors, which the weights take up.) All views of a batch go through VGG in
    one pass, the target's without gradient.

    With ``views_per_step`` each training step compares a random subset of the views: an unbiased estimate at a fraction
    of the cost. The generator's state is in the state dict. In evaluation mode (``eval()``) all views are compared.

    Subclasses say which ``views`` there are (:meth:`_images`) and which layers count.

    Args:
        features: the feature network; None makes ``VGGFeatures()``.
        layer_weights: name of a layer to its weight; None takes ``REFERENCE_LAYER_WEIGHTS``. Layers that ``features``
            does not compute (its cut-off) are left out.
        views_per_step: views in a training step; None takes all.
        seed: of the choice of views; losses of one kind and seed draw alike, whatever other terms stand beside them.

    Raises:
        InputError: an unknown layer, a negative weight, none that is positive, or a number of views that there are not.
    """

    views: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Layers that have no weight."""
    stream: int
    """Sets the draws of one kind of loss apart from those of another with the same seed."""
    layer_weights: torch.Tensor

    def __init__(
        self,
        features: VGGFeatures | None = None,
        layer_weights: Mapping[str, float] | None = None,
        views_per_step: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.features = VGGFeatures() if features is None else features
        count = len(self.views) if views_per_step is None else views_per_step
        if not 1 <= count <= len(self.views):
            raise InputError(f"views_per_step: expected 1 to {len(self.views)}, got {views_per_step}.")
        self.views_per_step = count
        self._generator = torch.Generator().manual_seed(2 * seed + self.stream)
        weights = [
            0.0 if name in self.left_out else weight
            for name, weight in zip(self.features.layers, _weights_of(self.features.layers, layer_weights), strict=True)
        ]
        if sum(weights) == 0:
            raise InputError(f"layer_weights: expected a positive one among {self.features.layers}, got none.")
        scaled = torch.tensor(weights) / sum(weights) / self.features.layer_scales
        self.register_buffer("layer_weights", scaled, persistent=False)

    def forward(self, output: VAEOutput, target: torch.Tensor) -> torch.Tensor:
        """Scalar loss of the output's reconstruction against a target ``(B, 6, H, W)``."""
        return self.view_distances(output.reconstruction, target, self._choose_views()).mean(0).mean()

    def view_distances(
        self, prediction: torch.Tensor, target: torch.Tensor, views: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Distance d of each scan in each view, ``(B, len(views))``; indices into ``views``, None: all."""
        indices = list(range(len(self.views)) if views is None else views)
        target = target.detach()
        # (B, V, 3, H, W) -> (B * V, 3, H, W): views are independent images to VGG.
        images = self._images(prediction, target)[:, indices].flatten(0, 1)
        with torch.no_grad():
            target_maps = self.features(self._images(target, target)[:, indices].flatten(0, 1))
        # float32 (the weights' type) under autocast, too: a sum over layers in half precision would round the loss.
        distances = self.layer_weights.new_zeros(len(prediction), len(indices))
        maps = self.features(images)
        for weight, map_, target_map in zip(self.layer_weights, maps, target_maps, strict=True):
            difference = (map_ - target_map).abs().mean(dim=(1, 2, 3), dtype=distances.dtype)
            distances = distances + weight * difference.reshape(len(prediction), len(indices))
        return distances

    def _images(self, scans: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """All views ``(B, V, 3, H, W)`` of scans ``(B, 6, H, W)``, which are the target or are compared with it."""
        raise NotImplementedError

    def _choose_views(self) -> list[int]:
        """Indices into ``views``: a new draw without replacement in training mode, all of them in evaluation mode."""
        if not self.training or self.views_per_step == len(self.views):
            return list(range(len(self.views)))
        order: list[int] = torch.randperm(len(self.views), generator=self._generator)[: self.views_per_step].tolist()
        return order

    def get_extra_state(self) -> torch.Tensor:
        """State of the generator that chooses views, so that a resumed run sees what an uninterrupted one would."""
        return self._generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        """Set what :meth:`get_extra_state` gave."""
        self._generator.set_state(state.cpu())


class RawPerceptualLoss(PerceptualDistance):
    """The raw term of the DXA loss: channels 0-2 as one image, 3-5 as another."""

    views = RAW_VIEWS
    stream = 0

    def _images(self, scans: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return scans.unflatten(1, (len(RAW_VIEWS), 3))


class CalibratedPerceptualLoss(PerceptualDistance):
    """The calibrated term of the DXA loss (paper section "DXA loss"): the nine calibrated stacks, R among them.

    Its weight beside a raw term of weight one was 0.05 in the paper.

    The published R divides readings as they are, with the scanner's zero in numerator and denominator: with a zero of
    2,000 counts all of R is drawn towards 1, with one of 0 the background is noise over noise. The masked form divides
    attenuations: all images of its R stacks lie above the target's air level of the air segment
    (:func:`dxa_monai.physics.calibration.above_air`; cB and cT are differences, in which a common zero cancels). The
    stacks of high and low are those of the readings in both forms.

    Args:
        r: one of ``R_FORMS``.
        mask_threshold_nepers: of the target's body mask in all forms but the published one, above its air.
        features: see :class:`PerceptualDistance`, also for the others and their errors.
        layer_weights: the first layer, the image itself, has none here.
        views_per_step: from 1 to as many as there are.
        seed: of the choice of views.
        kinds: the stacks that are looked at, of "r", "high" and "low"; None: all nine.
        window_margin: of the window, see ``R_WINDOW_MARGIN``.
        scanner_model: whose window it is, a model or a file of one; None: the nominal scanner's.

    Raises:
        InputError: an unknown form of R or kind of stack, a margin with which the window holds no soft tissue, a
            scanner that does not tell fat from lean, or one that nothing would use.
    """

    views = STACKS
    left_out = ("input",)
    stream = 1

    def __init__(
        self,
        r: str = "masked",
        mask_threshold_nepers: float = R_MASK_THRESHOLD_NEPERS,
        features: VGGFeatures | None = None,
        layer_weights: Mapping[str, float] | None = None,
        views_per_step: int | None = None,
        seed: int = 0,
        kinds: Sequence[str] | None = None,
        window_margin: float = R_WINDOW_MARGIN,
        scanner_model: ScannerModel | str | None = None,
    ) -> None:
        if r not in R_FORMS:
            raise InputError(f"r: expected one of {', '.join(R_FORMS)}, got '{r}'.")
        if r != "window" and scanner_model is not None:
            raise InputError(f"scanner_model: expected none but for r 'window', got it for '{r}'.")
        if not window_margin > -0.5:
            raise InputError(
                f"window_margin: expected a number above -0.5, so that the window holds soft tissue, "
                f"got {window_margin}."
            )
        chosen = KINDS if kinds is None else tuple(kinds)
        if not chosen:
            raise InputError(f"kinds: expected at least one of {', '.join(KINDS)}, got none.")
        self._chosen = sorted(index for kind in set(chosen) for index in stack_indices(kind))
        self.views = tuple(STACKS[index] for index in self._chosen)
        super().__init__(features, layer_weights, views_per_step, seed)
        self.r = r
        self.mask_threshold_nepers = mask_threshold_nepers
        self.window_margin = window_margin
        self.soft_tissue = soft_tissue_window(scanner_model) if r == "window" else None

    def as_dict(self) -> dict[str, Any]:
        """What the record of a run should tell."""
        return {"r": self.r} | ({} if self.views == STACKS else {"views": list(self.views)})

    def _images(self, scans: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        stacks = calibrated_stacks(scans)
        if self.r != "as_published":
            level = air_level(target)
            mask = body_mask(target, self.mask_threshold_nepers, level=level)
            r_indices = torch.tensor(stack_indices("r"), device=scans.device)
            r = self._r(calibrated_stacks(above_air(scans, level)))
            scaled = self._scaled(r, above_air(target, level))
            # The same mask for prediction and target: the background is 0 in both and adds nothing.
            stacks = stacks.index_copy(1, r_indices, scaled * mask[:, None])
        return stacks[:, self._chosen]

    def _r(self, stacks: torch.Tensor) -> torch.Tensor:
        """R ``(B, 3, 3, H, W)`` of the stacks of what is above the air."""
        # Half the mask's threshold as smallest denominator: no target inside the mask is below it, and a prediction
        # that is gets a bounded gradient.
        smallest = 0.5 * self.mask_threshold_nepers / FULL_SCALE_NEPERS
        return stacks[:, stack_indices("low")] / stacks[:, stack_indices("high")].clamp(min=smallest)

    def _scaled(self, r: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
        """R as it is looked at; ``above`` is the target above its air."""
        if self.soft_tissue is None:
            zero, one = R_SCALED_FROM
            return ((r - zero) / (one - zero)).clamp(*R_SCALED_LIMITS)
        fat, lean = self.soft_tissue.of_images(above[:, HIGH_CHANNELS[:1]] * FULL_SCALE_NEPERS)
        return ((r - fat) / (lean - fat)).clamp(-self.window_margin, 1.0 + self.window_margin)


@torch.no_grad()
def noise_floor(loss: PerceptualDistance, noise_free: torch.Tensor, noisy: torch.Tensor) -> dict[str, float]:
    """Distance in each view between the perfect answer and a noisy target: what no training can get below.

    Args:
        loss: decides views, features, weights and masks.
        noise_free: scans ``(B, 6, H, W)`` as an ideal network would give them (of a virtual cohort: the acquisition
            without noise). A second noisy scan instead gives an upper bound.
        noisy: the same scans as acquired.
    """
    return dict(zip(loss.views, loss.view_distances(noise_free, noisy).mean(0).tolist(), strict=True))


def _weights_of(layers: Sequence[str], layer_weights: Mapping[str, float] | None) -> list[float]:
    if layer_weights is None:
        layer_weights = dict(zip(REFERENCE_LAYERS, REFERENCE_LAYER_WEIGHTS, strict=True))
    for name, weight in layer_weights.items():
        if name not in VGG16_LAYERS or weight < 0:
            raise InputError(f"layer_weights: expected layers of VGG-16 with weights from 0, got '{name}': {weight}.")
    return [float(layer_weights.get(name, 0.0)) for name in layers]
