from __future__ import annotations

import numpy as np
import torch
from ignite.engine import Engine
from sklearn.metrics import r2_score

from dxa_monai.metrics.mean_r2 import MeanR2, r2_scores


def test_scores_are_those_of_scikit_learn() -> None:
    truth = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)) * 100 + 2e4
    prediction = truth + 30 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    expected = r2_score(truth.double().numpy(), prediction.double().numpy(), multioutput="raw_values")
    np.testing.assert_allclose(r2_scores(prediction, truth), expected, rtol=1e-10)


def test_a_constant_truth_has_no_r2() -> None:
    assert torch.isnan(r2_scores(torch.rand(5, 1), torch.ones(5, 1))).all()


def test_batches_count_as_one() -> None:
    truth, prediction = torch.rand(10, 2), torch.rand(10, 2)
    metric = MeanR2()
    engine = Engine(lambda _, batch: {"pred": prediction[batch], "label": truth[batch]})
    metric.attach(engine, "mean_r2")
    engine.run([slice(0, 4), slice(4, 8), slice(8, 10)])
    assert abs(engine.state.metrics["mean_r2"] - float(r2_scores(prediction, truth).mean())) < 1e-9
