"""Bone found in the image, and what lies in front of and behind it.

Two energies tell two materials apart. Where there is bone the fat has to come from elsewhere: it lies in layers under
the skin and around the organs that do not know of the bone, so it is carried on smoothly from the soft pixels around
(:mod:`dxa_monai.analysis.soft_tissue`). With the fat given, lean tissue and bone mineral follow from the physics. Bone
pixels are those where the mineral so found stands out of the noise; because the first guess of the fat was spoilt by
bone, this is repeated: first in the trunk with a broad blur, which is right on average but widens thin bones, then
pixel by pixel with what the neighbours say (:mod:`dxa_monai.analysis.bone_odds`). Where all of a forearm passes for
bone, no soft pixel is left to show that its fat was guessed too high: limbs and head are judged pixel by pixel from the
beginning. In rib cage and pelvis, where bone is thin and nearly everywhere, the fat comes from all pixels together and
each of them may hold mineral (:mod:`dxa_monai.analysis.rib_cage`).

Masks are decisions: they have no gradient. Everything else is differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from dxa_monai.analysis.bone_odds import bone_level, log_odds, with_neighbours
from dxa_monai.analysis.harmonic import harmonic_fill
from dxa_monai.analysis.rectangle import Rectangle
from dxa_monai.analysis.rib_cage import RibCage, find_rib_cage
from dxa_monai.analysis.soft_tissue import fat_of_fields, fields_of_fat, trunk_share, upper_envelope
from dxa_monai.physics.calibration import body_mask
from dxa_monai.physics.decomposition import bone_lines, decompose_bone, decompose_soft, noise_behind_lean
from dxa_monai.physics.forward import gaussian_blur
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM

_ROUGH_ITERATIONS = 12
"""Of the fill while the mask is still sought, each begun where the last one ended."""
_LEVEL_ROUNDS = 3  # in which the person's level of bone is measured anew


@dataclass(frozen=True)
class BoneSettings:
    """How bone is told from soft tissue. Defaults were chosen on the 100 virtual people of seed 78, apart from those of
    any test.

    Attributes:
        smoothing_mm: standard deviation of the blur behind which bone mineral is judged in the trunk at first, and
            everywhere where it is noisy.
        threshold_g_cm2: blurred bone mineral from which on a pixel of the trunk is bone at first, in a person with
            usual bones.
        density_exponent: the threshold rises with this power of the person's own level of bone.
        noise_multiple: standard deviations that bone has to stand out of the noise, where that asks for more.
        noisy_g_cm2: noise of a pixel's mineral from which on its surroundings begin to be judged in its place; at twice
            as much, nothing else counts.
        mean_mineral_g_cm2: of bone, in the odds of a pixel.
        prior_log_odds: of bone, before anything is seen of a pixel.
        coupling: how much neighbours are believed.
        coarse_rounds: how often mask and fat are improved in turn with the threshold in the trunk.
        fine_rounds: how often after that with odds alone.
        envelope_quantile: quantile of the surroundings' fat that is the first guess behind bone.
        marrow_fat_per_mineral: g of fat in the marrow for each g of mineral, which no scan can tell: every 0.1 of it
            is about 0.25 kg of total fat. 0.8 is the reference man's of ICRP 89 (2002): 2.48 kg of yellow marrow with
            80 % and 1.17 kg of red marrow with 40 % fat, over about 3 kg of mineral; the virtual people hold 0.75 to
            0.8.
        body_threshold_nepers: mean attenuation of the air channels from which on a pixel is body.
    """

    smoothing_mm: float = 7.0
    threshold_g_cm2: float = 0.05
    density_exponent: float = 1.65
    noise_multiple: float = 1.13
    noisy_g_cm2: float = 0.25
    mean_mineral_g_cm2: float = 0.45
    prior_log_odds: float = 0.0
    coupling: float = 1.1
    coarse_rounds: int = 3
    fine_rounds: int = 1
    envelope_quantile: float = 0.75
    marrow_fat_per_mineral: float = 0.8
    body_threshold_nepers: float = 0.06


@dataclass(frozen=True)
class Masks:
    """What is decided about the pixels of scans, without gradient.

    Attributes:
        body: ``(B, 1, H, W)`` bool.
        bone: ``(B, 1, H, W)`` bool, inside of the body.
        lean_noise: ``(B, 1, H, W)`` standard deviation in g/cm2 that photon noise gives to lean where there is no bone.
        ribs: rib cage and pelvis, of which every pixel may hold mineral; None: mineral is where bone is.
    """

    body: torch.Tensor
    bone: torch.Tensor
    lean_noise: torch.Tensor
    ribs: RibCage | None = None

    @property
    def hidden(self) -> torch.Tensor:
        """``(B, 1, H, W)`` bool, pixels whose fat is not what they read: those of bone, beside it, rib cage and pelvis.

        A bone's rim, too thin to be told from soft tissue, reads as too little fat.
        """
        rim = (F.max_pool2d(self.bone.float(), (1, 3), 1, (0, 1)) > 0) & self.body
        return rim if self.ribs is None else rim | self.ribs.inside

    def whole(self, part: Rectangle) -> Masks:
        """Masks of images, of those of their rectangle."""
        ribs = None if self.ribs is None else self.ribs.whole(part)
        return Masks(part.padded(self.body), part.padded(self.bone), part.padded(self.lean_noise), ribs)


@dataclass(frozen=True)
class _Soft:
    """What is known of scans without their bone: images ``(B, C, H, W)``."""

    body: torch.Tensor
    soft: torch.Tensor
    lines: tuple[torch.Tensor, torch.Tensor]
    lean_noise: torch.Tensor
    trunk: torch.Tensor

    def fat(self, fields: torch.Tensor) -> torch.Tensor:
        return fat_of_fields(fields, self.soft, self.trunk)

    def behind(self, fat: torch.Tensor) -> torch.Tensor:
        """Lean and mineral for a guess of the fat, to first order."""
        own, slope = self.lines
        return own + slope * (fat - self.soft[:, :1])


class _Blur:
    """:func:`gaussian_blur` of many images of one shape: its two matrices are built once.

    It averages independent pixels, whose noise shrinks by the norm of the kernel, ``noise_share``.
    """

    def __init__(self, like: torch.Tensor, sigma_mm: float, pixel_spacing_mm: tuple[float, float]) -> None:
        by_axis = [(sigma_mm / pixel_spacing_mm[0], 0.0), (0.0, sigma_mm / pixel_spacing_mm[1])]
        rows, columns = (torch.eye(side).to(like)[None, None] for side in like.shape[-2:])
        self._rows = gaussian_blur(rows, by_axis[0])[0, 0]
        self._columns = gaussian_blur(columns, by_axis[1])[0, 0]
        impulse = torch.zeros(1, 1, 41, 41)
        impulse[0, 0, 20, 20] = 1.0
        self.noise_share = float(gaussian_blur(impulse, (by_axis[0][0], by_axis[1][1])).square().sum().sqrt())

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return self._rows @ image @ self._columns


class _Part(Rectangle):
    """The rectangle of the images that holds the bodies, in air a pixel wide where there is any: half of a field."""

    def __init__(self, raw: torch.Tensor, model: ScannerModel, settings: BoneSettings) -> None:
        raw = raw.float()
        open_beam = raw.new_zeros(1, len(CHANNELS), 1, 1)  # a corrected scan's air reads 0
        body = without_specks(body_mask(raw, settings.body_threshold_nepers, model.full_scale_nepers, open_beam))
        super().__init__(body, (1, 1))
        self.settings = settings
        self.raw, self.body = self.cut(raw), self.cut(body)


def find_bone(
    raw: torch.Tensor,
    model: ScannerModel,
    settings: BoneSettings | None = None,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> Masks:
    """Body and bone masks of scans.

    Args:
        raw: ``(B, 6, H, W)`` corrected scans (:mod:`dxa_monai.physics.correction`).
        model: the scanner.
        settings: how bone is told from soft tissue.
        pixel_spacing_mm: distance between rows and between columns.
    """
    with torch.no_grad():
        part = _Part(raw, model, BoneSettings() if settings is None else settings)
        masks, _ = _find(part, model, pixel_spacing_mm)
        return masks.whole(part)


def find_and_decompose(
    raw: torch.Tensor,
    model: ScannerModel,
    settings: BoneSettings | None = None,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> tuple[Masks, torch.Tensor]:
    """Masks as :func:`find_bone` and areal densities as :func:`decompose` of the same scans, in less time.

    The areal densities have no gradient.
    """
    with torch.no_grad():
        part = _Part(raw, model, BoneSettings() if settings is None else settings)
        masks, known = _find(part, model, pixel_spacing_mm)
        areal = _behind_bone(part.raw, model, masks, known, part.settings, pixel_spacing_mm)
        return masks.whole(part), part.padded(areal)


def decompose(
    raw: torch.Tensor,
    model: ScannerModel,
    masks: Masks | None = None,
    settings: BoneSettings | None = None,
    pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM,
) -> torch.Tensor:
    """Areal densities of fat, lean and bone mineral, ``(B, 3, H, W)`` in g/cm2; zero outside of the body.

    Args:
        raw: ``(B, 6, H, W)`` corrected scans (:mod:`dxa_monai.physics.correction`). A network's output may be passed,
            corrected as its target; it has a gradient.
        model: the scanner.
        masks: of :func:`find_bone`; None: they are found in ``raw``. A loss passes those of the target.
        settings: how bone is told from soft tissue.
        pixel_spacing_mm: distance between rows and between columns.
    """
    settings = BoneSettings() if settings is None else settings
    masks = find_bone(raw, model, settings, pixel_spacing_mm) if masks is None else masks
    soft = decompose_soft(raw, model, masks.body)
    lines = bone_lines(raw, soft, model, settings.marrow_fat_per_mineral, masks.hidden)
    known = _Soft(masks.body, soft, lines, masks.lean_noise, trunk_share(masks.body, pixel_spacing_mm))
    return _behind_bone(raw, model, masks, known, settings, pixel_spacing_mm)


def _behind_bone(
    raw: torch.Tensor,
    model: ScannerModel,
    masks: Masks,
    known: _Soft,
    settings: BoneSettings,
    pixel_spacing_mm: tuple[float, float],
) -> torch.Tensor:
    """Areal densities ``(B, 3, H, W)`` with the bone mask given."""
    fat, hidden = carried_fat(known.soft, masks, known.trunk, pixel_spacing_mm), masks.hidden
    marrow, start = settings.marrow_fat_per_mineral, known.behind(fat.detach())
    behind = decompose_bone(raw, fat, model, marrow, hidden, start)
    return torch.where(hidden, behind, F.pad(known.soft, (0, 0, 0, 0, 0, 1)))


def carried_fat(
    soft: torch.Tensor, masks: Masks, trunk: torch.Tensor, pixel_spacing_mm: tuple[float, float]
) -> torch.Tensor:
    """Fat of every pixel, ``(B, 1, H, W)`` in g/cm2: carried on to hidden ones from those around. Differentiable.

    Args:
        soft: ``(B, 2, H, W)`` fat and lean in g/cm2 without bone in mind.
        masks: of :func:`find_bone`.
        trunk: ``(B, 1, H, W)`` of :func:`dxa_monai.analysis.soft_tissue.trunk_share`.
        pixel_spacing_mm: distance between rows and between columns.
    """
    fields, clear = fields_of_fat(soft, masks.lean_noise), masks.body & ~masks.hidden
    if masks.ribs is not None:
        fields = _with_ribs(fields, masks.ribs, soft, pixel_spacing_mm)
        clear = clear | masks.ribs.known
    return fat_of_fields(harmonic_fill(fields, clear, masks.body, pixel_spacing_mm), soft, trunk)


def _with_ribs(
    fields: torch.Tensor, ribs: RibCage, soft: torch.Tensor, pixel_spacing_mm: tuple[float, float]
) -> torch.Tensor:
    """Fields ``(B, 2, H, W)`` with the fat that the rib cage's pixels tell together."""
    fat = torch.where(ribs.known, ribs.fat(soft[:, :1], pixel_spacing_mm), fields[:, 1:])
    return torch.cat([fields[:, :1], fat], dim=1)


def _find(part: _Part, model: ScannerModel, pixel_spacing_mm: tuple[float, float]) -> tuple[Masks, _Soft]:
    """Masks, and what was worked out on the way, of the part of the image where the body is."""
    raw, body, settings = part.raw, part.body, part.settings
    inside = body.to(raw.dtype)
    soft = decompose_soft(raw, model, body)
    lines = bone_lines(raw, soft, model, settings.marrow_fat_per_mineral, body)
    blur = _Blur(raw, settings.smoothing_mm, pixel_spacing_mm)
    covered = blur(inside).clamp_min(0.05)
    # A single noisy pixel's noise would follow itself: that of the blurred total is taken, counted as lean because
    # bone reads as more lean than there is and less fat than none.
    total = blur(soft.sum(dim=1, keepdim=True)) / covered * inside
    lean_noise, noise = noise_behind_lean(total, model, body)
    blurred_noise = blur.noise_share * noise
    trunk = trunk_share(body, pixel_spacing_mm)
    known = _Soft(body, soft, lines, lean_noise, trunk)
    # Where single pixels are too noisy, the blur around them is judged in their place.
    noisy = ((noise - settings.noisy_g_cm2) / settings.noisy_g_cm2).clamp(0.0, 1.0)
    judged_noise = torch.lerp(noise, blurred_noise, noisy)

    fields = fields_of_fat(soft, lean_noise)
    filled = upper_envelope(fields, total, body, settings.envelope_quantile, pixel_spacing_mm)
    ribs = find_rib_cage(soft, lines, noise, total, filled[:, 1:], body, trunk, pixel_spacing_mm)
    fields, filled = (_with_ribs(image, ribs, soft, pixel_spacing_mm) for image in (fields, filled))
    bone = body
    for round_ in range(settings.coarse_rounds + settings.fine_rounds):
        if round_ > 0:
            clear = (body & ~bone & ~ribs.inside) | ribs.known
            filled = harmonic_fill(fields, clear, body, pixel_spacing_mm, filled, _ROUGH_ITERATIONS)
        mineral = known.behind(known.fat(filled))[:, 1:] * inside
        blurred = blur(mineral) / covered
        judged = torch.lerp(mineral, blurred, noisy)
        odds = log_odds(judged, judged_noise, settings.mean_mineral_g_cm2)
        bone = body & (with_neighbours(odds + settings.prior_log_odds, body, settings.coupling) > 0.0)
        if round_ < settings.coarse_rounds:
            if round_ < _LEVEL_ROUNDS:
                level = bone_level(blurred, blurred_noise, inside * (1.0 - trunk))
            threshold = settings.threshold_g_cm2 * level**settings.density_exponent
            stands_out = body & (blurred > torch.maximum(settings.noise_multiple * blurred_noise, threshold))
            bone = torch.where((trunk > 0.5) & ~ribs.inside, stands_out, bone)
    return Masks(body, bone, lean_noise, ribs), known


def without_specks(mask: torch.Tensor) -> torch.Tensor:
    """A mask ``(B, 1, H, W)`` less what a plus of five pixels does not fit into (morphological opening)."""
    loose = 1.0 - mask.float()
    core = 1.0 - torch.maximum(F.max_pool2d(loose, (3, 1), 1, (1, 0)), F.max_pool2d(loose, (1, 3), 1, (0, 1)))
    back = torch.maximum(F.max_pool2d(core, (3, 1), 1, (1, 0)), F.max_pool2d(core, (1, 3), 1, (0, 1)))
    return (back > 0) & mask
