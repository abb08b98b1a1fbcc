"""From a raw scan to the cells and points that a network of landmarks learns: decomposed, moved about, averaged."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import TransformBackends

from dxa_monai.analysis.bone import find_and_decompose
from dxa_monai.networks.landmark_grid import CELL_MM, LandmarkGrid, landmark_channels
from dxa_monai.networks.landmark_net import other_side
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import PIXEL_SPACING_MM
from dxa_monai.threads import one_thread
from dxa_monai.transforms.geometric import FieldGeometry, move_map, move_points

LANDMARKS_KEY = "landmarks"
LABEL_KEY = "label"


def maps_of_scan(
    raw: torch.Tensor, model: ScannerModel, pixel_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Fat, lean, mineral ``(3, H, W)`` and body ``(H, W)`` of a raw scan ``(6, H, W)``, as the analysis has them."""
    with torch.no_grad():
        raw = find_correction(raw.float(), model, pixel_spacing_mm, None).apply(raw.float()[None])
        masks, maps = find_and_decompose(raw, model, None, pixel_spacing_mm)
    return maps[0].cpu().numpy(), masks.body[0, 0].cpu().numpy()


class LandmarkChannelsd(MapTransform):
    """Raw scans ``(6, H, W)`` become the channels that landmarks are seen in, ``(3, H, W)``.

    Args:
        keys: the scans.
        model: the scanner.
        pixel_spacing_mm: of the scans.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self, keys: KeysCollection, model: ScannerModel, pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM
    ) -> None:
        super().__init__(keys)
        self.model = model
        self.pixel_spacing_mm = (float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1]))

    @one_thread()
    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            maps = maps_of_scan(torch.as_tensor(sample[key]), self.model, self.pixel_spacing_mm)
            sample[key] = landmark_channels(*maps)
        return sample


class RandLandmarkScened(Randomizable, MapTransform):
    """What may be different in other scans: where and how large the body is, how much of it is seen, what was measured.

    Rotation, shift, zoom and mirror image take the landmarks with them; those that leave the field are NaN. A share of
    the scans is shifted so far along the table that a part of the body is outside; another share is upside down, of
    which all landmarks are NaN: no cut lines can be drawn there, and the network shall say so.

    Args:
        keys: channels ``(3, H, W)`` of :class:`LandmarkChannelsd`.
        names: of the landmarks in ``sample["landmarks"]``, ``(L, 2)`` (row, column) in pixels.
        pixel_spacing_mm: of the scans.
        rotation_degrees: most of the rotation.
        zoom: most of the change of size.
        shift: most of the shift, in fractions of the field's height and width.
        cut_share: share of scans with a part outside.
        cut_shift: most of the shift of these along the table.
        upside_down_share: share of scans that are upside down.
        gain: most of the change of each channel's scale.
        noise: most of the standard deviation of what is added to soft tissue and bone inside the body.
        hidden_share: share of scans of which a rectangle is taken out.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        keys: KeysCollection,
        names: Sequence[str],
        pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM,
        rotation_degrees: float = 8.0,
        zoom: float = 0.15,
        shift: Sequence[float] = (0.04, 0.08),
        cut_share: float = 0.25,
        cut_shift: float = 0.7,
        upside_down_share: float = 0.05,
        gain: float = 0.1,
        noise: float = 0.05,
        hidden_share: float = 0.2,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.swapped = [list(names).index(other_side(name)) for name in names]
        self.pixel_spacing_mm = (float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1]))
        self.rotation_degrees, self.zoom, self.shift = float(rotation_degrees), float(zoom), tuple(shift)
        self.cut_share, self.cut_shift = float(cut_share), float(cut_shift)
        self.upside_down_share = float(upside_down_share)
        self.gain, self.noise, self.hidden_share = float(gain), float(noise), float(hidden_share)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            image, points = torch.as_tensor(sample[key]), np.asarray(sample[LANDMARKS_KEY], dtype=np.float64)
            sample[key], sample[LANDMARKS_KEY] = self._changed(image, points)
        return sample

    def _changed(self, image: torch.Tensor, points: np.ndarray[Any, Any]) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
        shape = (int(image.shape[-2]), int(image.shape[-1]))
        geometry = FieldGeometry(
            self.R.uniform(-self.rotation_degrees, self.rotation_degrees),
            self.R.uniform(-self.shift[0], self.shift[0]),
            self.R.uniform(-self.shift[1], self.shift[1]),
            1.0 + self.R.uniform(-self.zoom, self.zoom),
        )
        far = self.R.uniform(-self.cut_shift, self.cut_shift)
        cut, upside_down, hidden, mirrored = self.R.uniform(size=4) < [
            self.cut_share,
            self.upside_down_share,
            self.hidden_share,
            0.5,
        ]
        if cut:
            geometry = FieldGeometry(geometry.rotation_degrees, far, geometry.column_shift, geometry.zoom)
        image = move_map(image, geometry, self.pixel_spacing_mm)
        points = move_points(points, geometry, shape, self.pixel_spacing_mm)
        if mirrored:
            image = image.flip(-1)
            points = points[self.swapped]
            points[:, 1] = shape[1] - 1 - points[:, 1]
        if upside_down:
            image, points = image.flip(-2), np.full_like(points, np.nan)
        gains = 1.0 + self.R.uniform(-self.gain, self.gain, size=2)
        spread = self.R.uniform(0.0, self.noise)
        added = spread * self.R.standard_normal((2, *shape))
        top, left = self.R.randint(0, shape[0]), self.R.randint(0, shape[1])
        tall, wide = self.R.randint(2, shape[0] // 6), self.R.randint(2, shape[1] // 4)
        image = image.clone()
        image[:2] = image[:2] * torch.from_numpy(gains)[:, None, None].float()
        image[:2] += torch.from_numpy(added).float() * image[2:]
        if hidden:
            image[:, top : top + tall, left : left + wide] = 0.0
        return image, points


class LandmarkCellsd(MapTransform):
    """Channels become cells ``(3, R, C)``, and the landmarks ``sample["label"]``, ``(L, 2)`` in cells, NaN outside.

    Args:
        keys: channels ``(3, H, W)`` of one scan; the landmarks are those in its pixels.
        pixel_spacing_mm: of the scans.
        cell_mm: height and width of a cell.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        keys: KeysCollection,
        pixel_spacing_mm: Sequence[float] = PIXEL_SPACING_MM,
        cell_mm: Sequence[float] = CELL_MM,
    ) -> None:
        super().__init__(keys)
        self.pixel_spacing_mm = (float(pixel_spacing_mm[0]), float(pixel_spacing_mm[1]))
        self.cell_mm = (float(cell_mm[0]), float(cell_mm[1]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            image = torch.as_tensor(sample[key])
            shape = (int(image.shape[-2]), int(image.shape[-1]))
            grid = LandmarkGrid(shape, self.pixel_spacing_mm, self.cell_mm)
            points = np.array(sample.pop(LANDMARKS_KEY), dtype=np.float64)
            inside = ((points >= -0.5) & (points <= np.array(shape) - 0.5)).all(axis=1)
            points[~inside] = np.nan
            sample[key] = grid.cells(image)
            sample[LABEL_KEY] = torch.from_numpy(grid.to_cells(points)).float()
        return sample
