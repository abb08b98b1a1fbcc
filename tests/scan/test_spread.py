"""A few of many rows."""

import pytest

from dxa_monai.scan.spread import every_so_many, from_first_to_last


@pytest.mark.parametrize("count", [0, 1, 2, 5, 24, 100, 890])
@pytest.mark.parametrize("most", [1, 2, 3, 10, 300])
def test_no_more_than_asked_for_and_all_of_few(count: int, most: int) -> None:
    rows = list(range(count))
    thinned, spread = rows[every_so_many(count, most)], [rows[place] for place in from_first_to_last(count, most)]
    for chosen in (thinned, spread):
        assert len(chosen) <= most
        assert chosen == sorted(set(chosen))
        if count <= most:
            assert chosen == rows
    assert len(spread) == min(count, most)
    if count:
        assert thinned[0] == spread[0] == 0
        assert spread[-1] == rows[-1] or most == 1


def test_steps_are_equal() -> None:
    assert list(range(10))[every_so_many(10, 4)] == [0, 3, 6, 9]
    assert list(range(10))[every_so_many(10, 3)] == [0, 4, 8]
    assert from_first_to_last(10, 4) == [0, 3, 6, 9]
