import math

import pytest
import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import PeakSignalToNoiseRatio
from numpy.testing import assert_allclose
from torch import nn

from dxa_monai.metrics.image_quality import nmae, psnr_db, ssim
from dxa_monai.metrics.scan_metric import ScanMetric, reconstruction_and_label
from dxa_monai.networks.vae import VAEOutput


class TwoHeads(nn.Module):
    """Answers like a VAE: the reconstruction (the scan, a little brighter) and two latent maps."""

    def forward(self, x: torch.Tensor) -> VAEOutput:
        latent = torch.zeros(len(x), 2, 5, 4)
        return VAEOutput(x * 1.01, latent, latent)


@pytest.fixture
def scans() -> list[dict[str, torch.Tensor]]:
    """Batches of 2, 2 and 1 scans."""
    images = torch.rand(5, 6, 30, 20, generator=torch.Generator().manual_seed(0))
    return [{"image": batch, "label": batch} for batch in images.split(2)]


def evaluator(scans, metrics, decollate: bool = True) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=scans,
        network=TwoHeads(),
        key_val_metric=metrics,
        decollate=decollate,
    )


@pytest.mark.parametrize("decollate", [True, False])
def test_mean_over_scans_not_over_batches(scans, decollate: bool) -> None:
    engine = evaluator(scans, {name: ScanMetric(name) for name in ("psnr_db", "ssim", "nmae")}, decollate)
    engine.run()
    everything = torch.cat([batch["image"] for batch in scans])
    for name, function in (("psnr_db", psnr_db), ("ssim", ssim), ("nmae", nmae)):
        values = function(everything * 1.01, everything)
        assert_allclose(engine.state.metrics[name], values.mean(), rtol=1e-5)
        assert_allclose(engine.state.metric_details[name][:, 0], values, rtol=1e-5)
    assert engine.state.key_metric_name == "psnr_db"


def test_agrees_with_monai_where_nothing_is_nan(scans) -> None:
    def reconstruction(output):
        return reconstruction_and_label(output)

    engine = evaluator(
        scans, {"ours": ScanMetric("psnr_db"), "monai": PeakSignalToNoiseRatio(1.0, output_transform=reconstruction)}
    )
    engine.run()
    assert_allclose(engine.state.metrics["ours"], engine.state.metrics["monai"], rtol=1e-5)


def test_one_scan_of_nan_makes_the_mean_nan(scans) -> None:
    scans[1] = {
        "image": scans[1]["image"].clone().index_fill_(0, torch.tensor([0]), float("nan")),
        "label": scans[1]["label"],
    }
    engine = evaluator(scans, {"psnr_db": ScanMetric("psnr_db")})
    engine.run()
    assert math.isnan(engine.state.metrics["psnr_db"])


def test_every_run_starts_anew(scans) -> None:
    engine = evaluator(scans, {"psnr_db": ScanMetric("psnr_db")})
    engine.run()
    first = engine.state.metrics["psnr_db"]
    engine.run(2)
    assert engine.state.metrics["psnr_db"] == first


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="psnr_db, ssim, nmae"):
        ScanMetric("psnr")
