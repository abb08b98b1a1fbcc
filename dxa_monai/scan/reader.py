"""MONAI reader of raw scans."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import ImageReader
from monai.utils import ImageMetaKey, MetaKeys, SpaceKeys, ensure_tuple

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, SCAN_SHAPE, channels_first
from dxa_monai.scan.io import READ_ENDINGS
from dxa_monai.scan.source import ScanSource


class RawDXAReader(ImageReader):
    """Reads a raw scan as float32 ``(6, H, W)`` in [0, 1], channels first and in the order of ``CHANNELS``.

    By name or as an object::

        LoadImaged(keys="image", reader="dxa_monai.scan.reader.RawDXAReader")
        LoadImaged(keys="image", reader=RawDXAReader(pixel_spacing_mm=(13.0, 6.3)))

    ``LoadImage`` silently tries its own readers when :meth:`read` fails, and loses the error. So ``read`` only takes
    the path, and :meth:`get_data` opens the file: its ``InputError`` reaches the user.

    What MONAI does not read (statistics, screening, baselines, evaluation) is read through ``source``, the same
    :class:`~dxa_monai.scan.source.ScanSource`.

    Args:
        channels: see :class:`~dxa_monai.scan.source.ScanSource`, also for the others and their errors.
        pixel_spacing_mm: distance between rows and between columns.
        spatial_shape: rows and columns that a scan must have.
    """

    def __init__(
        self,
        channels: Sequence[str] | None = None,
        pixel_spacing_mm: Sequence[float] | None = None,
        spatial_shape: Sequence[int] | None = SCAN_SHAPE,
    ) -> None:
        super().__init__()
        self.source = ScanSource(channels, pixel_spacing_mm, spatial_shape)

    def verify_suffix(self, filename: Sequence[str | os.PathLike[str]] | str | os.PathLike[str]) -> bool:
        """Whether every path has one of ``dxa_monai.scan.io.READ_ENDINGS``."""
        return all(str(name).lower().endswith(READ_ENDINGS) for name in ensure_tuple(filename))

    def read(self, data: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], **kwargs: Any) -> tuple[Path, ...]:
        """The path or paths to be opened by :meth:`get_data`."""
        return tuple(Path(name) for name in ensure_tuple(data))

    def get_data(self, img: Sequence[Path] | Path) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Open the scan that :meth:`read` was given.

        Returns:
            The scan, float32 ``(6, H, W)`` in [0, 1], and its metadata: ``affine`` and ``original_affine`` ``(4, 4)``
            with the distance in mm between rows, then columns, on the diagonal, ``spacing`` (the same two numbers),
            ``spatial_shape`` (H, W), ``original_channel_dim`` 0, ``channels``, ``filename_or_obj``.

        Raises:
            InputError: more than one path is given, or the source refuses the file.
        """
        paths = ensure_tuple(img)
        if len(paths) != 1:
            raise InputError(f"{paths[0] if paths else 'scan'}: expected one file a scan, got {len(paths)}.")
        scan = self.source.read(paths[0])
        affine = np.diag([*scan.pixel_spacing_mm, 1.0, 1.0])
        metadata = {
            MetaKeys.AFFINE: affine,
            MetaKeys.ORIGINAL_AFFINE: affine.copy(),
            MetaKeys.SPACE: SpaceKeys.RAS,
            MetaKeys.SPATIAL_SHAPE: np.array(scan.counts.shape[:2]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: 0,
            "spacing": np.array(scan.pixel_spacing_mm),
            "channels": CHANNELS,
            ImageMetaKey.FILENAME_OR_OBJ: str(paths[0]),
        }
        return channels_first(scan.counts), metadata
