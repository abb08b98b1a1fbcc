"""Motion between passes and the fan: mass, centroids, and what each band sees."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.disturbance import Disturbance
from dxa_monai.physics.scan_passes import seen_in_passes


def two_blobs(batch: int = 1) -> torch.Tensor:
    """One blob in the middle of each half of 40 columns, in the first material."""
    density = torch.zeros(batch, 2, 30, 40, dtype=torch.float64)
    density[:, 0, 12:16, 8:12] = 2.0
    density[:, 0, 12:16, 28:32] = 3.0
    return density


def centroid(image: torch.Tensor) -> list[float]:
    rows, columns = torch.arange(image.shape[0]), torch.arange(image.shape[1])
    total = image.sum()
    return [float((image.sum(1) * rows).sum() / total), float((image.sum(0) * columns).sum() / total)]


@pytest.mark.parametrize("shift", [(0.25, -0.5), (2.0, 1.0), (-3.75, 2.5)])
def test_motion_conserves_mass_and_moves_the_later_pass_only(shift: tuple[float, float]) -> None:
    density = two_blobs()
    motion = torch.tensor([[(0.0, 0.0), shift]], dtype=torch.float64)
    seen = seen_in_passes(density, 2, 1.0, motion)
    assert torch.equal(seen[..., :20], density[..., :20])
    before, after = density[0, 0, :, 20:], seen[0, 0, :, 20:]
    assert float(after.sum()) == pytest.approx(float(before.sum()))
    moved = [b - a for a, b in zip(centroid(before), centroid(after), strict=True)]
    assert moved == pytest.approx(list(shift))
    assert (seen >= 0).all()


def test_half_a_pixel_is_the_mean_of_neighbours() -> None:
    line = torch.tensor([0.0, 4.0, 2.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 4)
    motion = torch.tensor([[(0.0, 0.5)]], dtype=torch.float64)
    assert seen_in_passes(line, 1, 1.0, motion).flatten().tolist() == pytest.approx([0.0, 2.0, 3.0, 1.0])


def test_each_scan_moves_by_its_own_millimetres() -> None:
    """13 mm are a row, 6.06 mm a column."""
    density = torch.zeros(2, 3, 30, 40, dtype=torch.float64)
    density[:, 1, 12:16, 28:32] = 3.0
    motion = torch.zeros(2, 2, 2, dtype=torch.float64)
    motion[0, 1] = torch.tensor([13.0, -12.12])
    acquisition = Acquisition.ideal(passes=2, motion_mm=1.0)
    raw = acquisition.forward(density, disturbance=Disturbance(motion_mm=motion))
    still = Acquisition.ideal().forward(density)
    torch.testing.assert_close(raw[0, :, 13:17, 26:30], still[0, :, 12:16, 28:32])
    torch.testing.assert_close(raw[1], still[1])


@pytest.mark.parametrize("magnification", [1.07, 1.5, 0.8])
def test_the_fan_scales_the_area_of_a_body_and_keeps_its_thickness(magnification: float) -> None:
    density = torch.zeros(1, 1, 4, 60, dtype=torch.float64)
    density[..., 24:38] = 5.0
    seen = seen_in_passes(density, 1, magnification, None)
    assert float(seen.sum()) == pytest.approx(magnification * float(density.sum()))
    torch.testing.assert_close(seen[..., 28:34], density[..., 28:34])
    # What lay from column 24 to 38 lies from 30 - 6 f to 30 + 8 f; pixels tell its middle, 30 + f, to about 0.005.
    assert centroid(seen[0, 0])[1] + 0.5 - 30.0 == pytest.approx(magnification, abs=0.005)


def test_each_pass_has_its_own_middle() -> None:
    seen = seen_in_passes(two_blobs(), 2, 1.5, None)[0, 0]
    assert centroid(seen[:, :20])[1] == pytest.approx(9.5)  # blobs in the middle of their pass stay there
    assert centroid(seen[:, 20:])[1] == pytest.approx(9.5)
    assert float(seen.sum()) == pytest.approx(1.5 * float(two_blobs()[0, 0].sum()))


def test_nothing_is_done_without_motion_and_fan() -> None:
    density = two_blobs()
    assert seen_in_passes(density, 3, 1.0, None) is density
    assert torch.equal(seen_in_passes(density, 3, 1.0, torch.zeros(1, 3, 2)), density)


def test_what_leaves_the_field_is_gone_and_nothing_comes_in() -> None:
    density = torch.ones(1, 1, 5, 6, dtype=torch.float64)
    seen = seen_in_passes(density, 1, 1.0, torch.tensor([[(1.5, 0.0)]]))
    assert seen[0, 0, :, 0].tolist() == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0])
