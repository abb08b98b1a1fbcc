from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from dxa_monai.errors import InputError
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.training import kernel_fit
from dxa_monai.training.kernel_fit import fit_readout


def data(count: int = 60) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Codes, two outputs of which the second bends, and people with two scans each."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(count, 4)) * [3.0, 1.0, 0.3, 0.1] + 5.0
    bent = 2.0 * codes[:, 0] + np.square(codes[:, 1] - 5.0)
    return codes, np.stack([codes @ [1.0, -2.0, 0.5, 0.0], bent], axis=1), [f"p{i // 2}" for i in range(count)]


def test_the_layer_is_the_kernel_ridge_regression_that_was_fitted() -> None:
    codes, wanted, people = data()
    readout = KernelReadout(4, 2, len(codes))
    fit = fit_readout(readout, codes, wanted, people, lengths=[1.5], shares=[3.0], penalties=[0.01])
    mean, scale = codes.mean(axis=0), np.sqrt(np.square(codes - codes.mean(axis=0)).sum(axis=1).mean())
    x, new = (codes - mean) / scale, (codes[:5] * 1.1 - mean) / scale
    middle, spread = wanted.mean(axis=0), wanted.std(axis=0)

    def kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return first @ second.T + 3.0 * rbf_kernel(first, second, gamma=1.0 / (2.0 * 1.5**2))

    oracle = KernelRidge(alpha=0.01, kernel="precomputed").fit(kernel(x, x), (wanted - middle) / spread)
    expected = oracle.predict(kernel(new, x)) * spread + middle
    got = readout(torch.from_numpy(codes[:5] * 1.1).float())
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-3, atol=1e-3 * spread.max())
    assert (fit.length, fit.share, fit.penalty) == (1.5, 3.0, 0.01)


def test_left_out_people_are_predicted_without_them() -> None:
    codes, wanted, people = data()
    readout = KernelReadout(4, 2, len(codes))
    before = fit_readout(readout, codes, wanted, people, shares=[1.0], penalties=[1e-3], lengths=[1.0])
    spoilt = wanted.copy()
    spoilt[:2] += 1000.0  # both scans of the first person
    after = fit_readout(readout, codes, spoilt, people, shares=[1.0], penalties=[1e-3], lengths=[1.0])
    np.testing.assert_allclose(after.left_out[:2], before.left_out[:2], rtol=0.05, atol=30.0)
    assert np.abs(after.left_out[2:] - before.left_out[2:]).max() > 50.0


def test_only_the_first_are_judged_and_all_serve_to_fit() -> None:
    codes, wanted, people = data()
    settings: dict[str, Any] = {"shares": [1.0], "penalties": [1e-3], "lengths": [1.0]}
    whole = fit_readout(KernelReadout(4, 2, len(codes)), codes, wanted, people, **settings)
    first = fit_readout(KernelReadout(4, 2, len(codes)), codes, wanted, people, judged=30, **settings)
    np.testing.assert_allclose(first.left_out, whole.left_out[:30])
    standardised = (first.left_out - wanted[:30]) / wanted.std(axis=0)
    assert first.r2 == pytest.approx(1.0 - np.square(standardised).mean())


def test_settings_of_many_codes_are_tried_with_those_of_some_people(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, wanted, people = data(120)
    sizes = []

    def spied(x: np.ndarray, length: float, share: float) -> np.ndarray:
        sizes.append(len(x))
        return kernel(x, length, share)

    kernel = kernel_fit._inputs
    monkeypatch.setattr(kernel_fit, "_inputs", spied)
    fit = fit_readout(KernelReadout(4, 2, len(codes)), codes, wanted, people, most_tried=40)
    assert set(sizes[:-1]) == {40}
    assert sizes[-1] == 120
    assert fit.left_out.shape == wanted.shape
    assert fit.r2 > 0.9


def test_centres_in_half_precision_are_fitted_as_such() -> None:
    codes, wanted, people = data()
    whole, half = (KernelReadout(4, 2, len(codes)) for _ in range(2))
    settings: dict[str, Any] = {"shares": [1.0], "penalties": [1e-3], "lengths": [1.0]}
    fit_readout(whole, codes, wanted, people, **settings)
    fit_readout(half, codes, wanted, people, half_precision=True, **settings)
    assert half.centres.equal(half.centres.half().float())
    assert not whole.centres.equal(whole.centres.half().float())
    given = torch.from_numpy(codes).float()
    torch.testing.assert_close(half(given), whole(given), rtol=0.0, atol=0.05)


def test_bumps_are_chosen_where_outputs_bend_and_not_where_they_are_straight() -> None:
    codes, wanted, people = data(120)
    bent = fit_readout(KernelReadout(4, 1, 120), codes, wanted[:, 1:], people)
    straight = fit_readout(KernelReadout(4, 1, 120), codes, wanted[:, :1], people)
    assert bent.share > 0.0
    assert bent.r2 > 0.9
    assert straight.r2 > 0.999


def test_without_centres_it_is_ridge_regression() -> None:
    codes, wanted, people = data()
    readout = KernelReadout(4, 2)
    fit = fit_readout(readout, codes, wanted, people)
    assert fit.share == 0.0
    first, second = torch.from_numpy(codes[:1]).float(), torch.from_numpy(codes[1:2]).float()
    middle = readout((first + second) / 2.0)
    torch.testing.assert_close(middle, (readout(first) + readout(second)) / 2.0, rtol=1e-4, atol=1e-3)


def test_torchscript_has_it_too() -> None:
    codes, wanted, people = data()
    readout = KernelReadout(4, 2, len(codes))
    fit_readout(readout, codes, wanted, people, lengths=[1.0], shares=[1.0], penalties=[0.1])
    given = torch.from_numpy(codes).float()
    torch.testing.assert_close(torch.jit.script(readout)(given), readout(given))


def test_other_sizes_and_a_single_person_are_refused() -> None:
    codes, wanted, people = data()
    with pytest.raises(InputError, match="readout: expected 4 inputs, 2 outputs and 0 or 60 centres, got 3, 2 and 0"):
        fit_readout(KernelReadout(3, 2), codes, wanted, people)
    with pytest.raises(InputError, match="expected at least two people, got 1"):
        fit_readout(KernelReadout(4, 2), codes, wanted, ["p0"] * 60)
    with pytest.raises(InputError, match="inputs: expected a number from 1, got 0"):
        KernelReadout(0, 2)


def test_autocast_does_not_round_what_cancels() -> None:
    """Large weights of neighbouring bumps: in sixteen bits nothing would be left of their difference."""
    codes, wanted, people = data()
    readout = KernelReadout(4, 2, len(codes))
    fit_readout(readout, codes, wanted, people, lengths=[4.0], shares=[100.0], penalties=[1e-5])
    assert readout.dual.abs().max() > 100.0
    given = torch.from_numpy(codes).float()
    with torch.autocast("cpu", torch.bfloat16):
        got = readout(given)
    torch.testing.assert_close(got, readout(given))
    assert got.dtype == torch.float32


def test_outputs_may_count_by_their_size() -> None:
    """A large output that follows, and small ones that are noise: what is best for the large one is what is chosen."""
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(60, 4))
    large = 100.0 * codes @ rng.normal(size=(4, 1))
    wanted = np.concatenate([large, rng.normal(size=(60, 30))], axis=1)
    people = [f"p{index}" for index in range(60)]
    chosen = [
        fit_readout(KernelReadout(4, 31), codes, wanted, people, penalties=[1e-3, 1e3], by_size=by_size).penalty
        for by_size in (False, True)
    ]
    assert chosen == [1e3, 1e-3]
