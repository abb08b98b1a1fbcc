from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.material_path import MaterialPath
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import SUMMED_REGIONS, SUMS


def path() -> MaterialPath:
    """With any numbers in it."""
    made = MaterialPath(5, 2, (12, 9))
    generator = torch.Generator().manual_seed(0)
    made.mean.uniform_(0.0, 20.0, generator=generator)
    made.components.normal_(generator=generator)
    for readout in (made.readout, made.held):
        readout.linear.normal_(generator=generator)
        readout.bias.uniform_(0.0, 2000.0, generator=generator)
    return made


def test_maps_hold_what_the_regions_hold() -> None:
    codes = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    made = path()
    maps, sums = made(codes), made.sums(codes)
    assert maps.shape == (3, 3, 12, 9)
    assert sums.shape == (3, len(SUMMED_REGIONS), len(SUMS))
    # android and gynoid, the last two, overlap the others
    torch.testing.assert_close(maps.sum(dim=(2, 3)) * pixel_area_cm2(), sums[:, :-2, :3].sum(dim=1), rtol=1e-4, atol=1)


def test_it_is_nothing_before_it_is_fitted() -> None:
    codes = torch.ones(2, 5)
    made = MaterialPath(5, 2, (12, 9))
    assert not made(codes).any()
    assert not made.sums(codes).any()


def test_torchscript_gives_the_same() -> None:
    codes = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    made = path()
    torch.testing.assert_close(torch.jit.script(made)(codes), made(codes))


@pytest.mark.parametrize("sizes", [(0, 3), (4, 0)])
def test_maps_without_components_or_shape_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="material_components: expected at least one component of the maps"):
        MaterialPath(*sizes, (12, 9))
