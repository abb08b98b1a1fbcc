"""Small JSON files of points that people edit by hand: read strictly, told apart from what they may not hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError, shown
from dxa_monai.files import atomic_path


def read_shape(path: str | Path, value: Any) -> tuple[int, int]:
    """``[rows, columns]`` as two positive integers.

    Raises:
        InputError: anything else.
    """
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in value)
    ):
        raise InputError(f"{path}: expected image_shape as [rows, columns], two positive integers, got {shown(value)}.")
    return value[0], value[1]


def read_point(source: str | Path, name: str, value: Any) -> tuple[float, float]:
    """``[row, column]`` as two finite numbers.

    Raises:
        InputError: anything else.
    """
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 2
        or any(isinstance(part, bool) or not isinstance(part, (int, float)) for part in value)
    ):
        raise InputError(f"{source}: expected {name} as [row, column], two numbers, got {shown(value)}.")
    try:
        point = float(value[0]), float(value[1])
    except OverflowError:
        point = math.inf, math.inf
    if not all(math.isfinite(part) for part in point):
        raise InputError(f"{source}: expected finite numbers for {name}, got {shown(value)}.")
    return point


def inside_image(point: tuple[float, float], shape: tuple[int, int]) -> bool:
    """True if the point lies on a pixel of an image (pixel centres at integers)."""
    return all(-0.5 <= part <= side - 0.5 for part, side in zip(point, shape, strict=True))


def write_object(content: dict[str, Any], path: str | Path) -> Path:
    """Write JSON with one point a line, whole or not at all."""
    path = Path(path)
    lines = []
    for key, value in content.items():
        if isinstance(value, dict):
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(points)}" for name, points in value.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    with atomic_path(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return path
