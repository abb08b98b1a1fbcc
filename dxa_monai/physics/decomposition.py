"""From two log attenuations back to areal densities: Newton's method on the physical model of a scanner.

In soft tissue the unknowns are fat and lean. Two energies tell two materials apart, not three, so behind bone the fat
must be given and the unknowns are lean and bone mineral. Both are the same problem: with the areal densities
a = a_0 + P x of a pixel, find the two unknowns x so that

    G_c(x) = -ln sum_E w_c(E) exp(-a . mu(E)) = y_c                                                    (1)

in all six channels c: those behind the wheel's bone and tissue segments hold the same pixel seen by fewer photons, and
each counts by the inverse variance that its photons give it (Gauss-Newton steps of the weighted least squares).

Polynomials in the channels would be faster and useless outside of the range they were fitted in; Newton's method on (1)
is neither. The last step is taken with a gradient, which makes dx/dy that of the solution (implicit function theorem).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from dxa_monai.errors import InputError
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import CHANNELS

_LIMIT_NEPERS = (-0.2, 11.5)
"""Log attenuation outside of this is no measurement: noise in air on one side, a starved detector on the other."""
_LIMITS_G_CM2 = ((-40.0, 80.0), (-40.0, 80.0), (-3.0, 20.0))
"""Of fat, lean and bone mineral: steps may not leave what twice the thickest body needs, or exponentials overflow."""
_STEPS = 4
_STEPS_FROM_NEAR = 1
_LAST_STEP_G_CM2 = 2.0
_MOST_VARIANCE = 0.4  # relative; where so few photons are left, the correction itself is no longer right


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
    y = _log_attenuation(raw, model)
    basis = y.new_tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    chosen = _chosen(where, raw)
    x = _solve(y[chosen], y.new_zeros(1, 3), basis, (0, 1), model, y.new_zeros(len(chosen), 2), _STEPS)
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
        start: ``(B, 3, H, W)`` areal densities of the same scans for a similar fat: one step instead of four.

    Returns:
        ``(B, 3, H, W)`` in g/cm2, not clamped; differentiable in both tensors. Fat includes that of the marrow.

    Raises:
        InputError: another shape.
    """
    batch, _, rows, columns = raw.shape
    if fat_g_cm2.shape != (batch, 1, rows, columns):
        raise InputError(f"fat_g_cm2: expected shape {(batch, 1, rows, columns)}, got {tuple(fat_g_cm2.shape)}.")
    y = _log_attenuation(raw, model)
    chosen = _chosen(where, raw)
    offset = F.pad(fat_g_cm2.reshape(-1, 1)[chosen].to(y).clamp(*_LIMITS_G_CM2[0]), (0, 2))
    basis = y.new_tensor([[0.0, marrow_fat_per_mineral], [1.0, 0.0], [0.0, 1.0]])
    guess = y.new_zeros(len(chosen), 2) if start is None else _pixels(start)[chosen, 1:].to(y)
    x = _solve(y[chosen], offset, basis, (1, 2), model, guess, _STEPS if start is None else _STEPS_FROM_NEAR)
    return _image(offset + x @ basis.T, chosen, raw.shape)


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
        pixels = _pixels(areal_density)[chosen].clamp_min(0.0)
        mu, weights, variance = model.tensors(pixels.dtype, pixels.device)
        every = torch.eye(3, dtype=pixels.dtype, device=pixels.device)
        deviations = []
        for unknowns in ((0, 1), (1, 2)):
            known = pixels * (1.0 - every[list(unknowns)].sum(dim=0))
            _, jacobian, relative_variance = _forward(
                pixels[:, list(unknowns)], known, every[:, list(unknowns)], mu, weights, variance
            )
            a, b, d, _ = _normal_matrix(jacobian, relative_variance)
            deviation = (a / (a * d - b * b)).sqrt()  # of the second unknown
            deviations.append(_image(deviation[:, None], chosen, areal_density.shape))
        return deviations[0], deviations[1]


def _log_attenuation(raw: torch.Tensor, model: ScannerModel) -> torch.Tensor:
    """``(N, 6)`` of all pixels."""
    if raw.ndim != 4 or raw.shape[1] != len(CHANNELS):
        raise InputError(f"raw: expected shape (B, {len(CHANNELS)}, H, W), got {tuple(raw.shape)}.")
    raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    return _pixels((raw * model.full_scale_nepers).clamp(*_LIMIT_NEPERS))


def _pixels(image: torch.Tensor) -> torch.Tensor:
    return image.movedim(1, -1).reshape(-1, image.shape[1])


def _chosen(where: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
    """Numbers of the pixels that matter."""
    if where is None:
        return torch.arange(image.shape[0] * image.shape[2] * image.shape[3], device=image.device)
    return where.reshape(-1).nonzero()[:, 0]


def _image(values: torch.Tensor, chosen: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """``(B, K, H, W)`` of the chosen pixels' ``(N, K)`` values; zero elsewhere."""
    batch, _, rows, columns = shape
    every = values.new_zeros(batch * rows * columns, values.shape[1])
    return every.index_copy(0, chosen, values).reshape(batch, rows, columns, -1).movedim(-1, 1)


def _solve(
    y: torch.Tensor,
    offset: torch.Tensor,
    basis: torch.Tensor,
    unknowns: tuple[int, int],
    model: ScannerModel,
    start: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """Weighted least squares on equation (1).

    Args:
        y: ``(N, 6)`` log attenuation.
        offset: ``(N or 1, 3)`` a_0, what is known of the areal densities.
        basis: ``(3, 2)`` P, what the unknowns add to them.
        unknowns: which materials' areal densities the two unknowns are.
        model: the scanner.
        start: ``(N, 2)`` first guess.
        steps: how many steps.

    Returns:
        ``(N, 2)``.
    """
    with torch.autocast(y.device.type, enabled=False):
        mu, weights, variance = model.tensors(y.dtype, y.device)
        lowest, highest = y.new_tensor([_LIMITS_G_CM2[index] for index in unknowns]).unbind(-1)
        with torch.no_grad():
            x = start
            for _ in range(steps):
                g, jacobian, relative_variance = _forward(x, offset, basis, mu, weights, variance)
                step = _least_squares(jacobian, relative_variance, y - relative_variance / 2.0 - g)
                x = torch.clamp(x + step, lowest, highest)
        if not (y.requires_grad or offset.requires_grad):
            return x
        g, jacobian, relative_variance = _forward(x, offset, basis, mu, weights, variance)
        jacobian, relative_variance = jacobian.detach(), relative_variance.detach()
        # Solved, this step is almost zero and only carries the gradient; unsolvable pixels must not leap.
        last = _least_squares(jacobian, relative_variance, y - relative_variance / 2.0 - g)
        return x + last.clamp(-_LAST_STEP_G_CM2, _LAST_STEP_G_CM2)


def _forward(
    x: torch.Tensor,
    offset: torch.Tensor,
    basis: torch.Tensor,
    mu: torch.Tensor,
    weights: torch.Tensor,
    variance: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """G(x) ``(N, 6)``, its Jacobian ``(N, 6, 2)`` and the relative variance ``(N, 6)`` of the signals.

    The logarithm of a noisy signal lies above that of its mean by half of the relative variance on average.
    """
    transmitted = torch.exp(-((offset + x @ basis.T) @ mu))
    # Signals, their variances, and the signals weighted by each unknown's attenuation, in one product.
    unknowns = basis.T @ mu
    sums = transmitted @ torch.cat([weights, variance, *(weights * each[:, None] for each in unknowns)], dim=1)
    count = weights.shape[1]
    signal = sums[:, :count].clamp_min(torch.finfo(x.dtype).tiny)
    jacobian = sums[:, 2 * count :].reshape(-1, 2, count).transpose(1, 2) / signal[:, :, None]
    # No signal is more certain than the open beam's; half-solved pixels with negative mass may not outweigh all others.
    open_beam = (variance.sum(0) / weights.sum(0) ** 2).amin()
    relative_variance = torch.maximum(
        (sums[:, count : 2 * count] / signal / signal).clamp_max(_MOST_VARIANCE), open_beam
    )
    return -torch.log(signal), jacobian, relative_variance


def _normal_matrix(jacobian: torch.Tensor, relative_variance: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Entries (11, 12, 22) of J^T W J, each ``(N,)``, and W J ``(N, 6, 2)``."""
    weighted = jacobian / relative_variance[:, :, None]
    first, second = jacobian.unbind(-1)
    weighted_first, weighted_second = weighted.unbind(-1)
    return (
        (weighted_first * first).sum(1),
        (weighted_first * second).sum(1),
        (weighted_second * second).sum(1),
        weighted,
    )


def _least_squares(jacobian: torch.Tensor, relative_variance: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(J^T W J)^-1 J^T W right, ``(N, 2)``."""
    a, b, d, weighted = _normal_matrix(jacobian, relative_variance)
    right_first, right_second = (weighted * right[:, :, None]).sum(1).unbind(-1)
    solution = torch.stack([d * right_first - b * right_second, a * right_second - b * right_first], -1)
    return solution / (a * d - b * b)[:, None]
