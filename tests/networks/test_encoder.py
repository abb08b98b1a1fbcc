from __future__ import annotations

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.encoder import INITIAL_LOG_VARIANCE, DXAEncoder
from dxa_monai.networks.trunk import centred_padding

TINY = {"block_config": (1, 1, 1, 1), "growth_rate": 8, "init_features": 8, "latent_channels": 3}


@pytest.mark.parametrize("heads", ["conv", "dense"])
@pytest.mark.parametrize(
    ("spatial_shape", "latent_shape"), [((150, 109), (5, 4)), ((64, 64), (2, 2)), ((33, 70), (2, 3))]
)
def test_heads_have_the_latent_shape(heads: str, spatial_shape: tuple[int, int], latent_shape: tuple[int, int]) -> None:
    encoder = DXAEncoder(spatial_shape=spatial_shape, latent_shape=latent_shape, heads=heads, **TINY)
    x = torch.rand(2, 6, *spatial_shape)
    mu, log_variance = encoder(x)
    assert mu.shape == log_variance.shape == (2, 3, *latent_shape)
    assert encoder.features(x).shape == (2, encoder.feature_channels, *encoder.feature_shape)


def test_the_trunk_is_densenet_121_with_the_published_feature_map() -> None:
    encoder = DXAEncoder(latent_channels=1, heads="dense")
    assert (encoder.feature_channels, *encoder.feature_shape) == (1024, 4, 3)
    trunk_weights = sum(p.numel() for p in encoder.trunk.parameters())
    assert trunk_weights == 6_953_856  # torchvision's densenet121 less its classifier


def test_published_heads_hold_252_million_weights() -> None:
    with torch.device("meta"):
        encoder = DXAEncoder(heads="dense")
    heads = [*encoder.mu_head.parameters(), *encoder.log_variance_head.parameters()]
    assert sum(p.numel() for p in heads) == pytest.approx(252e6, rel=0.002)


def test_latent_noise_is_small_at_the_start() -> None:
    torch.manual_seed(0)
    encoder = DXAEncoder(**TINY)
    _, log_variance = encoder(torch.rand(2, 6, 150, 109))
    assert (log_variance - INITIAL_LOG_VARIANCE).abs().max() < 0.5


def test_log_variance_cannot_overflow() -> None:
    encoder = DXAEncoder(spatial_shape=(32, 32), latent_shape=(1, 1), **TINY)
    torch.nn.init.constant_(encoder.log_variance_head.bias, 1e6)
    _, log_variance = encoder(torch.rand(2, 6, 32, 32))
    assert torch.isfinite(log_variance.exp()).all()


@pytest.mark.parametrize("norm", ["instance", ["group", {"num_groups": 2}]])
def test_other_norms_do_not_mix_the_scans_of_a_batch(norm: object) -> None:
    encoder = DXAEncoder(spatial_shape=(64, 64), latent_shape=(2, 2), norm=norm, **TINY).train()
    x = torch.rand(3, 6, 64, 64)
    torch.testing.assert_close(encoder(x)[0][:1], encoder(x[:1])[0], atol=1e-5, rtol=1e-4)


def test_padding_is_centred_and_complete() -> None:
    assert centred_padding((150, 109), (160, 128)) == (9, 10, 5, 5)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"heads": "linear"}, "heads"),
        ({"norm": "whitening"}, "norm"),
        ({"norm": ("group", {"num_groups": 3})}, "divisible"),
        ({"latent_shape": (4, 4)}, "128 x 128"),
        ({"latent_shape": (5, 3)}, "160 x 96"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        DXAEncoder(**(TINY | changes))  # type: ignore[arg-type]
