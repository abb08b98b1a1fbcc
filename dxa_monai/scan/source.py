"""The one way to read raw scans: what a data set's files are declared to be, and everything that is read from them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import SCAN_SHAPE, channel_index, channels_first, checked_zero_counts
from dxa_monai.scan.io import RawScan, checked_spacing, load_scan


@dataclass(frozen=True)
class ScanSource:
    """How the scans of a data set are read: by training, statistics, screening, baselines, evaluation and inference.

    Every part of a run reads through the same source, so that a mean image never has its channels in another order
    than the scans that are compared with it. A run records its source in ``run.json`` (:meth:`as_dict`).

    Args:
        channels: order of the channels in the files; None: as a file declares, else ``CHANNELS``.
        pixel_spacing_mm: distance between rows and between columns; None: the file's, else the nominal one.
        spatial_shape: rows and columns that a scan must have; None takes any.
        zero_counts: what each channel reads in open air, in the order of ``CHANNELS``; None: found in every scan.

    Raises:
        InputError: the arguments are no channel order, no spacing, no shape or no counts.
    """

    channels: Sequence[str] | None = None
    pixel_spacing_mm: Sequence[float] | None = None
    spatial_shape: Sequence[int] | None = SCAN_SHAPE
    zero_counts: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            channel_index(self.channels, "channels")
            object.__setattr__(self, "channels", tuple(str(name) for name in self.channels))
        if self.pixel_spacing_mm is not None:
            object.__setattr__(self, "pixel_spacing_mm", checked_spacing(self.pixel_spacing_mm, "pixel_spacing_mm"))
        if self.spatial_shape is not None:
            object.__setattr__(self, "spatial_shape", _checked_shape(self.spatial_shape))
        if self.zero_counts is not None:
            object.__setattr__(self, "zero_counts", checked_zero_counts(self.zero_counts))

    def read(self, path: str | os.PathLike[str]) -> RawScan:
        """Counts and pixel spacing of a file.

        Raises:
            InputError: see :func:`dxa_monai.scan.io.load_scan`.
        """
        shape = self.spatial_shape
        return load_scan(path, self.channels, self.pixel_spacing_mm, None if shape is None else (shape[0], shape[1]))

    def image(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """A file as float32 ``(6, H, W)`` in [0, 1], channels in the order of ``CHANNELS``.

        Raises:
            InputError: see :meth:`read`.
        """
        return torch.from_numpy(channels_first(self.read(path).counts))

    def images(self, rows: Iterable[Mapping[str, Any]]) -> torch.Tensor:
        """The scans of manifest rows, ``(N, 6, H, W)``; at least one.

        Raises:
            InputError: see :meth:`read`.
        """
        return torch.stack([self.image(row["scan"]) for row in rows])

    def as_dict(self) -> dict[str, Any]:
        """Plain types for a record; :meth:`from_dict` reads it back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> ScanSource:
        """What :meth:`as_dict` gave.

        Raises:
            InputError: it names something else, or values that cannot be.
        """
        names = [each.name for each in fields(cls)]
        unknown = next((name for name in recorded if name not in names), None)
        if unknown is not None:
            raise InputError(f"reader: expected {', '.join(names)}, got '{unknown}'.")
        return cls(**recorded)

    def with_undeclared_from(self, other: ScanSource) -> ScanSource:
        """This source; where it declares no channels, spacing or zero, those of another one."""
        return ScanSource(
            other.channels if self.channels is None else self.channels,
            other.pixel_spacing_mm if self.pixel_spacing_mm is None else self.pixel_spacing_mm,
            self.spatial_shape,
            other.zero_counts if self.zero_counts is None else self.zero_counts,
        )


def _checked_shape(shape: Sequence[int]) -> tuple[int, int]:
    try:
        rows, columns = (int(size) for size in shape)
    except (TypeError, ValueError, OverflowError):
        rows = columns = 0
    if rows < 1 or columns < 1:
        raise InputError(f"spatial_shape: expected two positive whole numbers (rows, columns), got {shape}.")
    return rows, columns
