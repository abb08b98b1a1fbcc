import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.signal import convolve2d

from dxa_monai.metrics.image_quality import nmae, psnr_db, ssim

SHAPE = (3, 6, 30, 20)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(SHAPE, generator=generator)
    return target + 0.05 * torch.randn(SHAPE, generator=generator), target


def test_psnr_of_a_known_error() -> None:
    target = torch.full(SHAPE, 0.5)
    assert_allclose(psnr_db(target + 0.01, target), 40.0, atol=1e-4)


def test_psnr_pools_the_channels_before_the_logarithm() -> None:
    target = torch.zeros(1, 6, 30, 20)
    prediction = target.clone()
    prediction[:, 0] = 0.1
    assert_allclose(psnr_db(prediction, target), -10 * np.log10(0.01 / 6), rtol=1e-6)


def test_psnr_of_identical_scans_is_infinite(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert torch.isposinf(psnr_db(pair[1], pair[1])).all()


def test_nmae_by_hand(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, target = (image.double().numpy() for image in pair)
    expected = [np.abs(p - t).sum() / np.abs(t).sum() for p, t in zip(prediction, target, strict=True)]
    assert_allclose(nmae(*pair), expected, rtol=1e-6)


def test_nmae_does_not_depend_on_the_unit(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert_allclose(nmae(pair[0] * 16383, pair[1] * 16383), nmae(*pair), rtol=1e-5)


def naive_ssim(prediction: np.ndarray, target: np.ndarray) -> float:
    """SSIM of one channel, written down from Wang et al. (2004)."""
    axis = np.arange(11) - 5
    window = np.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image: np.ndarray) -> np.ndarray:
        return convolve2d(image, window, mode="valid")

    mu_x, mu_y = mean(prediction), mean(target)
    var_x, var_y = mean(prediction**2) - mu_x**2, mean(target**2) - mu_y**2
    covariance = mean(prediction * target) - mu_x * mu_y
    c1, c2 = 0.01**2, 0.03**2
    numerator = (2 * mu_x * mu_y + c1) * (2 * covariance + c2)
    return float((numerator / ((mu_x**2 + mu_y**2 + c1) * (var_x + var_y + c2))).mean())


def test_ssim_is_the_mean_over_channels_of_the_textbook_formula(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction, target = (image.double().numpy() for image in pair)
    expected = [
        np.mean([naive_ssim(*channels) for channels in zip(p, t, strict=True)])
        for p, t in zip(prediction, target, strict=True)
    ]
    assert_allclose(ssim(*pair), expected, atol=1e-5)


@pytest.mark.parametrize("metric", [psnr_db, ssim, nmae])
def test_one_number_a_scan_whatever_else_is_in_the_batch(metric, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    together = metric(*pair)
    assert together.shape == (3,)
    alone = torch.cat([metric(p[None], t[None]) for p, t in zip(*pair, strict=True)])
    assert_allclose(together, alone, rtol=1e-6)


@pytest.mark.parametrize("metric", [psnr_db, ssim, nmae])
def test_nan_spoils_its_own_scan_only(metric, pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    prediction = pair[0].clone()
    prediction[1, 0, 15, 10] = float("nan")
    assert torch.isnan(metric(prediction, pair[1])).tolist() == [False, True, False]


@pytest.mark.parametrize(("metric", "sign"), [(psnr_db, -1), (ssim, -1), (nmae, 1)])
def test_more_noise_is_worse(metric, sign: int) -> None:
    generator = torch.Generator().manual_seed(0)
    target, noise = torch.rand(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)
    values = [metric(target + level * noise, target).mean().item() for level in (0.01, 0.03, 0.1)]
    assert values == sorted(values, reverse=sign < 0)


@pytest.mark.parametrize("metric", [psnr_db, ssim, nmae])
def test_different_shapes_are_refused(metric) -> None:
    with pytest.raises(ValueError, match="shape"):
        metric(torch.rand(1, 6, 30, 20), torch.rand(1, 6, 30, 21))
