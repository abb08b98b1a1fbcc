import numpy as np
import pytest

from dxa_monai.analysis.segments import segments_cross, segments_meet


@pytest.mark.parametrize(
    ("first", "second", "cross", "meet"),
    [
        (((0, 0), (2, 2)), ((0, 2), (2, 0)), True, True),
        (((0, 0), (2, 2)), ((2, 2), (3, 0)), False, True),
        (((0, 0), (2, 0)), ((1, 0), (3, 0)), False, True),
        (((0, 0), (2, 0)), ((3, 0), (4, 0)), False, False),
        (((0, 0), (2, 0)), ((1, 0), (1, 5)), False, True),
        (((0, 0), (2, 0)), ((0, 1), (2, 1)), False, False),
    ],
)
def test_cross_and_meet(first: tuple, second: tuple, cross: bool, meet: bool) -> None:
    for a, b in ((first, second), (second, first), (first[::-1], second)):
        assert segments_cross(a, b) is cross
        assert segments_meet(a, b) is meet


def test_crossing_agrees_with_solving_for_the_point() -> None:
    rng = np.random.default_rng(0)
    crossings = 0
    for _ in range(300):
        a, b, c, d = rng.uniform(0, 1, (4, 2))
        along, across = np.linalg.solve(np.column_stack([b - a, c - d]), c - a)
        inside = bool(0 < along < 1 and 0 < across < 1)
        crossings += inside
        start, end, other_start, other_end = (tuple(point.tolist()) for point in (a, b, c, d))
        assert segments_cross((start, end), (other_start, other_end)) is inside
    assert 30 < crossings < 270
