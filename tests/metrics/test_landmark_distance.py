"""The share of correct landmarks."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.metrics.landmark_distance import CorrectShare


def test_the_share_counts_landmarks_in_the_field() -> None:
    logits = torch.full((1, 3, 16, 16), -20.0)
    logits[:, :, 8, 8] = 20.0
    true = torch.tensor([[[8.0, 8.0], [8.0, 11.0], [torch.nan, torch.nan]]])
    near, far = CorrectShare(3.0, (10.0, 10.0)), CorrectShare(2.9, (10.0, 10.0))
    for metric, share in ((near, 1.0), (far, 0.5)):
        metric(logits, true)
        assert metric.aggregate().item() == pytest.approx(share)
