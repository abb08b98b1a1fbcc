"""Fits a kernel read-out to the training people, its settings chosen by leaving people out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GroupKFold

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout

FloatArray = npt.NDArray[np.float64]

LENGTHS = (1.0, 2.0, 4.0)
"""Of a bump, tried; in root mean square distances of the training codes from their mean."""
SHARES = (0.0, 1.0, 10.0, 100.0)
"""Of the bumps in the kernel, tried, beside 1 of the line; 0: ridge regression."""
PENALTIES = tuple(np.logspace(-5.0, 0.0, 6))
"""Tried."""
FOLDS = 5


class Fit(NamedTuple):
    """What was chosen, and how good it is on people left out.

    Attributes:
        length: of a bump.
        share: of the bumps.
        penalty: of the weights.
        left_out: ``(N, T)`` predictions of each training scan by a fit that has not seen its person.
        r2: of these, mean over the outputs.
    """

    length: float
    share: float
    penalty: float
    left_out: FloatArray
    r2: float

    def as_dict(self) -> dict[str, Any]:
        """Plain types for the record of a run."""
        return {name: float(getattr(self, name)) for name in ("length", "share", "penalty", "r2")}


def fit_readout(
    readout: KernelReadout,
    codes: npt.NDArray[np.floating],
    wanted: npt.NDArray[np.floating],
    people: Sequence[str],
    lengths: Sequence[float] = LENGTHS,
    shares: Sequence[float] = SHARES,
    penalties: Sequence[float] = PENALTIES,
) -> Fit:
    """Set a read-out to kernel ridge regression of ``wanted`` on ``codes``.

    Codes enter in one unit, that of their root mean square distance from their mean: a direction in which people hardly
    differ is trusted little. Length, share and penalty are those that predict best whom a fit has not seen, of all
    outputs together, each in standard deviations; all scans of a person are left out at once.

    Args:
        readout: of the codes' size; with as many centres as there are codes, or with none (then the share is 0).
        codes: ``(N, K)`` of the training scans.
        wanted: ``(N, T)``.
        people: N, whose scan each is.
        lengths: tried.
        shares: tried.
        penalties: tried.

    Raises:
        InputError: the read-out has another size, or there are fewer than two people.
    """
    expected, got = (readout.linear.shape[0], readout.bias.shape[0]), (codes.shape[1], wanted.shape[1])
    if expected != got or len(readout.centres) not in (0, len(codes)):
        raise InputError(
            f"readout: expected {got[0]} inputs, {got[1]} outputs and 0 or {len(codes)} centres, "
            f"got {expected[0]}, {expected[1]} and {len(readout.centres)}."
        )
    folds = min(FOLDS, len(set(people)))
    if folds < 2:
        raise InputError(f"training split: expected at least two people, got {folds}.")
    mean = codes.mean(axis=0, dtype=np.float64)
    deviations = codes.astype(np.float64) - mean
    scale = float(np.sqrt(np.square(deviations).sum(axis=1).mean())) or 1.0
    x = deviations / scale
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    targets = (wanted - middle) / spread
    parts = list(GroupKFold(folds).split(x, groups=list(people)))
    best: Fit | None = None
    lowest = np.inf
    for length, share in product(lengths, shares if len(readout.centres) else (0.0,)):
        if share == 0.0 and length != lengths[0]:
            continue  # without bumps their length says nothing
        kernel = _kernel(x, length, share)
        for penalty in penalties:
            left_out = np.empty_like(targets)
            for kept, out in parts:
                fitted = KernelRidge(alpha=penalty, kernel="precomputed").fit(kernel[np.ix_(kept, kept)], targets[kept])
                left_out[out] = fitted.predict(kernel[np.ix_(out, kept)])
            error = float(np.square(left_out - targets).mean())
            if error < lowest:
                lowest = error
                best = Fit(length, share, float(penalty), left_out * spread + middle, 1.0 - error)
    assert best is not None
    model = KernelRidge(alpha=best.penalty, kernel="precomputed").fit(_kernel(x, best.length, best.share), targets)
    dual = np.asarray(model.dual_coef_).reshape(targets.shape)
    for name, value in (
        ("mean", mean),
        ("scale", np.array(scale)),
        ("linear", x.T @ dual * spread),
        ("bias", middle),
        ("length", np.array(best.length)),
    ):
        getattr(readout, name).copy_(torch.from_numpy(np.asarray(value)))
    if len(readout.centres):
        readout.centres.copy_(torch.from_numpy(x))
        readout.dual.copy_(torch.from_numpy(best.share * dual * spread))
    return best


def _kernel(x: FloatArray, length: float, share: float) -> FloatArray:
    products = x @ x.T
    if share == 0.0:
        return products
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares - 2.0 * products, 0.0)
    return np.asarray(products + share * np.exp(-distances / (2.0 * length**2)))
