"""One thread while a small problem is solved, and as many as before afterwards."""

from __future__ import annotations

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from dxa_monai.threads import one_thread


def _threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_one_thread_while_it_lasts() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(2):
            with one_thread():
                assert torch.get_num_threads() == 1
                assert _threads() == {1}
            assert torch.get_num_threads() == 2
            assert _threads() == {2}
    finally:
        torch.set_num_threads(before)


def test_as_many_as_before_after_an_error() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ValueError, match="inside"), one_thread():
            raise ValueError("inside")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
