from pathlib import Path

import pandas as pd
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.reconstruction import (
    MEAN_IMAGE_ARM,
    common_mean_image,
    evaluate_reconstruction,
    per_scan_quality,
    representative_scan,
)
from dxa_monai.metrics.image_quality import psnr_db
from dxa_monai.networks.checkpoint import save_network
from dxa_monai.networks.linear_path import LinearPath
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics, principal_components
from tests.evaluation.test_image_quality_tables import quality_table

TINY = {
    "latent_channels": 2,
    "block_config": (1, 1, 1, 1),
    "growth_rate": 2,
    "init_features": 2,
    "generator_channels": (2, 2, 2, 2, 2),
    "generator_kernel_sizes": (2,),
}


def _network(bar_cohort: Path, shift: float = 0.0) -> DXAVAE:
    """A network that has learnt nothing: it gives the mean image, or that image plus a constant."""
    network = DXAVAE(**TINY)
    network.set_mean_image(image_statistics(read_manifest(bar_cohort), ScanSource())[0])
    torch.nn.init.constant_(network.generator.to_scan.bias, shift)
    return network.eval()


def test_network_that_gives_the_mean_image_equals_the_baseline(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)[:5]
    quality = per_scan_quality(rows, {"arm": [_network(bar_cohort)]}, batch_size=2)
    wide = quality.pivot(index="scan_id", columns="arm", values="psnr_db")
    assert list(wide.index) == sorted(row["scan_id"] for row in rows)
    pd.testing.assert_series_equal(wide["arm"], wide[MEAN_IMAGE_ARM], check_names=False)


def test_quality_is_that_of_the_scan_named(bar_cohort: Path) -> None:
    network = _network(bar_cohort)
    row = read_manifest(bar_cohort)[7]
    quality = per_scan_quality(read_manifest(bar_cohort), {"arm": [network]}, batch_size=4)
    from dxa_monai.scan.reader import RawDXAReader

    reader = RawDXAReader()
    target = torch.from_numpy(reader.get_data(reader.read(row["scan"]))[0])[None]
    expected = psnr_db(network.mean_image[None], target).item()
    got = quality[(quality["scan_id"] == row["scan_id"]) & (quality["arm"] == "arm")]["psnr_db"].item()
    assert got == pytest.approx(expected, abs=1e-4)


def test_linear_baseline_is_the_projection_on_the_training_scans(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean_image, _ = image_statistics(rows, ScanSource())
    path = LinearPath(len(rows) - 1, (6, 150, 109))
    path.set_components(*principal_components(rows, mean_image, len(rows) - 1, ScanSource()))
    quality = per_scan_quality(rows, {"arm": [_network(bar_cohort)]}, principal=path)
    linear = quality[quality["arm"] == f"principal_components_{len(rows) - 1}"]
    assert len(linear) == len(rows)
    # All components of the training scans leave nothing of them but rounding.
    assert linear["psnr_db"].min() > 90.0


def test_networks_of_other_people_are_refused(bar_cohort: Path) -> None:
    other = _network(bar_cohort)
    other.mean_image.add_(0.1)
    with pytest.raises(InputError, match="different mean images in 'a' and 'b'"):
        common_mean_image({"a": [_network(bar_cohort)], "b": [other]})


def test_figure_shows_the_median_scan() -> None:
    assert representative_scan(quality_table({"a": [20.0, 26.0, 24.0, 22.0]}), "a") == "c-1"


def test_evaluation_writes_tables_and_figure(bar_cohort: Path, tmp_path: Path) -> None:
    paths = {}
    for arm, shift in (("good", 0.0), ("bad", 0.05)):
        paths[arm] = tmp_path / f"{arm}.pt"
        save_network(_network(bar_cohort, shift), paths[arm])
    files = evaluate_reconstruction(read_manifest(bar_cohort)[:6], paths, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in files.values()}
    table = pd.read_csv(files["table_1"]).set_index("arm")
    assert list(table.index) == [MEAN_IMAGE_ARM, "good", "bad"]
    assert table.loc["bad", "psnr_db"] < table.loc["good", "psnr_db"]
    assert files["figure_2"].read_bytes().startswith(b"\x89PNG")


def test_unusable_checkpoint_leaves_no_table(bar_cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"bad\.pt: expected"):
        evaluate_reconstruction(read_manifest(bar_cohort), {"arm": tmp_path / "bad.pt"}, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
