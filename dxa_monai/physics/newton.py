"""Newton's method for two unknowns a pixel on the physical model of a scanner: the core of the decomposition.

With the areal densities a = a_0 + P x of a pixel, what its channels c read is

    G_c(x) = -ln sum_E w_c(E) exp(-a . mu(E))                                                          (1)

and x is the weighted least squares of G_c(x) = y_c over the six channels, each counted by the inverse variance that its
photons give it (Gauss-Newton). Pixels that no longer move are left alone. The last step is taken with a gradient, which
makes dx/dy that of the solution (implicit function theorem).

Pixels lie along the last axis: ``(6, N)`` channels, ``(3, N)`` materials.
"""

from __future__ import annotations

import torch

from dxa_monai.physics.scanner_model import ScannerModel

LIMITS_G_CM2 = ((-40.0, 80.0), (-40.0, 80.0), (-3.0, 20.0))
"""Of fat, lean and bone mineral: steps may not leave what twice the thickest body needs, or exponentials overflow."""
_MOST_STEPS = 8
_STILL_G_CM2 = 0.05
"""Newton's error shrinks with about the square of the step: behind one this short, hundredths of a g/cm2 are left
in the noisiest pixels and 0.0001 on average."""
_STEPS_IN_DOUBLE = 6
"""In double precision all pixels take as many steps: a calibration differentiates the solution numerically, and where
pixels come to rest must not show."""
_LAST_STEP_G_CM2 = 2.0
_MOST_VARIANCE = 0.4  # relative; where so few photons are left, the correction itself is no longer right


def solve(
    y: torch.Tensor,
    offset: torch.Tensor,
    basis: torch.Tensor,
    unknowns: tuple[int, int],
    model: ScannerModel,
    start: torch.Tensor,
) -> torch.Tensor:
    """Weighted least squares on equation (1).

    Args:
        y: ``(6, N)`` log attenuation.
        offset: ``(3, N or 1)`` a_0, what is known of the areal densities.
        basis: ``(3, 2)`` P, what the unknowns add to them.
        unknowns: which materials' areal densities the two unknowns are.
        model: the scanner.
        start: ``(2, N)`` first guess.

    Returns:
        ``(2, N)``.
    """
    with torch.autocast(y.device.type, enabled=False):
        with torch.no_grad():
            x = _newton(y, offset, basis, unknowns, model, start)
        if not (y.requires_grad or offset.requires_grad):
            return x
        g, jacobian, relative_variance = channels_and_slopes(x, offset, basis, basis, model)
        jacobian, relative_variance = jacobian.detach(), relative_variance.detach()
        # Solved, this step is almost zero and only carries the gradient; unsolvable pixels must not leap.
        last = least_squares(jacobian, relative_variance, y - relative_variance / 2.0 - g)
        return x + last.clamp(-_LAST_STEP_G_CM2, _LAST_STEP_G_CM2)


def _newton(
    y: torch.Tensor,
    offset: torch.Tensor,
    basis: torch.Tensor,
    unknowns: tuple[int, int],
    model: ScannerModel,
    start: torch.Tensor,
) -> torch.Tensor:
    """The solution of :func:`solve` without gradient; each pixel is moved until it stands still."""
    lowest, highest = y.new_tensor([LIMITS_G_CM2[index] for index in unknowns])[:, :, None].unbind(1)
    moving: torch.Tensor | None = None
    solution = x = torch.clamp(start, lowest, highest)
    double = y.dtype == torch.float64
    for _ in range(_STEPS_IN_DOUBLE if double else _MOST_STEPS):
        g, jacobian, relative_variance = channels_and_slopes(x, offset, basis, basis, model)
        moved = torch.clamp(
            x + least_squares(jacobian, relative_variance, y - relative_variance / 2.0 - g), lowest, highest
        )
        solution = moved if moving is None else solution.index_copy(1, moving, moved)
        if double:
            x = moved
            continue
        rest = ((moved - x).abs() >= _STILL_G_CM2).any(dim=0).nonzero()[:, 0]
        if len(rest) == 0:
            break
        moving = rest if moving is None else moving[rest]
        x, y = moved[:, rest], y[:, rest]
        offset = offset if offset.shape[1] == 1 else offset[:, rest]
    return solution


def channels_and_slopes(
    x: torch.Tensor, offset: torch.Tensor, basis: torch.Tensor, directions: torch.Tensor, model: ScannerModel
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """G ``(6, N)`` at a_0 + P x, its derivatives ``(K, 6, N)`` along the materials of ``directions`` ``(3, K)``, and
    the variance ``(6, N)`` of the logarithm of the signals by photons and rounding.

    The logarithm of a noisy signal lies above that of its mean by half of the relative variance on average.
    """
    mu, weights, variance = model.tensors(x.dtype, x.device)
    transmitted = torch.exp(-(mu.T @ (offset + basis @ x)))
    # Signals, their variances, and the signals weighted by each direction's attenuation, in one product.
    along = directions.T @ mu
    sums = torch.cat([weights, variance, *(weights * each[:, None] for each in along)], dim=1).T @ transmitted
    count = weights.shape[1]
    signal = sums[:count].clamp_min(torch.finfo(x.dtype).tiny)
    jacobian = sums[2 * count :].unflatten(0, (len(along), count)) / signal
    # No signal is more certain than the open beam's; half-solved pixels with negative mass may not outweigh all others.
    open_beam = (variance.sum(0) / weights.sum(0) ** 2).amin()
    relative_variance = torch.maximum((sums[count : 2 * count] / signal / signal).clamp_max(_MOST_VARIANCE), open_beam)
    # Rounding is done after the logarithm: the same everywhere.
    return -torch.log(signal), jacobian, relative_variance + model.rounding_nepers**2 / 12.0


def normal_matrix(jacobian: torch.Tensor, relative_variance: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Entries (11, 12, 22) of J^T W J, each ``(N,)``, and W J ``(2, 6, N)``, of J ``(2, 6, N)``."""
    weighted = jacobian / relative_variance
    (first, second), (weighted_first, weighted_second) = jacobian, weighted
    return (
        (weighted_first * first).sum(0),
        (weighted_first * second).sum(0),
        (weighted_second * second).sum(0),
        weighted,
    )


def least_squares(jacobian: torch.Tensor, relative_variance: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """(J^T W J)^-1 J^T W right, ``(2, N)``."""
    a, b, d, weighted = normal_matrix(jacobian, relative_variance)
    right_first, right_second = (weighted * right).sum(1)
    return torch.stack([d * right_first - b * right_second, a * right_second - b * right_first]) / (a * d - b * b)
