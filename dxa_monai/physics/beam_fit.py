"""The beam of a scanner from what it reads: the most probable parameters, kept inside what the model can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from dxa_monai.errors import InputError
from dxa_monai.physics.beam_model import HIGHEST, LOWEST, PRIOR_SD, BeamParameters

FloatArray = npt.NDArray[np.float64]

MODEL_ERROR_NEPERS = 3e-4
"""How well Kramers' law can describe a real beam at best; keeps very precise readings from outweighing all others."""
MOST_RESIDUAL_NEPERS = 2e-3
"""Weighted by the photons. Scanners of this kind leave up to 0.5e-3."""
_MOST_STEPS = 60
_AT_LIMIT = 1e-3
"""Share of a parameter's range within which it counts as at its limit."""


class BeamFit(NamedTuple):
    """What :func:`fit_beam` found.

    Attributes:
        beam: the parameters.
        extra: ``(K,)`` values of the further parameters.
        misfit: sum of squares of misfit and prior.
    """

    beam: BeamParameters
    extra: FloatArray
    misfit: float


def fit_beam(
    misfit: Callable[[BeamParameters, FloatArray], FloatArray],
    extra_sd: FloatArray | None = None,
    extra_highest: FloatArray | None = None,
    start: BeamParameters | None = None,
) -> BeamFit:
    """The most probable beam.

    Args:
        misfit: of a beam and of further parameters, in standard deviations.
        extra_sd: ``(K,)`` prior standard deviations of the further parameters, whose priors begin at 0.
        extra_highest: ``(K,)`` their upper limits; the lower ones are 0.
        start: where the search begins; None: at the defaults.
    """
    sd = PRIOR_SD.as_vector()
    extra_sd = np.zeros(0) if extra_sd is None else extra_sd
    extra_highest = np.zeros(0) if extra_highest is None else extra_highest
    default, count = BeamParameters().as_vector(), len(sd)
    lowest = np.concatenate([(LOWEST.as_vector() - default) / sd, np.zeros(len(extra_sd))])
    highest = np.concatenate(
        [(HIGHEST.as_vector() - default) / sd, extra_highest / np.where(extra_sd > 0, extra_sd, 1)]
    )

    def parameters(steps: FloatArray) -> tuple[BeamParameters, FloatArray]:
        return BeamParameters.from_vector(default + steps[:count] * sd), steps[count:] * extra_sd

    begin = np.zeros(len(lowest)) if start is None else np.append((start.as_vector() - default) / sd, 0.0 * extra_sd)
    inside = lowest + 1e-6 * (highest - lowest), highest - 1e-6 * (highest - lowest)
    found = least_squares(
        lambda steps: np.concatenate([misfit(*parameters(steps)), steps]),
        np.clip(begin, *inside),
        bounds=(lowest, highest),
        max_nfev=_MOST_STEPS,
    )
    beam, extra = parameters(found.x)
    return BeamFit(beam, extra, 2.0 * float(found.cost))


def check_beam(beam: BeamParameters, residual_nepers: float, noise_nepers: float, source: str) -> None:
    """Refuse a beam that does not explain what it was fitted to, to ``MOST_RESIDUAL_NEPERS`` and twice the noise.

    Args:
        beam: of :func:`fit_beam`.
        residual_nepers: root mean square of what it leaves.
        noise_nepers: what it would leave if it were right.
        source: what a sentence begins with.

    Raises:
        InputError: it leaves more; where a tube voltage ended at what the model can hold, that is said, too.
    """
    most_nepers = MOST_RESIDUAL_NEPERS + 2.0 * noise_nepers
    if residual_nepers <= most_nepers:
        return
    for name in ("kvp_low", "kvp_high"):
        value, least, most = (float(getattr(each, name)) for each in (beam, LOWEST, HIGHEST))
        if min(value - least, most - value) < _AT_LIMIT * (most - least):
            raise InputError(
                f"{source}: expected a tube voltage {name} between {least:g} and {most:g} kV, got a best fit at "
                f"{value:.0f}; the scans are not those of such a scanner, or something in them is wrong."
            )
    raise InputError(
        f"{source}: expected readings that a dual-energy scanner explains to {most_nepers * 1e3:.1f} millinepers, "
        f"got {residual_nepers * 1e3:.1f} left of the best fit: another phantom or wheel than declared, or a fault."
    )
