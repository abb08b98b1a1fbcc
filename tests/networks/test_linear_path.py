import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.energy_basis import EnergyBasis

SHAPE = (6, 64, 32)
LINEAR = {
    "spatial_shape": SHAPE[1:],
    "latent_shape": (2, 1),
    "latent_channels": 4,
    "linear_channels": 3,
    "block_config": (1, 1, 1, 1),
    "growth_rate": 2,
    "init_features": 2,
    "generator_channels": (2, 2, 2, 2, 2),
    "generator_kernel_sizes": (3,),
}


def _orthonormal(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(6 * 64 * 32, count, generator=generator))
    return basis.T.reshape(count, *SHAPE).contiguous()


def test_image_in_the_span_is_given_back_and_the_rest_is_left_out() -> None:
    components, deviations = _orthonormal(5), torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
    path = LinearPath(4, SHAPE)
    path.set_components(components[:4], deviations[:4])
    weights = torch.tensor([[1.0, -2.0, 0.5, 3.0, 7.0]])
    image = (weights @ components.flatten(1)).reshape(1, *SHAPE)
    codes = path.encode(image)
    torch.testing.assert_close(codes, weights[:, :4] / deviations[:4], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(path.decode(codes), image - 7.0 * components[4], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("components", "deviations", "message"),
    [
        (torch.zeros(3, *SHAPE), torch.ones(3), r"expected shape \(4, 6, 64, 32\), got \(3, 6, 64, 32\)"),
        (torch.zeros(4, *SHAPE), torch.tensor([1.0, 1.0, 0.0, 1.0]), "expected positive numbers"),
    ],
)
def test_wrong_components_are_refused(components: torch.Tensor, deviations: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LinearPath(4, SHAPE).set_components(components, deviations)


def test_untrained_network_gives_the_linear_reconstruction() -> None:
    network = DXAVAE(**LINEAR)
    mean, components = torch.full(SHAPE, 0.3), _orthonormal(6)
    network.set_normalisation(mean, 0.05)
    network.set_linear_path(components, torch.linspace(2.0, 0.5, 6))
    weights = torch.tensor([[1.0, -2.0, 0.5, 1.5, 0.2, -0.3], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]])
    scans = mean + (weights @ components.flatten(1)).reshape(2, *SHAPE)
    output = network.eval()(scans)
    torch.testing.assert_close(output.reconstruction, scans, atol=1e-5, rtol=1e-4)
    # The code of component k lies in cell k of the first channels, in units of its standard deviation.
    torch.testing.assert_close(output.mu.flatten(1)[:, :6], weights / torch.linspace(2.0, 0.5, 6), atol=1e-4, rtol=1e-4)


def test_linear_path_belongs_to_architecture_and_state() -> None:
    network = DXAVAE(**LINEAR)
    network.set_linear_path(_orthonormal(6), torch.ones(6))
    twin = DXAVAE(**network.architecture())
    twin.load_state_dict(network.state_dict())
    scans = torch.rand(2, *SHAPE)
    assert twin.eval()(scans).reconstruction.equal(network.eval()(scans).reconstruction)


def test_more_linear_channels_than_latent_channels_are_refused() -> None:
    with pytest.raises(InputError, match="linear_channels: expected 0 to 4, got 5"):
        DXAVAE(**(LINEAR | {"linear_channels": 5}))


def _basis() -> EnergyBasis:
    """Two orthonormal directions of six channels, the second of which counts three times."""
    vectors, _ = torch.linalg.qr(torch.randn(6, 2, generator=torch.Generator().manual_seed(1)))
    weights = torch.tensor([1.0, 3.0])
    return EnergyBasis(weights[:, None] * vectors.T, vectors / weights)


def test_components_in_directions_of_a_pixel_give_back_images_in_their_span() -> None:
    basis, components = _basis(), _orthonormal(3)[:, :2].contiguous()
    components, _ = torch.linalg.qr(components.flatten(1).T)
    components = components.T.reshape(3, 2, *SHAPE[1:]).contiguous()
    network = DXAVAE(**(LINEAR | {"linear_directions": 2, "linear_channels": 1, "latent_shape": (3, 1)}))
    mean = torch.full(SHAPE, 0.3)
    network.set_normalisation(mean, 0.05)
    network.set_linear_path(components, torch.tensor([2.0, 1.0, 0.5]), basis)
    weights = torch.tensor([[1.0, -2.0, 0.5]])
    pixels = (weights @ components.flatten(1)).reshape(1, 2, -1)
    scans = mean + (basis.synthesis @ pixels).reshape(1, *SHAPE)
    output = network.eval()(scans)
    torch.testing.assert_close(output.reconstruction, scans, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        output.mu.flatten(1)[:, :3], weights / torch.tensor([2.0, 1.0, 0.5]), atol=1e-4, rtol=1e-4
    )
    script = torch.jit.script(network)
    torch.testing.assert_close(script(scans).reconstruction, output.reconstruction, atol=1e-6, rtol=1e-5)


def test_a_basis_where_none_is_expected_and_the_reverse_are_refused() -> None:
    components, deviations = _orthonormal(4), torch.ones(4)
    with pytest.raises(InputError, match=r"basis: expected none, got one of shape \(2, 6\)"):
        LinearPath(4, SHAPE).set_components(components, deviations, _basis())
    with pytest.raises(InputError, match=r"basis: expected one of shape \(2, 6\), got none"):
        LinearPath(4, SHAPE, 2).set_components(components[:, :2], deviations)
    with pytest.raises(InputError, match=r"basis: expected one of shape \(3, 6\), got one of shape \(2, 6\)"):
        LinearPath(4, SHAPE, 3).set_components(components[:, :3], deviations, _basis())


def test_a_path_without_a_basis_has_no_more_tensors_than_before() -> None:
    assert set(LinearPath(4, SHAPE).state_dict()) == {"components", "deviations"}
    names = {"components", "deviations", "analysis", "synthesis", "pixel_weights"}
    assert set(LinearPath(4, SHAPE, 2).state_dict()) == names


def test_pixels_that_count_more_often_are_given_back_as_they_are() -> None:
    """Orthonormal components of weighted pixels: images in their span come back, codes are those of weighted pixels."""
    generator = torch.Generator().manual_seed(3)
    contrast = 0.5 + torch.rand(SHAPE[1:], generator=generator)
    basis = _basis().weighted(contrast)
    components, _ = torch.linalg.qr(torch.randn(2 * 64 * 32, 3, generator=generator))
    path = LinearPath(3, SHAPE, 2)
    path.set_components(components.T.reshape(3, 2, *SHAPE[1:]).contiguous(), torch.tensor([2.0, 1.0, 0.5]), basis)
    codes = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.2, 0.1]])
    images = path.decode(codes)
    torch.testing.assert_close(path.encode(images), codes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(path.decode(path.encode(images)), images, atol=1e-5, rtol=1e-5)
    pixels = torch.stack([basis.directions_of(image) for image in images]).flatten(1)
    torch.testing.assert_close(pixels @ components / path.deviations, codes, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.jit.script(path).encode(images), codes, atol=1e-5, rtol=1e-5)
    twin = LinearPath(3, SHAPE, 2)
    twin.load_state_dict(path.state_dict())
    assert twin.basis is not None
    assert twin.basis.pixel_weights is not None
    assert twin.basis.pixel_weights[1].equal(contrast)


def test_weights_of_pixels_that_do_not_fit_are_refused() -> None:
    basis = _basis()
    with pytest.raises(InputError, match="weights of pixels: expected positive numbers"):
        basis.weighted(torch.zeros(64, 32))
    with pytest.raises(InputError, match="expected 2 where pixels count by region, got 3"):
        EnergyBasis(torch.eye(3, 6), torch.eye(6, 3)).weighted(torch.ones(64, 32))
    told = r"pixel_weights: expected positive numbers of shape \(2, 64, 32\), got others of shape \(2, 32, 64\)"
    with pytest.raises(InputError, match=told):
        LinearPath(4, SHAPE, 2).set_components(
            _orthonormal(4)[:, :2], torch.ones(4), basis.weighted(torch.ones(32, 64))
        )
