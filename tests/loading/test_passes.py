from collections import Counter
from itertools import islice

import ignite.distributed as idist
import pytest

from dxa_monai.errors import InputError
from dxa_monai.loading.passes import Draw, ShuffledPasses


def _batches(passes: ShuffledPasses, count: int) -> list[list[Draw]]:
    """The next batches, pass after pass, as a trainer takes them."""
    taken: list[list[Draw]] = []
    while len(taken) < count:
        taken += list(islice(passes, count - len(taken)))
    return taken


def test_each_pass_sees_each_scan_at_most_once_in_an_order_of_its_own() -> None:
    passes = ShuffledPasses(scans=11, batch_size=3, seed=0)
    assert len(passes) == 3
    first, second = _batches(passes, 3), _batches(passes, 3)
    for number, batches in enumerate((first, second)):
        drawn = [index for batch in batches for _, index in batch]
        assert len(drawn) == 9
        assert max(Counter(drawn).values()) == 1
        assert {of_pass for batch in batches for of_pass, _ in batch} == {number}
    assert [index for _, index in first[0]] != [index for _, index in second[0]]


def test_all_scans_are_seen_in_the_long_run() -> None:
    batches = _batches(ShuffledPasses(scans=11, batch_size=3, seed=0), 60)
    counts = Counter(index for batch in batches for _, index in batch)
    assert set(counts) == set(range(11))
    assert max(counts.values()) <= 20


@pytest.mark.parametrize("begin", range(8))
def test_a_training_goes_on_at_any_batch(begin: int) -> None:
    whole = _batches(ShuffledPasses(scans=11, batch_size=3, seed=4), 12)
    resumed = ShuffledPasses(scans=11, batch_size=3, seed=4)
    list(resumed)  # whatever was read before
    resumed.start_at(begin)
    assert _batches(resumed, 12 - begin) == whole[begin:]


def test_seeds_differ() -> None:
    assert list(ShuffledPasses(20, 4, seed=0)) != list(ShuffledPasses(20, 4, seed=1))


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_batches(processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = list(ShuffledPasses(21, 4, seed=0))
    monkeypatch.setattr(idist, "get_world_size", lambda: processes)
    parts = []
    for rank in range(processes):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        parts.append(list(ShuffledPasses(21, 4, seed=0)))
    assert [[draw for part in step for draw in part] for step in zip(*parts, strict=True)] == whole


def test_batches_that_cannot_be_made_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="batch_size: expected at most the 3 scans there are to train on, got 4"):
        ShuffledPasses(3, 4, seed=0)
    monkeypatch.setattr(idist, "get_world_size", lambda: 3)
    with pytest.raises(InputError, match="batch_size: expected a multiple of the 3 processes, got 4"):
        ShuffledPasses(30, 4, seed=0)
