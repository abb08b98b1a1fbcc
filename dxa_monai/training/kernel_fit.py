"""Fits a kernel read-out to the training people, its settings chosen by leaving people out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.scan.spread import every_so_many

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
        left_out: ``(M, T)`` predictions of each training scan that is judged by a fit that has not seen its person.
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
    judged: int | None = None,
    most_tried: int | None = None,
    half_precision: bool = False,
    by_size: bool = False,
) -> Fit:
    """Set a read-out to kernel ridge regression of ``wanted`` on ``codes``.

    Codes enter in one unit, that of their root mean square distance from their mean: a direction in which people hardly
    differ is trusted little. Length, share and penalty are those that predict best whom a fit has not seen, of all
    outputs together, each in standard deviations unless ``by_size``; all scans of a person are left out at once.

    Args:
        readout: of the codes' size; with as many centres as there are codes, or with none (then the share is 0).
        codes: ``(N, K)`` of the training scans.
        wanted: ``(N, T)``.
        people: N, whose scan each is.
        lengths: tried.
        shares: tried.
        penalties: tried.
        judged: only the first ones are predicted to be judged by, the others serve to fit; None: all.
        most_tried: codes that settings are tried with, those of some people where there are more, since the time grows
            with their cube; None: all.
        half_precision: fit to centres that half precision holds, in which a compact checkpoint keeps them: large
            weights cancel, so they cannot be rounded afterwards.
        by_size: outputs count by how much they differ, where they have one unit.

    Raises:
        InputError: the read-out has another size, or there are fewer than two people.
    """
    expected, got = (readout.linear.shape[0], readout.bias.shape[0]), (codes.shape[1], wanted.shape[1])
    if expected != got or len(readout.centres) not in (0, len(codes)):
        raise InputError(
            f"readout: expected {got[0]} inputs, {got[1]} outputs and 0 or {len(codes)} centres, "
            f"got {expected[0]}, {expected[1]} and {len(readout.centres)}."
        )
    if len(set(people)) < 2:
        raise InputError(f"training split: expected at least two people, got {len(set(people))}.")
    mean = codes.mean(axis=0, dtype=np.float64)
    deviations = codes.astype(np.float64) - mean
    scale = float(np.sqrt(np.square(deviations).sum(axis=1).mean())) or 1.0
    x = deviations / scale
    if half_precision:
        x = x.astype(np.float16).astype(np.float64)
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    targets = (wanted - middle) / spread
    counted = spread**2 if by_size else np.ones_like(spread)
    judged = len(x) if judged is None else judged
    tried = _of_some_people(people, len(people) if most_tried is None else most_tried)
    judged_of_tried = int((tried < judged).sum())
    some_people, some_x, some_targets = [people[place] for place in tried], x[tried], targets[tried]
    lowest = np.inf
    length, share, penalty = lengths[0], 0.0, penalties[0]
    for tried_length, tried_share in product(lengths, shares if len(readout.centres) else (0.0,)):
        if tried_share == 0.0 and tried_length != lengths[0]:
            continue  # without bumps their length says nothing
        inputs = _inputs(some_x, tried_length, tried_share)
        for tried_penalty in penalties:
            predicted = _left_out(inputs, tried_share, some_targets, some_people, tried_penalty, judged_of_tried)
            wrong = np.square(predicted - some_targets[:judged_of_tried])
            error = float((wrong * counted).mean())
            if error < lowest:
                lowest, length, share, penalty = error, tried_length, tried_share, tried_penalty
    inputs = _inputs(x, length, share)
    left_out = _left_out(inputs, share, targets, people, penalty, judged)
    r2 = 1.0 - float(np.square(left_out - targets[:judged]).mean())
    best = Fit(length, share, float(penalty), left_out * spread + middle, r2)
    model = _regression(best.penalty, best.share).fit(inputs, targets)
    if best.share == 0.0:
        dual, linear = np.zeros_like(targets), np.asarray(model.coef_).reshape(targets.shape[1], -1).T
    else:
        dual = np.asarray(model.dual_coef_).reshape(targets.shape)
        linear = x.T @ dual
    for name, value in (
        ("mean", mean),
        ("scale", np.array(scale)),
        ("linear", linear * spread),
        ("bias", middle),
        ("length", np.array(best.length)),
    ):
        getattr(readout, name).copy_(torch.from_numpy(np.asarray(value)))
    if len(readout.centres):
        readout.centres.copy_(torch.from_numpy(x))
        readout.dual.copy_(torch.from_numpy(best.share * dual * spread))
    return best


def _of_some_people(people: Sequence[str], most: int) -> npt.NDArray[np.intp]:
    """Places of all codes of some people, spread evenly, about ``most`` in all; of two people at least."""
    names = list(dict.fromkeys(people))
    step = every_so_many(len(people), most).step
    chosen = set(names[:: min(step, max(len(names) // 2, 1))])
    return np.flatnonzero([name in chosen for name in people])


def _left_out(
    inputs: FloatArray, share: float, targets: FloatArray, people: Sequence[str], penalty: float, judged: int
) -> FloatArray:
    """``(judged, T)`` predictions of the first codes, each by a fit without its person."""
    folds = min(FOLDS, len(set(people)))
    predicted = np.empty((judged, targets.shape[1]))
    for kept, out in GroupKFold(folds).split(targets, groups=list(people)):
        seen = out[out < judged]
        fitted = _regression(penalty, share).fit(_of(inputs, share, kept, kept), targets[kept])
        if len(seen):
            predicted[seen] = np.reshape(fitted.predict(_of(inputs, share, seen, kept)), (len(seen), -1))
    return predicted


def _regression(penalty: float, share: float) -> Ridge | KernelRidge:
    """Without bumps the weights of the codes are solved for, which are far fewer than those of the training scans."""
    return Ridge(penalty, fit_intercept=False) if share == 0.0 else KernelRidge(alpha=penalty, kernel="precomputed")


def _inputs(x: FloatArray, length: float, share: float) -> FloatArray:
    """What is regressed on: the codes, or with bumps the kernel of all of them."""
    if share == 0.0:
        return x
    products = x @ x.T
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares - 2.0 * products, 0.0)
    return np.asarray(products + share * np.exp(-distances / (2.0 * length**2)))


def _of(inputs: FloatArray, share: float, rows: npt.NDArray[np.intp], fitted: npt.NDArray[np.intp]) -> FloatArray:
    return inputs[rows] if share == 0.0 else inputs[np.ix_(rows, fitted)]
