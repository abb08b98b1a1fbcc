from __future__ import annotations

import pytest
import torch

from dxa_monai.metrics.image_quality import psnr_db
from dxa_monai.metrics.rigid_alignment import align_rigidly
from dxa_monai.scan.format import PIXEL_SPACING_MM


def _ellipse(row_mm: float = 0.0, column_mm: float = 0.0, degrees: float = 0.0) -> torch.Tensor:
    """A smooth body, wide shoulders up, on the grid of a scan; positive degrees turn it clockwise as displayed."""
    rows = (torch.arange(150) - 74.5)[:, None] * PIXEL_SPACING_MM[0] - row_mm
    columns = (torch.arange(109) - 54.0)[None] * PIXEL_SPACING_MM[1] - column_mm
    angle = torch.deg2rad(torch.tensor(degrees))
    along = torch.cos(angle) * rows - torch.sin(angle) * columns
    across = torch.sin(angle) * rows + torch.cos(angle) * columns
    radius = (along / 800.0) ** 2 + (across / (160.0 - 0.08 * along)) ** 2
    image = 0.4 * torch.sigmoid(12 * (1 - radius))
    return image.expand(1, 6, -1, -1) * torch.linspace(0.8, 1.2, 6)[:, None, None]


@pytest.mark.parametrize(
    ("row_mm", "column_mm", "degrees"), [(39.0, -12.12, 0.0), (-20.0, 15.0, 2.0), (0.0, 0.0, -3.0)]
)
def test_finds_how_a_body_was_moved(row_mm: float, column_mm: float, degrees: float) -> None:
    aligned = align_rigidly(_ellipse(), _ellipse(row_mm, column_mm, degrees))
    assert aligned.moved[0].tolist() == pytest.approx([row_mm, column_mm, degrees], abs=1.7)
    target = _ellipse(row_mm, column_mm, degrees)
    assert psnr_db(aligned.images, target).item() > psnr_db(_ellipse(), target).item() + 6.0


def test_each_image_of_a_batch_is_moved_as_it_is_alone() -> None:
    prediction = torch.cat([_ellipse(), _ellipse(10.0, 0.0, 1.0), _ellipse()])
    target = torch.cat([_ellipse(26.0, 6.0, 1.0), _ellipse(), _ellipse()])
    together = align_rigidly(prediction, target)
    for index in range(3):
        alone = align_rigidly(prediction[index : index + 1], target[index : index + 1])
        torch.testing.assert_close(together.moved[index], alone.moved[0])
        torch.testing.assert_close(together.images[index], alone.images[0])


def test_never_worse_than_before() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.rand(3, 6, 40, 30, generator=generator) for _ in range(2))
    target[0] = prediction[0]
    aligned = align_rigidly(prediction, target)
    assert (psnr_db(aligned.images, target) >= psnr_db(prediction, target)).all()
    assert aligned.moved[0].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(aligned.images[0], prediction[0], rtol=0, atol=0)
