from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.generator import DXAGenerator, SamePadConv2d


@pytest.mark.parametrize("kernel_size", [(1, 2), (2, 2), (4, 4), (8, 8), (3, 3)])
def test_same_padding_is_that_of_torch(kernel_size: tuple[int, int]) -> None:
    ours = SamePadConv2d(3, 5, kernel_size)
    theirs = torch.nn.Conv2d(3, 5, kernel_size, padding="same")
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 11, 7)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("spatial_shape", "latent_shape"), [((150, 109), (5, 4)), ((64, 64), (2, 2)), ((33, 70), (2, 3))]
)
def test_output_has_the_shape_of_a_scan(spatial_shape: tuple[int, int], latent_shape: tuple[int, int]) -> None:
    generator = DXAGenerator(3, latent_shape, (8, 8, 8, 8, 8), spatial_shape=spatial_shape)
    assert generator(torch.rand(2, 3, *latent_shape)).shape == (2, 6, *spatial_shape)


def test_default_is_the_published_structure() -> None:
    generator = DXAGenerator()
    kernels = [
        [tuple(layer.kernel_size) for layer in unit if isinstance(layer, torch.nn.Conv2d)] for unit in generator.units
    ]
    middle = [(1, 1), (1, 2), (2, 2), (4, 4)]
    assert kernels == [[(1, 1), (2, 2), (4, 4)], middle, middle, [*middle, (8, 8)], [*middle, (8, 8)]]
    widths = [
        [layer.out_channels for layer in unit if isinstance(layer, torch.nn.Conv2d)][-1] for unit in generator.units
    ]
    assert widths == [512, 256, 128, 64, 32]
    assert generator.last_convolution.kernel_size == (8, 8)
    assert generator.to_scan.kernel_size == (1, 1)


def test_crop_is_centred() -> None:
    generator = DXAGenerator(1, (1, 1), (4, 4, 4, 4, 4), spatial_shape=(28, 22))
    full = DXAGenerator(1, (1, 1), (4, 4, 4, 4, 4), spatial_shape=(32, 32))
    full.load_state_dict(generator.state_dict())
    z = torch.rand(1, 1, 1, 1)
    torch.testing.assert_close(generator(z), full(z)[:, :, 2:30, 5:27])


def test_signal_keeps_its_size_through_the_layers() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        y = DXAGenerator(32, (5, 4), (64, 48, 32, 24, 16))(torch.randn(4, 32, 5, 4))
    assert 0.02 < y.std() < 5.0


def test_a_latent_map_too_small_for_the_scan_is_refused() -> None:
    with pytest.raises(InputError, match="150 x 109 pixels, got one that covers 128 x 128"):
        DXAGenerator(latent_shape=(4, 4))


def test_every_latent_cell_reaches_every_pixel_through_the_dense_layer() -> None:
    generator = DXAGenerator(2, (2, 3), (4, 4, 4), spatial_shape=(33, 22), kernel_sizes=(3,), dense_shape=(10, 6))
    latent = torch.zeros(1, 2, 2, 3, requires_grad=True)
    for row, column in [(0, 0), (32, 21), (16, 11)]:
        (gradient,) = torch.autograd.grad(generator(latent)[0, 0, row, column], latent)
        assert (gradient != 0).all()


def test_the_dense_layer_starts_the_units_at_its_own_shape() -> None:
    generator = DXAGenerator(2, (5, 4), (8, 6, 4), kernel_sizes=(3,), dense_shape=(38, 28))
    assert len(generator.units) == 2
    assert generator.dense(torch.rand(3, 2, 5, 4)).shape == (3, 8, 38, 28)
    assert generator(torch.rand(3, 2, 5, 4)).shape == (3, 6, 150, 109)


def test_a_dense_layer_that_the_units_do_not_bring_to_the_scan_is_refused() -> None:
    with pytest.raises(InputError):
        DXAGenerator(2, (5, 4), (8, 6), kernel_sizes=(3,), dense_shape=(38, 28))
