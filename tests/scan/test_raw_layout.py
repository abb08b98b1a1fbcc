"""Headerless scans are what their layout says, or refused."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM
from dxa_monai.scan.io import load_scan, scan_content
from dxa_monai.scan.raw_layout import AXES, BYTE_ORDERS, LAYOUT_NAME, TYPES
from tests.scan.examples import body_counts

COUNTS = body_counts((12, 9))
LAYOUT: dict[str, Any] = {
    "version": 1,
    "shape": [12, 9, 6],
    "axes": ["row", "column", "channel"],
    "type": "uint16",
    "byte_order": "little",
}


def written(folder: Path, content: bytes, **changes: Any) -> Path:
    """A ``.raw`` file beside a layout; None takes a key out."""
    layout = {name: value for name, value in (LAYOUT | changes).items() if value is not None}
    (folder / LAYOUT_NAME).write_text(json.dumps(layout))
    (folder / "a.RAW").write_bytes(content)
    return folder / "a.RAW"


@pytest.mark.parametrize("axes", list(itertools.permutations(AXES)))
@pytest.mark.parametrize("byte_order", BYTE_ORDERS)
def test_any_order_of_axes_and_bytes_is_read_as_declared(
    axes: tuple[str, ...], byte_order: str, tmp_path: Path
) -> None:
    stored = COUNTS.transpose([AXES.index(name) for name in axes])
    for kind in TYPES:
        content = stored.astype(np.dtype(kind).newbyteorder({"little": "<", "big": ">"}[byte_order])).tobytes()
        path = written(tmp_path, content, shape=list(stored.shape), axes=axes, byte_order=byte_order, type=kind)
        scan = load_scan(path, spatial_shape=None)
        np.testing.assert_array_equal(scan.counts, COUNTS)
        assert scan.counts.dtype == np.uint16
        assert scan.pixel_spacing_mm == PIXEL_SPACING_MM


def test_channels_and_spacing_of_the_layout_count_and_may_not_be_contradicted(tmp_path: Path) -> None:
    content = COUNTS[..., ::-1].astype("<u2").tobytes()
    path = written(tmp_path, content, channels=CHANNELS[::-1], pixel_spacing_mm=[12.5, 6.5])
    scan = load_scan(path, spatial_shape=None)
    np.testing.assert_array_equal(scan.counts, COUNTS)
    assert scan.pixel_spacing_mm == (12.5, 6.5)
    assert load_scan(path, pixel_spacing_mm=[10, 5], spatial_shape=None).pixel_spacing_mm == (10.0, 5.0)
    with pytest.raises(InputError, match=r"a\.RAW: expected the declared channel order air_high, .*, got a file with"):
        load_scan(path, channels=CHANNELS, spatial_shape=None)


@pytest.mark.parametrize("change", [-1, 1, -2, 2, 1296])
def test_another_size_is_told_with_both_sizes(change: int, tmp_path: Path) -> None:
    whole = COUNTS.astype("<u2").tobytes()
    path = written(tmp_path, (whole + bytes(1296))[: len(whole) + change])
    with pytest.raises(InputError) as told:
        load_scan(path, spatial_shape=None)
    assert str(told.value) == (
        f"{path}: expected 1296 bytes (12 x 9 x 6 values of uint16, raw_layout.json), got {1296 + change}."
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"version": 2}, "expected version 1, got 2"),
        ({"type": None}, "expected a JSON object with the keys version, shape, axes, type, byte_order"),
        ({"skip": 4}, "expected a JSON object with the keys .*, got .*'skip'"),
        ({"shape": [12, 9]}, "expected shape as three positive whole numbers, got"),
        ({"shape": [12, 0, 6]}, "expected shape as three positive whole numbers, got"),
        ({"shape": [10**30, 9, 6]}, "expected shape as three positive whole numbers, got"),
        ({"shape": [True, 9, 6]}, "expected shape as three positive whole numbers, got"),
        ({"shape": [12, 6, 9]}, r"expected 6 channels, got the shape \(12, 6, 9\) along row, column, channel"),
        ({"axes": ["row", "row", "channel"]}, "expected axes as row, column, channel in the file's order, got"),
        ({"axes": "row"}, "expected axes as row, column, channel in the file's order, got"),
        ({"type": "uint8"}, "expected type to be one of uint16, .*, got 'uint8'"),
        ({"type": "object"}, "expected type to be one of uint16, .*, got 'object'"),
        ({"byte_order": ["little"]}, "expected byte_order to be one of little, big, got"),
        ({"channels": ["air_high"]}, "expected the channels air_high, .* in any order, got air_high"),
        ({"channels": 6}, "expected the channels air_high, .* in any order, got none"),
        ({"pixel_spacing_mm": [13.0]}, "expected a pixel spacing of two positive numbers"),
        ({"pixel_spacing_mm": "13"}, "expected a pixel spacing of two positive numbers"),
    ],
)
def test_a_layout_that_is_none_is_told(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path, COUNTS.astype("<u2").tobytes(), **changes)
    with pytest.raises(InputError, match=sentence) as told:
        load_scan(path, spatial_shape=None)
    assert str(told.value).startswith(str(tmp_path))
    assert "\n" not in str(told.value)


def test_without_a_layout_the_sentence_says_what_to_write(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"1")
    with pytest.raises(InputError, match=r"a\.raw: expected raw_layout\.json beside it, which says shape, axes, type"):
        load_scan(tmp_path / "a.raw")
    os.mkfifo(tmp_path / LAYOUT_NAME)
    with pytest.raises(InputError, match=r"a\.raw: expected raw_layout\.json beside it"):
        load_scan(tmp_path / "a.raw")


def test_another_byte_order_than_declared_is_no_scan(tmp_path: Path) -> None:
    path = written(tmp_path, COUNTS.astype(">u2").tobytes())
    with pytest.raises(InputError, match=r"expected counts in 0\.\.16383, got "):
        load_scan(path, spatial_shape=None)


def test_the_layout_belongs_to_what_is_hashed(tmp_path: Path) -> None:
    path = written(tmp_path, COUNTS.astype("<u2").tobytes())
    before = scan_content(path)
    written(tmp_path, COUNTS.astype("<u2").tobytes(), pixel_spacing_mm=[12.5, 6.5])
    assert scan_content(path) != before
