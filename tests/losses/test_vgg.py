from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torch.nn.functional as F
import torchvision

from dxa_monai.errors import InputError
from dxa_monai.losses.vgg import REFERENCE_LAYERS, VGG16_LAYERS, VGGFeatures


@pytest.fixture(scope="session")
def torchvision_features() -> torch.nn.Sequential:
    """torchvision's own feature network with random weights and biases."""
    torch.manual_seed(0)
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=False)
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
            torch.nn.init.normal_(layer.bias, std=0.1)
    return layers


@pytest.fixture(scope="session")
def weight_file(torchvision_features: torch.nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    state = {f"features.{name}": tensor for name, tensor in torchvision_features.state_dict().items()}
    torch.save(state | {"classifier.0.weight": torch.zeros(2, 3)}, path)
    return path


def test_reference_layers_are_the_seventeen_of_the_published_loss() -> None:
    keras = [0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18]
    assert tuple(VGG16_LAYERS[index] for index in keras) == REFERENCE_LAYERS
    assert len(VGG16_LAYERS) == 1 + 13 + 5


def test_maps_from_a_file_are_those_of_torchvision(
    torchvision_features: torch.nn.Sequential, weight_file: Path
) -> None:
    vgg = VGGFeatures(str(weight_file), layers=VGG16_LAYERS)
    images = torch.rand(2, 3, 32, 40)
    expected = [images]
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    y = (images - mean[:, None, None]) / sd[:, None, None]
    with torch.no_grad():
        for layer in torchvision_features:
            y = F.relu(y) if isinstance(layer, torch.nn.ReLU) else layer(y)
            if not isinstance(layer, torch.nn.Conv2d):
                expected.append(y)
    for ours, theirs in zip(vgg(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_random_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = VGGFeatures(cutoff="relu2_2", seed=3)
    torch.manual_seed(2)
    second, other = VGGFeatures(cutoff="relu2_2", seed=3), VGGFeatures(cutoff="relu2_2", seed=4)
    images = torch.rand(1, 3, 16, 16)
    for a, b in zip(first(images), second(images), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    torch.testing.assert_close(first.layer_scales, second.layer_scales, rtol=0, atol=0)
    assert not torch.allclose(first(images)[-1], other(images)[-1])


def test_construction_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    VGGFeatures(cutoff="relu1_1")
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_cutoff_changes_nothing_before_it(full_vgg: VGGFeatures, short_vgg: VGGFeatures) -> None:
    images = torch.rand(1, 3, 32, 32)
    assert short_vgg.layers == ("input", "relu1_1", "relu1_2", "relu2_1", "relu2_2")
    for short, full in zip(short_vgg(images), full_vgg(images), strict=False):
        torch.testing.assert_close(short, full)
    torch.testing.assert_close(short_vgg.layer_scales, full_vgg.layer_scales[:5])


def test_differences_live_on_in_deep_layers(full_vgg: VGGFeatures) -> None:
    """Scaled distances of all layers are of the size of the image's own."""
    torch.manual_seed(0)
    coarse = F.interpolate(torch.rand(2, 3, 6, 6), size=64, mode="bicubic").clamp(0, 1)
    first, second = (full_vgg(image) for image in coarse.split(1))
    distances = torch.stack([(a - b).abs().mean() for a, b in zip(first, second, strict=True)]) / full_vgg.layer_scales
    assert (distances / distances[0]).min() > 0.3
    assert (distances / distances[0]).max() < 3.0


def test_the_image_is_its_own_scale(full_vgg: VGGFeatures) -> None:
    assert float(full_vgg.layer_scales[0]) == pytest.approx(1.0)


def test_weights_are_frozen_and_stay_out_of_checkpoints(short_vgg: VGGFeatures) -> None:
    assert not list(short_vgg.parameters())
    assert not short_vgg.state_dict()
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    short_vgg(images)[-1].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(buffer.grad is None and not buffer.requires_grad for buffer in short_vgg.buffers())


@pytest.mark.parametrize("size", [(16, 16), (15, 11)])
def test_downsampling_averages_squares(size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size)
    vgg = VGGFeatures(cutoff="input", downsampling=2, normalise_layers=False)
    (small,) = vgg(images)
    assert small.shape[-2:] == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    torch.testing.assert_close(small[0, :, 0, 0], images[0, :, :2, :2].mean((1, 2)))
    right = images[0, :, :2, 2 * (size[1] // 2) - (0 if size[1] % 2 else 2) :]
    torch.testing.assert_close(small[0, :, 0, -1], right.mean((1, 2)))


def test_imagenet_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*args: object, **kwargs: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(InputError, match=r"vgg16-397923af\.pth .*path of the file.*\"random\"") as caught:
        VGGFeatures("imagenet")
    assert "\n" not in str(caught.value)


def test_imagenet_uses_what_torchvision_has_downloaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weight_file: Path
) -> None:
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth").write_bytes(weight_file.read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    images = torch.rand(1, 3, 16, 16)
    downloaded, path = (VGGFeatures(weights, cutoff="relu1_2") for weights in ("imagenet", str(weight_file)))
    torch.testing.assert_close(downloaded(images)[-1], path(images)[-1])


def test_files_that_do_not_hold_the_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.pth: expected a file of network weights"):
        VGGFeatures(str(tmp_path / "missing.pth"))
    torch.save({"classifier.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth: .*26 missing \(features\.0\.weight, .*\.\.\.\)"):
        VGGFeatures(str(tmp_path / "other.pth"))
    torch.save(
        {"features.0.weight": torch.zeros(64, 1, 3, 3), "features.0.bias": torch.zeros(64)}, tmp_path / "grey.pth"
    )
    with pytest.raises(InputError, match=r"features\.0\.weight \(64, 1, 3, 3\) for \(64, 3, 3, 3\)"):
        VGGFeatures(str(tmp_path / "grey.pth"), cutoff="relu1_1")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="got list"):
        VGGFeatures(str(tmp_path / "list.pth"))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"layers": ["relu6_1"]}, "layers"),
        ({"cutoff": "conv2"}, "cutoff"),
        ({"layers": ["relu3_1"], "cutoff": "relu2_2"}, "at least one"),
        ({"downsampling": 0}, "downsampling"),
    ],
)
def test_arguments_that_cannot_be_right_are_refused(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        VGGFeatures(**arguments)  # type: ignore[arg-type]
