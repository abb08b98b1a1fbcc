import io
import random

import numpy as np
import torch

from dxa_monai.runs.random_state import get_random_state, set_random_state


def _draws() -> list[float]:
    numpy_draws = np.random.normal(size=3)  # noqa: NPY002 - an odd number leaves a second normal in store
    return [*torch.randn(5).tolist(), *numpy_draws.tolist(), random.random(), random.gauss(0.0, 1.0)]


def test_the_same_draws_follow_from_a_state_that_was_on_disk() -> None:
    _draws()
    file = io.BytesIO()
    torch.save(get_random_state(), file)
    first = _draws()
    assert _draws() != first
    file.seek(0)
    set_random_state(torch.load(file, weights_only=True))
    assert _draws() == first
