"""What a training says before it begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dxa_monai.losses.elementary import KLDivergence, PixelL1
from dxa_monai.losses.weighted import Term, WeightedLoss
from dxa_monai.training.run import TrainingRun


@pytest.mark.parametrize(("max_epochs", "told"), [(3, True), (4, False)])
def test_a_term_that_is_never_on_is_told(max_epochs: int, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Two arms that differ in it alone would end byte for byte alike."""
    terms = {"pixel_l1": Term(PixelL1()), "kl": Term(KLDivergence(), warm_up_epochs=3), "off": Term(PixelL1(), 0.0)}
    run: Any = SimpleNamespace(loss=WeightedLoss(terms))
    TrainingRun._tell_terms_that_are_never_on(run, max_epochs)
    printed = capsys.readouterr().out
    assert ("kl: its warm-up of 3 epochs is as long as this training of 3" in printed) == told
    assert "off" not in printed
    assert "pixel_l1" not in printed
