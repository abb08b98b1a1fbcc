"""One thread, where a problem is small: threads that wait for each other on a busy machine cost more than the work.

A scan's systems of equations have some hundred unknowns. With a thread a core and one core busy elsewhere, their
solution was measured to take 100 times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from threadpoolctl import ThreadpoolController


@contextmanager
def one_thread() -> Iterator[None]:
    """While it lasts, linear algebra and torch use one thread; then as many as before. Also a decorator."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _libraries().limit(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """Those loaded by now; to look for them takes milliseconds."""
    return ThreadpoolController()
