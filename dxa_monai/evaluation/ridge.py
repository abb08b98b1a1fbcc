"""Regression on principal components, which needs no network, from images and from shapes: straight and bent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV

from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.training.kernel_fit import fit_readout

FloatArray = npt.NDArray[np.float64]

PENALTIES = np.logspace(-6.0, 4.0, 21)
"""Tried by leave-one-out on the training people, for each target by itself; relative to the first component."""
_NEGLIGIBLE = 1e-9
"""Components of less than this share of the first one's variance are rounding."""
_COLUMNS_AT_A_TIME = 4096


class Components:
    """Codes of inputs in the principal components of the training people's.

    Codes are in units of the first component's standard deviation, one scale for all: a direction in which people
    hardly differ is trusted little.

    Args:
        inputs: ``(N, D)`` of the training people, at least three; of single precision, to spare memory.
        components: how many, at most N - 1.
    """

    def __init__(self, inputs: npt.NDArray[np.floating], components: int) -> None:
        self.mean_input = inputs.mean(axis=0, dtype=np.float64)
        # with fewer people than columns, the components follow from the people's inner products
        variance, vectors = np.linalg.eigh(self._inner_products(inputs, inputs))
        largest = np.argsort(variance)[::-1][: min(components, len(inputs) - 1)]
        largest = largest[variance[largest] > _NEGLIGIBLE * variance.max()]
        deviation = np.sqrt(variance[largest])
        self.inputs = inputs
        # weights of the training people in the codes: unit vectors of the components, over the first one's deviation
        self.weights = vectors[:, largest] / deviation * (np.sqrt(len(inputs)) / deviation[0])

    def codes(self, inputs: npt.NDArray[np.floating]) -> FloatArray:
        """``(K, components)`` of inputs ``(K, D)``."""
        return self._inner_products(inputs, self.inputs) @ self.weights

    def _inner_products(self, first: npt.NDArray[np.floating], second: npt.NDArray[np.floating]) -> FloatArray:
        """``(A, B)`` of deviations from the mean input, in double precision, some columns at a time."""
        total = np.zeros((len(first), len(second)))
        for start in range(0, first.shape[1], _COLUMNS_AT_A_TIME):
            columns = slice(start, start + _COLUMNS_AT_A_TIME)
            one, other = (each[:, columns].astype(np.float64) - self.mean_input[columns] for each in (first, second))
            total += one @ other.T
        return total


class ComponentRidge:
    """Ridge regression of ``wanted`` on :class:`Components`, the penalty chosen by leave-one-out for each target.

    Args:
        inputs: ``(N, D)`` of the training people, see :class:`Components`.
        wanted: ``(N, T)`` what is predicted.
        components: principal components, at most N - 1.
    """

    def __init__(self, inputs: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating], components: int) -> None:
        self.components = Components(inputs, components)
        self.mean, spread = wanted.mean(axis=0), wanted.std(axis=0)
        self.spread = np.where(spread > 0.0, spread, 1.0)
        self.ridge = RidgeCV(alphas=PENALTIES, alpha_per_target=True)
        self.ridge.fit(self.components.codes(inputs), (wanted - self.mean) / self.spread)

    def predict(self, inputs: npt.NDArray[np.floating]) -> FloatArray:
        """``(K, T)`` of inputs ``(K, D)``."""
        predicted = self.ridge.predict(self.components.codes(inputs)).reshape(len(inputs), -1)
        return np.asarray(predicted * self.spread + self.mean)


class ComponentProcess:
    """The mean of a Gaussian process of ``wanted`` over :class:`Components`: kernel ridge regression.

    Its kernel is a line and smooth bumps; their length and share and the noise are chosen by leaving people out, for
    all targets together (:func:`dxa_monai.training.kernel_fit.fit_readout`).

    Args:
        inputs: ``(N, D)`` of the training people, see :class:`Components`.
        wanted: ``(N, T)`` what is predicted.
        components: principal components, at most N - 1.
        people: N, whose scan each is.
    """

    def __init__(
        self,
        inputs: npt.NDArray[np.floating],
        wanted: npt.NDArray[np.floating],
        components: int,
        people: Sequence[str],
    ) -> None:
        self.components = Components(inputs, components)
        codes = self.components.codes(inputs)
        self.readout = KernelReadout(codes.shape[1], wanted.shape[1], len(codes)).double()
        self.fit = fit_readout(self.readout, codes, wanted, people)

    def predict(self, inputs: npt.NDArray[np.floating]) -> FloatArray:
        """``(K, T)`` of inputs ``(K, D)``."""
        return np.asarray(self.readout(torch.from_numpy(self.components.codes(inputs))).numpy())
