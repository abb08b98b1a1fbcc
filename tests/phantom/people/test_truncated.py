"""The truncated normal draw: inside its limits, in order, distributed as scipy's, and unmoved by far limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from dxa_monai.phantom.people.truncated import truncated_normal


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 0.5), (0.3, 2.0), (-np.inf, -0.4)])
def test_draws_follow_the_truncated_distribution(lowest: float, highest: float) -> None:
    z = np.random.default_rng(3).standard_normal(2000)
    drawn = np.array([truncated_normal(value, lowest, highest) for value in z])
    assert drawn.min() > lowest
    assert drawn.max() < highest
    assert scipy.stats.kstest(drawn, scipy.stats.truncnorm(lowest, highest).cdf).pvalue > 0.01
    assert np.array_equal(np.argsort(drawn), np.argsort(z))


def test_far_limits_leave_a_draw_alone() -> None:
    for z in (-2.5, 0.0, 1.7):
        assert truncated_normal(z, -7.0, 7.0) == pytest.approx(z, abs=1e-6)
