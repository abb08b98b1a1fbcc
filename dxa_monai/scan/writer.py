"""MONAI writer of raw scans."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.data import ImageWriter
from monai.utils import MetaKeys, convert_data_type

from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS, PIXEL_SPACING_MM, Array, unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan


class RawDXAWriter(ImageWriter):
    """Writes float ``(6, H, W)`` in [0, 1] as 14-bit counts, in any format of :mod:`dxa_monai.scan.io`.

    By name or as a class::

        SaveImaged(keys="image", writer="dxa_monai.scan.writer.RawDXAWriter", output_ext=".npy")

    What :class:`~dxa_monai.scan.reader.RawDXAReader` has read comes back count by count. Values outside [0, 1] are
    clipped. The pixel spacing is that of the metadata's affine, or the nominal one.

    ``SaveImage`` keeps only the text of what a writer raises, inside a longer message of its own.

    Args:
        output_dtype: ignored, a raw scan is always stored as uint16 (``SaveImage`` passes its default here).
        scale: must be None, the scale of counts is fixed.

    Raises:
        InputError: ``scale`` is given.
    """

    def __init__(self, output_dtype: Any = None, scale: int | None = None, **kwargs: Any) -> None:
        if scale is not None:
            raise InputError(f"scale: expected None, since raw scans are stored as 14-bit counts, got {scale}.")
        super().__init__(**kwargs)
        self.unit: Array | None = None
        self.pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM

    def set_data_array(
        self,
        data_array: torch.Tensor | Array,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take the image to be written.

        Args:
            data_array: ``(6, H, W)`` in [0, 1], channels as in ``CHANNELS``.
            channel_dim: must be 0.
            squeeze_end_dims: has no meaning for a raw scan.
            **kwargs: ignored.

        Raises:
            InputError: another shape or channel dimension, or values that are not finite.
        """
        unit = convert_data_type(data_array, np.ndarray)[0]
        if channel_dim != 0 or unit.ndim != 3 or unit.shape[0] != len(CHANNELS):
            raise InputError(
                f"image: expected shape ({len(CHANNELS)}, H, W) with channel_dim 0, "
                f"got {tuple(unit.shape)} with channel_dim {channel_dim}."
            )
        bad = np.count_nonzero(~np.isfinite(unit))
        if bad:
            raise InputError(f"image: expected finite values in [0, 1], got {bad} that are NaN or infinite.")
        self.unit = unit

    def set_metadata(self, meta_dict: Mapping[str, Any] | None = None, resample: bool = False, **options: Any) -> None:
        """Take the pixel spacing from ``meta_dict["affine"]``, if there is one.

        Raises:
            InputError: ``resample`` is set; a raw scan is written on the grid it has.
        """
        if resample:
            raise InputError("resample: expected False, since a raw scan is written on its own grid, got True.")
        affine = None if meta_dict is None else meta_dict.get(MetaKeys.AFFINE)
        if affine is None:
            self.pixel_spacing_mm = PIXEL_SPACING_MM
        else:
            # hypot, unlike the root of a sum of squares, is exact where the other entry is 0
            rows_mm, columns_mm = np.hypot(*np.asarray(affine, dtype=np.float64)[:2, :2])
            self.pixel_spacing_mm = float(rows_mm), float(columns_mm)

    def write(self, filename: str | os.PathLike[str], verbose: bool = True, **kwargs: Any) -> None:
        """Write the image to ``filename``; its ending names the format.

        Raises:
            InputError: there is no image yet, or :func:`~dxa_monai.scan.io.save_scan` refuses it.
        """
        super().write(filename, verbose=verbose)
        if self.unit is None:
            raise InputError(f"{filename}: expected set_data_array before write, got no image.")
        save_scan(RawScan(unit_to_counts(np.moveaxis(self.unit, 0, -1)), self.pixel_spacing_mm), filename)
