"""From two log attenuations back to areal densities: Newton's method on the physical model of a scanner.

In soft tissue the unknowns are fat and lean. Two energies tell two materials apart, not three, so behind bone the fat
must be given and the unknowns are lean and bone mineral. Both are the same problem: with the areal densities
a = a_0 + P x of a pixel, find the two unknowns x so that

    G_c(x) = -ln sum_E w_c(E) exp(-a . mu(E)) = y_c                                                    (1)

in all six channels c (:mod:`dxa_monai.physics.newton`): those behind the wheel's bone and tissue segments hold the same
pixel seen by fewer photons, and each counts by the inverse variance that its photons give it.

Polynomials in the channels alone would be faster and useless outside of the range they were fitted in; Newton's method
on (1) is neither. One in the two channels of the air segment says where to begin.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F

from dxa_monai.errors import InputError
from dxa_monai.physics.newton import LIMITS_G_CM2, channels_and_slopes, least_squares, normal_matrix, solve
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS

_LIMIT_NEPERS = (-0.2, 11.5)
"""Log attenuation outside of this is no measurement: noise in air on one side, a starved detector on the other."""
_START_DEGREE = 3
_START_G_CM2 = (0.0, 40.0)
"""Fat, and lean, for which the polynomial start is fitted; the solution may lie outside."""
_NOISE_STEP_G_CM2 = 0.5


def decompose_soft(raw: torch.Tensor, model: ScannerModel, where: torch.Tensor | None = None) -> torch.Tensor:
    """Fat and lean of every pixel, as if there were no bone.

    Args:
        raw: ``(B, 6, H, W)`` in [0, 1]; odd values (of a network's output) are clamped to what can be measured.
        model: the scanner.
        where: ``(B, 1, H, W)`` bool, the pixels that matter; others are zero. None: all.

    Returns:
        ``(B, 2, H, W)`` fat and lean in g/cm2. Not clamped: noise makes a thin layer's fat negative as often as too
        large, so sums are unbiased. Differentiable.

    Raises:
        InputError: another shape.
    """
    chosen = _chosen(where, raw)
    y = _log_attenuation(raw, model, chosen)
    basis = y.new_tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    x = solve(y, y.new_zeros(3, 1), basis, (0, 1), model, _start(y.detach(), model))
    return _image(x, chosen, raw.shape)


def decompose_bone(
    raw: torch.Tensor,
    fat_g_cm2: torch.Tensor,
    model: ScannerModel,
    marrow_fat_per_mineral: float = 0.0,
    where: torch.Tensor | None = None,
    start: torch.Tensor | None = None,
) -> torch.Tensor:
    """Fat, lean and bone mineral of every pixel, given its fat outside of bone.

    Args:
        raw: as in :func:`decompose_soft`.
        fat_g_cm2: ``(B, 1, H, W)`` fat in front of and behind the bone.
        model: the scanner.
        marrow_fat_per_mineral: grams of fat that each gram of bone mineral brings along in its marrow.
        where: as in :func:`decompose_soft`.
        start: ``(B, 2, H, W)`` a guess of lean and mineral, for example of :class:`BoneLines`; saves time, no more.

    Returns:
        ``(B, 3, H, W)`` in g/cm2, not clamped; differentiable in both tensors. Fat includes that of the marrow.

    Raises:
        InputError: another shape.
    """
    batch, _, rows, columns = raw.shape
    if fat_g_cm2.shape != (batch, 1, rows, columns):
        raise InputError(f"fat_g_cm2: expected shape {(batch, 1, rows, columns)}, got {tuple(fat_g_cm2.shape)}.")
    chosen = _chosen(where, raw)
    y = _log_attenuation(raw, model, chosen)
    offset = F.pad(_pixels(fat_g_cm2, chosen).to(y).clamp(*LIMITS_G_CM2[0]), (0, 0, 0, 2))
    basis = y.new_tensor([[0.0, marrow_fat_per_mineral], [1.0, 0.0], [0.0, 1.0]])
    guess = y.new_zeros(2, len(chosen)) if start is None else _pixels(start.detach(), chosen).to(y)
    x = solve(y, offset, basis, (1, 2), model, guess)
    return _image(offset + basis @ x, chosen, raw.shape)


def bone_lines(
    raw: torch.Tensor,
    soft: torch.Tensor,
    model: ScannerModel,
    marrow_fat_per_mineral: float = 0.0,
    where: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """How :func:`decompose_bone` depends on the fat that it is given, to first order around the soft solution.

    While the fat behind bone is still sought, mineral is wanted for one guess after the other. With the residuals r and
    the Jacobian J = (J_f, J_l, J_m) of (1) at the soft solution, lean and mineral for the fat f are the weighted least
    squares of

        J_l (l - l_s) + (J_m + c J_f) m = r - J_f (f - f_s)                                                (2)

    with c the marrow's fat for each gram of mineral: a line in f. Exact where there is little mineral, ten percent off
    behind the densest bones.

    Args:
        raw: as in :func:`decompose_soft`.
        soft: ``(B, 2, H, W)`` of :func:`decompose_soft`.
        model: the scanner.
        marrow_fat_per_mineral: as in :func:`decompose_bone`.
        where: as in :func:`decompose_soft`.

    Returns:
        ``(B, 2, H, W)`` lean and mineral for the soft solution's own fat, and ``(B, 2, H, W)`` what each further g/cm2
        of fat adds to them; without gradient.
    """
    with torch.no_grad():
        chosen = _chosen(where, raw)
        y = _log_attenuation(raw, model, chosen)
        x = _pixels(soft, chosen).to(y)
        every = torch.eye(3, dtype=y.dtype, device=y.device)
        g, jacobian, relative_variance = channels_and_slopes(x, y.new_zeros(3, 1), every[:, :2], every, model)
        by_fat, by_lean, by_mineral = jacobian
        two = torch.stack([by_lean, by_mineral + marrow_fat_per_mineral * by_fat])
        own = least_squares(two, relative_variance, y - relative_variance / 2.0 - g)
        own[0] += x[1]
        slope = least_squares(two, relative_variance, -by_fat)
        return _image(own, chosen, raw.shape), _image(slope, chosen, raw.shape)


def noise_g_cm2(
    areal_density: torch.Tensor, model: ScannerModel, where: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Standard deviations that photon noise gives to what is solved for.

    Args:
        areal_density: ``(B, 3, H, W)`` fat, lean, bone mineral in g/cm2.
        model: the scanner.
        where: as in :func:`decompose_soft`.

    Returns:
        ``(B, 1, H, W)`` each, g/cm2, without gradient: of lean (and of fat, within a few percent) from
        :func:`decompose_soft`, and of bone mineral from :func:`decompose_bone`.
    """
    with torch.no_grad():
        chosen = _chosen(where, areal_density)
        pixels = _pixels(areal_density, chosen).clamp_min(0.0)
        every = torch.eye(3, dtype=pixels.dtype, device=pixels.device)
        _, jacobian, relative_variance = channels_and_slopes(pixels, pixels.new_zeros(3, 1), every, every, model)
        deviations = []
        for two in (jacobian[:2], jacobian[1:]):
            a, b, d, _ = normal_matrix(two, relative_variance)
            deviation = (a / (a * d - b * b)).sqrt()  # of the second unknown
            deviations.append(_image(deviation[None], chosen, areal_density.shape))
        return deviations[0], deviations[1]


def noise_behind_lean(
    lean_g_cm2: torch.Tensor, model: ScannerModel, where: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`noise_g_cm2` where there is nothing but lean tissue, read off a table: within a thousandth, much faster.

    Args:
        lean_g_cm2: ``(B, 1, H, W)``.
        model: the scanner.
        where: ``(B, 1, H, W)`` bool; other pixels are zero.

    Returns:
        As :func:`noise_g_cm2`.
    """
    with torch.no_grad():
        highest = LIMITS_G_CM2[1][1]
        nodes = torch.arange(0.0, highest + _NOISE_STEP_G_CM2, _NOISE_STEP_G_CM2).to(lean_g_cm2)
        tables = noise_g_cm2(F.pad(nodes.reshape(1, 1, 1, -1), (0, 0, 0, 0, 1, 1)), model)
        place = (lean_g_cm2[where] / _NOISE_STEP_G_CM2).clamp(0.0, len(nodes) - 1.001)
        below = place.long()
        deviations = []
        for table in tables:
            values = table.flatten()
            image = torch.zeros_like(lean_g_cm2)
            image[where] = torch.lerp(values[below], values[below + 1], place - below)
            deviations.append(image)
        return deviations[0], deviations[1]


def _log_attenuation(raw: torch.Tensor, model: ScannerModel, chosen: torch.Tensor) -> torch.Tensor:
    """``(6, N)`` of the chosen pixels."""
    if raw.ndim != 4 or raw.shape[1] != len(CHANNELS):
        raise InputError(f"raw: expected shape (B, {len(CHANNELS)}, H, W), got {tuple(raw.shape)}.")
    raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    return (_pixels(raw, chosen) * model.full_scale_nepers).clamp(*_LIMIT_NEPERS)


def _pixels(image: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """``(C, N)`` the chosen pixels of ``(B, C, H, W)``."""
    return image.movedim(1, 0).reshape(image.shape[1], -1).index_select(1, chosen)


def _chosen(where: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
    """Numbers of the pixels that matter."""
    if where is None:
        return torch.arange(image.shape[0] * image.shape[-2] * image.shape[-1], device=image.device)
    return where.reshape(-1).nonzero()[:, 0]


def _image(values: torch.Tensor, chosen: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """``(B, K, H, W)`` of the chosen pixels' ``(K, N)`` values; zero elsewhere."""
    batch, _, rows, columns = shape
    every = values.new_zeros(len(values), batch * rows * columns)
    return every.index_copy(1, chosen, values).reshape(-1, batch, rows, columns).movedim(0, 1)


def _start(y: torch.Tensor, model: ScannerModel) -> torch.Tensor:
    """``(2, N)`` fat and lean about right wherever the body is soft, and finite elsewhere.

    In double precision, in which models are fitted, 0: a polynomial for each model tried would cost more than it saves.
    """
    if y.dtype == torch.float64:
        return y.new_zeros(2, y.shape[1])
    coefficients = _start_coefficients(model).to(y)
    # Bone reads as little fat and much lean: outside of the fitted range by far, a polynomial says nothing.
    lowest, highest = _START_G_CM2
    return (coefficients @ _powers(y[:2])).clamp(lowest - 0.5 * highest, 1.5 * highest)


def _powers(channels: torch.Tensor) -> torch.Tensor:
    """Monomials of two channels ``(2, N)`` up to ``_START_DEGREE``, ``(M, N)``."""
    first, second = channels
    powers = [torch.ones_like(first)]
    last = powers
    for _ in range(_START_DEGREE):
        last = [first * power for power in last] + [second * last[-1]]
        powers = powers + last
    return torch.stack(powers)


@lru_cache(maxsize=16)
def _start_coefficients(model: ScannerModel) -> torch.Tensor:
    """``(2, M)`` float64 polynomial in the air segment's two channels, fitted to soft tissue of any fat content."""
    with torch.inference_mode(False), torch.no_grad():
        total, share = torch.meshgrid(
            torch.linspace(*_START_G_CM2, 41, dtype=torch.float64),
            torch.linspace(0.0, 1.0, 11, dtype=torch.float64),
            indexing="ij",
        )
        wanted = torch.stack([(share * total).flatten(), ((1.0 - share) * total).flatten()])
        basis = torch.eye(3, 2, dtype=torch.float64)
        channels, _, _ = channels_and_slopes(wanted, wanted.new_zeros(3, 1), basis, basis, model)
        return torch.linalg.lstsq(_powers(channels[:2]).T, wanted.T).solution.T.contiguous()
