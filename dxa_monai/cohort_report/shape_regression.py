"""How much of a person's composition a linear model reads from the shape of the body alone.

Optical scanners predict fat and lean mass from shape well and bone poorly [1]_. A virtual population in which shape
tells more than that would make every model that sees a body's outline look better than it is.

.. [1] Ng et al., "Detailed 3-dimensional body shape features predict body composition, blood metabolites, and
   functional strength: the Shape Up! studies", Am J Clin Nutr 110:1316, 2019, doi:10.1093/ajcn/nqz218.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError

FloatArray = npt.NDArray[np.float64]

COMPONENTS = 20
"""Principal components of shape; the study cited needed 11 for 95 % of the variance of each sex."""
FOLDS = 5
RIDGE = 1.0
"""Penalty on the coefficients of standardized components, relative to one person."""


def held_out_r2(
    shapes: npt.NDArray[np.floating],
    targets: Mapping[str, npt.NDArray[np.floating]],
    components: int = COMPONENTS,
    ridge: float = RIDGE,
    folds: int = FOLDS,
    seed: int = 0,
) -> dict[str, float]:
    """R2 of ridge regression on principal components of shape, on people held out by cross-validation.

    In every fold the components, the means and the coefficients come from the other people only. With predictions
    p of the people held out, ``R2 = 1 - sum (y - p)^2 / sum (y - mean y)^2``; it is below 0 where the mean of all
    would have been the better answer.

    Args:
        shapes: ``(N, V, 3)`` vertices of N people in one pose, or any ``(N, D)`` features.
        targets: by name, ``(N,)`` what is predicted.
        components: principal components used; at most the number of people in a training fold minus one.
        ridge: penalty, see ``RIDGE``.
        folds: people are divided at random into this many groups.
        seed: of that division.

    Returns:
        R2 by name; NaN where the target is constant.

    Raises:
        InputError: fewer than two people a fold, or a target of another length.
    """
    features = np.asarray(shapes, dtype=np.float64).reshape(len(shapes), -1)
    people = len(features)
    if people < 2 * folds:
        raise InputError(f"held_out_r2: expected at least {2 * folds} people for {folds} folds, got {people}.")
    for name, values in targets.items():
        if np.shape(values) != (people,):
            raise InputError(f"held_out_r2: expected {people} values of {name}, got shape {np.shape(values)}.")
    wanted = np.stack([np.asarray(values, dtype=np.float64) for values in targets.values()], axis=1)
    predicted = np.empty_like(wanted)
    group = np.random.default_rng(seed).permutation(people) % folds
    # Principal components need the people's inner products only; those of all people serve every fold.
    centred = features - features.mean(axis=0)
    gram = centred @ centred.T
    for fold in range(folds):
        held_out = group == fold
        predicted[held_out] = _ridge_on_components(gram, held_out, wanted, components, ridge)
    residual = np.square(wanted - predicted).sum(axis=0)
    total = np.square(wanted - wanted.mean(axis=0)).sum(axis=0)
    r2 = 1.0 - np.divide(residual, total, out=np.full_like(total, np.nan), where=total > 0.0)
    return dict(zip(targets, r2.tolist(), strict=True))


def _ridge_on_components(
    gram: FloatArray, held_out: npt.NDArray[np.bool_], wanted: FloatArray, components: int, ridge: float
) -> FloatArray:
    """Predictions ``(H, T)`` for the people held out from those that are not."""
    training = ~held_out
    count = int(training.sum())
    inner = gram[np.ix_(training, training)]
    outer = gram[np.ix_(held_out, training)]
    # Inner products about the training people's mean shape: K - K 1/n - 1/n K + 1/n K 1/n.
    middle = inner.mean(axis=0)
    centred = inner - middle - middle[:, None] + inner.mean()
    outer = outer - middle - outer.mean(axis=1)[:, None] + inner.mean()
    variance, vectors = np.linalg.eigh(centred)
    largest = np.argsort(variance)[::-1][: min(components, count - 1)]
    largest = largest[variance[largest] > 1e-9 * variance.max()]
    # Scores of the training people with unit variance: sqrt(n) times the eigenvectors.
    scores = np.sqrt(count) * vectors[:, largest]
    coefficients = scores.T @ (wanted[training] - wanted[training].mean(axis=0)) / (count + ridge)
    new_scores = np.sqrt(count) * (outer @ vectors[:, largest]) / variance[largest]
    return wanted[training].mean(axis=0) + new_scores @ coefficients
