"""Where straight segments in the image plane cross."""

from __future__ import annotations

Point = tuple[float, float]
Segment = tuple[Point, Point]


def segments_cross(first: Segment, second: Segment) -> bool:
    """True if the two segments pass through each other; touching at an end or lying on one line does not count."""
    (a, b), (c, d) = first, second
    return _side(a, b, c) * _side(a, b, d) < 0.0 and _side(c, d, a) * _side(c, d, b) < 0.0


def segments_meet(first: Segment, second: Segment) -> bool:
    """True if the two closed segments share any point, an end or a stretch included."""
    (a, b), (c, d) = first, second
    if segments_cross(first, second):
        return True
    return any(
        _side(start, end, point) == 0.0 and _within(start, end, point)
        for start, end, point in ((a, b, c), (a, b, d), (c, d, a), (c, d, b))
    )


def _side(start: Point, end: Point, point: Point) -> float:
    """Twice the signed area of the triangle: its sign says on which side of the line ``point`` lies."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])


def _within(start: Point, end: Point, point: Point) -> bool:
    return all(min(start[axis], end[axis]) <= point[axis] <= max(start[axis], end[axis]) for axis in (0, 1))
