"""Headerless ``.raw`` scans: numbers and nothing else, so that ``raw_layout.json`` beside them says what they are.

::

    {
     "version": 1,
     "shape": [150, 109, 6],
     "axes": ["row", "column", "channel"],
     "type": "uint16",
     "byte_order": "little",
     "channels": ["air_high", "air_low", "bone_high", "bone_low", "tissue_high", "tissue_low"],
     "pixel_spacing_mm": [13.0, 6.06]
    }

It holds for every ``.raw`` file of its folder. ``axes`` names the axes of ``shape``; neighbours along the last one lie
side by side in the file. ``channels`` and ``pixel_spacing_mm`` may be left out: what is said of the data set counts,
as for ``.npy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.errors import InputError, shown
from dxa_monai.input_files import read_input, read_keys
from dxa_monai.scan.format import CHANNELS, Array, channel_index
from dxa_monai.scan.limits import MAX_SCAN_BYTES

LAYOUT_NAME = "raw_layout.json"
LAYOUT_VERSION = 1
AXES = ("row", "column", "channel")
TYPES = ("uint16", "int16", "uint32", "int32", "float32", "float64")
"""Of a value; each holds 14 bits."""
BYTE_ORDERS = ("little", "big")
_KEYS = ("version", "shape", "axes", "type", "byte_order")
_OPTIONAL = ("channels", "pixel_spacing_mm")
_LONGEST_SIDE = 100_000


def read_raw(path: Path) -> tuple[Array, Sequence[float] | None, Sequence[str] | None]:
    """Counts ``(H, W, 6)``, pixel spacing in mm (row, column) and channels of a headerless file, as declared beside it.

    Args:
        path: the ``.raw`` file; ``raw_layout.json`` lies in its folder.

    Returns:
        The counts as stored; spacing and channel names, or None where the layout does not say.

    Raises:
        InputError: no layout, one that is none, or a file of another size than it says.
    """
    layout = layout_of(path)
    if not layout.is_file():
        read_input(path, MAX_SCAN_BYTES, "a scan file")  # a pipe, or no file at all, is told first
        raise InputError(
            f"{path}: expected {LAYOUT_NAME} beside it, which says shape, axes, type and byte order of the numbers in "
            "this folder's .raw files, got no such file."
        )
    declared = read_keys(layout, _KEYS, LAYOUT_VERSION, _OPTIONAL)
    shape, axes = _shape(layout, declared["shape"]), declared["axes"]
    if not isinstance(axes, list) or sorted(map(str, axes)) != sorted(AXES):
        raise InputError(f"{layout}: expected axes as {', '.join(AXES)} in the file's order, got {shown(axes)}.")
    kind = np.dtype(_one_of(layout, "type", declared["type"], TYPES))
    order = _one_of(layout, "byte_order", declared["byte_order"], BYTE_ORDERS)
    channels = declared.get("channels")
    if channels is not None:
        channel_index(channels if isinstance(channels, list) else [], f"{layout}, channels")
    sides = shape[axes.index("row")], shape[axes.index("column")]
    if shape[axes.index("channel")] != len(CHANNELS):
        raise InputError(f"{layout}: expected {len(CHANNELS)} channels, got the shape {shape} along {', '.join(axes)}.")
    content = read_input(path, MAX_SCAN_BYTES, "a scan file")
    expected = sides[0] * sides[1] * len(CHANNELS) * kind.itemsize
    if len(content) != expected:
        raise InputError(
            f"{path}: expected {expected} bytes ({' x '.join(map(str, shape))} values of {kind}, {LAYOUT_NAME}), "
            f"got {len(content)}."
        )
    values = np.frombuffer(content, dtype=kind.newbyteorder("<" if order == "little" else ">")).reshape(shape)
    return values.transpose([axes.index(name) for name in AXES]), declared.get("pixel_spacing_mm"), channels


def layout_of(path: Path) -> Path:
    """Where the layout of a ``.raw`` file is declared."""
    return path.parent / LAYOUT_NAME


def _shape(layout: Path, given: Any) -> tuple[int, ...]:
    sizes = given if isinstance(given, list) else []
    if len(sizes) != len(AXES) or not all(type(size) is int and 1 <= size <= _LONGEST_SIDE for size in sizes):
        raise InputError(f"{layout}: expected shape as three positive whole numbers, got {shown(given)}.")
    return tuple(sizes)


def _one_of(layout: Path, name: str, given: Any, words: tuple[str, ...]) -> str:
    if given not in words:
        raise InputError(f"{layout}: expected {name} to be one of {', '.join(words)}, got {shown(given)}.")
    return str(given)
