"""Fits a shape path: components of the training bodies, and the regression from them to codes of scans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import GroupKFold
from sklearn.utils.extmath import randomized_svd

from dxa_monai.errors import InputError
from dxa_monai.networks.shape_path import ShapePath
from dxa_monai.scan.statistics import leading_components
from dxa_monai.training.kernel_fit import FOLDS, Fit, fit_readout

FloatArray = npt.NDArray[np.float64]
PENALTIES = tuple(np.logspace(-6.0, 1.0, 15))
"""Of the regression, tried."""
GROUP_COUNTS = (1.0, 1.0, 2.0, 2.0, 1.0)
"""How much the maps in metres count, those of the scaled body, and the height. Measured once on 700 training scans, of
people left out: the more the scaled ones count, the better lean follows, and the worse the image (R2 of lean 0.906,
0.909, 0.910 and 35.47, 35.43, 35.35 dB after alignment for 1, 2 and 3)."""
_ROUNDING = 1e-6
"""Of the largest variance."""
_MOST_EXACT = 4000
"""Bodies, with mirror images and other postures, of more than which components are found by a randomised method [1]_.

.. [1] Halko N, Martinsson PG, Tropp JA. Finding structure with randomness. SIAM Review 53:217 (2011),
   doi:10.1137/090771806.
"""


class BodyCodes(NamedTuple):
    """What a shape path's read-out takes of the training bodies.

    Attributes:
        values: ``(2, P, N, components)``: of N bodies in P postures, the first as they were scanned, and then of the
            mirror images.
        people: N, whose body each is.
    """

    values: FloatArray
    people: Sequence[str]

    @property
    def rows(self) -> FloatArray:
        """``(2 P N, components)``."""
        return self.values.reshape(-1, self.values.shape[-1])

    @property
    def people_of_rows(self) -> list[str]:
        """2 P N."""
        return [*self.people] * (2 * self.values.shape[1])

    @property
    def as_scanned(self) -> FloatArray:
        """``(N, components)``, neither mirrored nor in another posture."""
        return np.asarray(self.values[0, 0])

    def repeated(self, of_scans: FloatArray) -> FloatArray:
        """``(2 P N, T)``: what belongs to each row, of ``(2 N, T)`` of the scans and then of their mirror images."""
        halves = of_scans.reshape(2, 1, len(self.people), -1)
        return np.broadcast_to(halves, (*self.values.shape[:3], halves.shape[-1])).reshape(-1, halves.shape[-1])

    def of_some(self, some: slice | npt.NDArray[np.bool_]) -> BodyCodes:
        """Those of some of the bodies."""
        return BodyCodes(self.values[:, :, some], list(np.asarray(self.people)[some]))


def shape_vectors(path: ShapePath, clouds: Iterable[torch.Tensor]) -> torch.Tensor:
    """The maps ``(N, size)`` of clouds ``(7, P)``, one at a time."""
    with torch.no_grad():
        return torch.cat([path.maps(cloud[None]) for cloud in clouds])


def fit_shape_components(path: ShapePath, vectors: torch.Tensor, people: Sequence[str]) -> BodyCodes:
    """Set the components of a shape path to those of the training bodies and their mirror images.

    The maps and the height count as ``GROUP_COUNTS`` says. How far a body may lie from the components is what
    training bodies do when their person is left out.

    Args:
        path: to be set.
        vectors: ``(P, N, size)`` of :func:`shape_vectors`: N bodies as they were scanned, and then in other postures.
        people: N, whose body each is.

    Raises:
        InputError: there are not more bodies (with mirror images) than components.
    """
    postures, bodies, size = vectors.shape
    count = len(path.components)
    refuse_few_bodies(bodies, count)
    flat = vectors.reshape(-1, size)
    both = torch.cat([flat, path.maps.mirrored(flat)])
    mean = both.mean(dim=0)
    scaled = both.sub_(mean)
    groups = [*scaled[:, :-1].split(path.maps.shape[1] * path.maps.shape[2], dim=1), scaled[:, -1:]]
    scale = torch.cat(
        [
            (group.square().sum(dim=1).mean().sqrt() / counted)
            .clamp_min(torch.finfo(torch.float32).eps)
            .expand(group.shape[1])
            for group, counted in zip(groups, GROUP_COUNTS, strict=True)
        ]
    )
    scaled /= scale
    components = _components(scaled, count)
    path.mean.copy_(mean)
    path.scale.copy_(scale)
    path.components.copy_(components)
    path.farthest.fill_(_farthest(scaled, [*people] * (2 * postures), count))
    values = (scaled @ components.T).double().numpy()
    return BodyCodes(values.reshape(2, postures, bodies, count), people)


def refuse_few_bodies(bodies: int, components: int) -> None:
    """Refuse fewer bodies, with their mirror images, than components of shape are to be found in them.

    Raises:
        InputError: there are too few.
    """
    if 2 * bodies <= components:
        raise InputError(
            f"training split: expected more than {components // 2} scans for {components} components of shape, got "
            f"{bodies}; train on more pairs or with fewer --shape_components."
        )


def fit_codes(path: ShapePath, inputs: BodyCodes, codes: FloatArray) -> Fit:
    """Set the regression of a shape path, whose components are fitted, to the scans of the training people.

    Args:
        path: to be set.
        inputs: of :func:`fit_shape_components`.
        codes: ``(2 N, codes)`` of the scans and then of their mirror images.

    Returns:
        What was fitted; its predictions of people left out are those of the scans, in each posture of their bodies, and
        then of their mirror images.
    """
    wanted, people = inputs.repeated(codes), inputs.people_of_rows
    return fit_readout(path.readout, inputs.rows, wanted, people, penalties=PENALTIES, by_size=True)


def _components(scaled: torch.Tensor, count: int) -> torch.Tensor:
    """Orthonormal components ``(count, size)`` of deviations ``(N, size)``."""
    if len(scaled) > _MOST_EXACT:
        _, spread, directions = randomized_svd(scaled.numpy(), count, n_oversamples=20, n_iter=4, random_state=0)
        variances, components = torch.from_numpy(spread**2), torch.from_numpy(directions)
    else:
        variances, components = leading_components(scaled, count)
    # scans of one body say no more than one: what is left are no directions, and stay empty
    return torch.where((variances > _ROUNDING * variances.max())[:, None], components, 0.0)


def _farthest(scaled: torch.Tensor, people: Sequence[str], count: int) -> float:
    """The largest distance from the components of a body whose person was left out of them."""
    farthest = 0.0
    folds = GroupKFold(min(FOLDS, len(set(people))))
    for kept, out in folds.split(np.zeros(len(people)), groups=list(people)):
        middle = scaled[kept].mean(dim=0)
        components = _components(scaled[kept] - middle, min(count, len(kept) - 1))
        rest = scaled[out] - middle
        squares = rest.square().sum(dim=1) - (rest @ components.T).square().sum(dim=1)
        farthest = max(farthest, float(squares.clamp_min(0.0).sqrt().max()))
    return farthest or 1.0


def as_record(fit: Fit) -> dict[str, Any]:
    """What the record of a run should tell."""
    return {"penalty": fit.penalty, "r2_left_out": fit.r2}
