"""The beam that explains readings best, inside what the model can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.physics.beam_fit import FloatArray, check_beam, fit_beam
from dxa_monai.physics.beam_model import HIGHEST, LOWEST, PRIOR_SD, BeamParameters
from dxa_monai.physics.scanner_model import ScannerModel

NAMES = [field.name for field in dataclasses.fields(BeamParameters)]
DEFAULT = BeamParameters().as_vector()


def pull(target: FloatArray, strength: float) -> Callable[[BeamParameters, FloatArray], FloatArray]:
    """A misfit that wants these values, in standard deviations of the prior / ``strength``."""
    return lambda beam, _: strength * (beam.as_vector() - target) / PRIOR_SD.as_vector()


def inside(beam: BeamParameters) -> bool:
    values = beam.as_vector()
    return bool((values >= LOWEST.as_vector()).all() and (values <= HIGHEST.as_vector()).all())


def test_nothing_to_explain_leaves_the_defaults() -> None:
    fit = fit_beam(lambda beam, extra: np.zeros(1))
    np.testing.assert_allclose(fit.beam.as_vector(), DEFAULT, rtol=1e-6)
    assert fit.extra.size == 0
    assert fit.misfit == pytest.approx(0.0, abs=1e-9)


def test_misfit_and_prior_share_a_parameter_by_their_variances() -> None:
    """Prior and misfit of one standard deviation each: halfway, and half of one squared deviation is left."""
    target = DEFAULT + PRIOR_SD.as_vector() * (np.array(NAMES) == "kvp_low")
    fit = fit_beam(pull(target, 1.0))
    assert fit.beam.kvp_low == pytest.approx(102.0, abs=1e-3)
    assert fit.misfit == pytest.approx(0.5, abs=1e-4)


def test_a_strong_misfit_is_followed() -> None:
    target = DEFAULT + 0.5 * PRIOR_SD.as_vector()
    found = fit_beam(pull(target, 100.0)).beam
    np.testing.assert_allclose(found.as_vector(), target, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_misfit_that_pulls_beyond_a_limit_ends_there_and_does_not_raise(name: str, sign: float) -> None:
    target = DEFAULT + sign * 1e4 * PRIOR_SD.as_vector() * (np.array(NAMES) == name)
    beam = fit_beam(pull(target, 100.0)).beam
    assert inside(beam)
    limit = getattr(LOWEST if sign < 0 else HIGHEST, name)
    assert getattr(beam, name) == pytest.approx(limit, abs=1e-2 * (getattr(HIGHEST, name) - getattr(LOWEST, name)))


@pytest.mark.parametrize("seed", range(5))
def test_voltages_never_pass_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen: list[BeamParameters] = []
    target = DEFAULT + 100.0 * PRIOR_SD.as_vector() * rng.normal(size=len(DEFAULT))

    def misfit(beam: BeamParameters, _: FloatArray) -> FloatArray:
        seen.append(beam)
        return np.asarray(10.0 * (beam.as_vector() - target) / PRIOR_SD.as_vector())

    fit_beam(misfit)
    assert len(seen) > 10
    assert all(inside(beam) for beam in seen)
    assert all(beam.kvp_low < beam.kvp_high for beam in seen)


def test_voltages_that_are_pulled_past_each_other_stay_apart() -> None:
    """A model with equal voltages could be written and not be read again."""
    target = DEFAULT + 1e3 * (np.eye(len(DEFAULT))[0] - np.eye(len(DEFAULT))[1])
    beam = fit_beam(pull(target, 100.0)).beam
    assert beam.kvp_low < beam.kvp_high
    assert ScannerModel.from_dict(ScannerModel(beam=beam).as_dict()).beam == beam


@pytest.mark.parametrize("seed", range(2))
def test_a_misfit_that_makes_no_sense_ends(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fit = fit_beam(lambda beam, extra: rng.normal(size=20), np.array([0.1]), np.array([1.0]))
    assert inside(fit.beam)
    assert 0.0 <= fit.extra[0] <= 1.0


def test_further_parameters_stay_between_zero_and_their_highest() -> None:
    """0.03 wanted of 0.1 allowed, 5 wanted of 0.2 allowed, -1 wanted."""
    wanted, sd = np.array([0.03, 5.0, -1.0]), np.full(3, 10.0)
    highest = np.array([0.1, 0.2, 0.3])
    fit = fit_beam(lambda beam, extra: 1e3 * (extra - wanted), sd, highest)
    np.testing.assert_allclose(fit.extra, [0.03, 0.2, 0.0], atol=1e-4)
    assert (fit.extra >= 0).all()
    assert (fit.extra <= highest).all()


def test_a_start_changes_the_way_and_not_the_end() -> None:
    target = DEFAULT + 0.7 * PRIOR_SD.as_vector()
    start = BeamParameters.from_vector(DEFAULT + 0.3 * PRIOR_SD.as_vector())
    first, second = (fit_beam(pull(target, 10.0), start=each) for each in (None, start))
    np.testing.assert_allclose(first.beam.as_vector(), second.beam.as_vector(), rtol=1e-3)


@pytest.mark.parametrize("start", [LOWEST, HIGHEST])
def test_a_start_at_a_limit_is_no_error(start: BeamParameters) -> None:
    assert inside(fit_beam(lambda beam, extra: np.zeros(1), start=start).beam)


def test_a_beam_that_explains_is_not_refused() -> None:
    check_beam(BeamParameters(), 1.9e-3, 0.0, "scan")
    check_beam(LOWEST, 2.2e-3, 1e-4, "scan")


def test_a_beam_that_does_not_explain_is_refused_with_both_figures() -> None:
    sentence = "scan: expected readings that a dual-energy scanner explains to 2.0 millinepers, got 12.3 left"
    with pytest.raises(InputError, match=sentence):
        check_beam(BeamParameters(), 12.34e-3, 0.0, "scan")


@pytest.mark.parametrize(("name", "value"), [("kvp_low", 60.0), ("kvp_low", 116.99), ("kvp_high", 149.98)])
def test_a_voltage_at_its_limit_is_named(name: str, value: float) -> None:
    beam = dataclasses.replace(BeamParameters(), **{name: value})
    with pytest.raises(InputError, match=rf"phantom: expected a tube voltage {name} between .* at {value:.0f};"):
        check_beam(beam, 1.0, 0.0, "phantom")


def test_limits_hold_the_defaults_and_keep_low_below_high() -> None:
    assert inside(BeamParameters())
    assert HIGHEST.kvp_low < LOWEST.kvp_high
