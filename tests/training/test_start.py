"""What a DXA-VAE knows of the training scans before it is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.source import ScanSource
from dxa_monai.training.data import TrainingData
from dxa_monai.training.start import VAEStart


def network(**changes: object) -> DXAVAE:
    arguments = {
        "latent_channels": 2,
        "latent_shape": (3, 2),
        "block_config": (1, 1, 1, 1),
        "growth_rate": 2,
        "heads": "dense",
        "init_features": 2,
        "generator_channels": (2, 2, 2),
        "generator_kernel_sizes": (3,),
        "generator_dense_shape": (38, 28),
        "linear_channels": 1,
        "linear_directions": 2,
    }
    return DXAVAE(**(arguments | changes)).eval()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data(bar_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    return TrainingData(bar_cohort, tmp_path_factory.mktemp("run"), RawDXAReader(), split_seed=0)


def scans_of(data: TrainingData) -> torch.Tensor:
    return torch.stack([data.source.image(row["scan"]) for row in data.training_rows])


def test_a_linear_path_is_nearer_to_the_scans_than_their_mean(data: TrainingData) -> None:
    vae, scans = network(), scans_of(data)
    VAEStart(vae, data).prepare()
    with torch.no_grad():
        missed = (vae.reconstruct(scans) - scans).square().mean()
    assert missed < 0.5 * (vae.mean_image - scans).square().mean()


def test_a_mirrored_start_treats_both_sides_alike(data: TrainingData) -> None:
    vae, scans = network(), scans_of(data)
    VAEStart(vae, data, mirrored=True).prepare()
    assert vae.mean_image.equal(vae.mean_image.flip(-1))
    with torch.no_grad():
        codes = vae.linear_path.encode(vae.normalised(scans))
        mirrored = vae.linear_path.encode(vae.normalised(scans.flip(-1)))
    torch.testing.assert_close(codes.abs(), mirrored.abs(), atol=1e-3, rtol=1e-3)


def test_the_contrast_weight_chooses_other_components(data: TrainingData) -> None:
    plain, weighted = network(), network()
    VAEStart(plain, data).prepare()
    start = VAEStart(weighted, data, contrast_weight=6.0)
    start.prepare()
    assert start.as_dict() == {"mirrored": False, "contrast_weight": 6.0, "contrast_by_region": False}
    assert plain.mean_image.equal(weighted.mean_image)
    assert not torch.allclose(plain.linear_path.components, weighted.linear_path.components, atol=1e-3)


def test_a_contrast_weight_that_nothing_would_use_is_refused(data: TrainingData) -> None:
    with pytest.raises(InputError, match="contrast_weight: expected 1 for a linear path without linear_directions"):
        VAEStart(network(linear_directions=None), data, contrast_weight=6.0)


def test_components_whose_contrast_counts_by_region_keep_more_of_these_pixels(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bars have no regions: half of the columns stand for arms."""
    arms = torch.ones(150, 109)
    arms[:, :30] = arms[:, -30:] = 5.0
    monkeypatch.setattr("dxa_monai.training.start.region_weights", lambda rows, source, scanner: arms)
    plain, weighted, scans = network(), network(), scans_of(data)
    VAEStart(plain, data, mirrored=True, contrast_weight=6.0).prepare()
    start = VAEStart(weighted, data, mirrored=True, contrast_weight=6.0, contrast_by_region=True)
    start.prepare()
    assert start.as_dict()["contrast_by_region"]
    assert weighted.linear_path.pixel_weights[1].equal(arms)
    assert weighted.linear_path.pixel_weights[0].equal(torch.ones_like(arms))
    with torch.no_grad():
        missed = [(vae(scans).reconstruction - scans).square() for vae in (plain, weighted)]
    by_part = [[each[..., arms > 1].mean(), each[..., arms == 1].mean()] for each in missed]
    assert by_part[1][0] < by_part[0][0]
    assert by_part[1][1] > by_part[0][1]


def test_a_contrast_by_region_that_nothing_would_use_is_refused(data: TrainingData) -> None:
    for directions in (None, 3):
        with pytest.raises(InputError, match="contrast_by_region: expected False for a linear path without 2 lin"):
            VAEStart(network(linear_directions=directions), data, contrast_by_region=True)
    with pytest.raises(InputError, match="contrast_by_region: expected False for a network without a linear path"):
        VAEStart(network(linear_channels=0, linear_directions=None), data, contrast_by_region=True)


def test_a_contrast_by_region_wants_people(data: TrainingData) -> None:
    with pytest.raises(InputError, match="contrast_by_region: expected training scans that show a whole body"):
        VAEStart(network(), data, contrast_by_region=True).prepare()


def test_fewer_scans_than_codes_are_refused(data: TrainingData) -> None:
    many = network(latent_shape=(5, 4), latent_channels=5, linear_channels=5)
    scans = len(data.training_rows)
    told = rf"for the 100 components of network_def#linear_channels 5, got {scans}; .*\(each has 20 components\)"
    for mirrored, needed in ((False, 100), (True, 50)):
        start = VAEStart(many, data, mirrored)
        for step in (start.check, start.prepare):
            with pytest.raises(InputError, match=rf"expected more than {needed} scans {told}"):
                step()
    VAEStart(network(linear_channels=0, linear_directions=None), data).check()


def test_scans_are_read_twice_for_a_linear_path_and_no_more(
    data: TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for mean, deviation and basis, once for the components."""
    fresh = TrainingData(data.manifest, tmp_path, RawDXAReader(), split_seed=0)
    _ = fresh.split  # screened
    read: list[str] = []
    load = ScanSource.read
    monkeypatch.setattr(ScanSource, "read", lambda self, path: (read.append(str(path)), load(self, path))[1])
    VAEStart(network(), fresh, mirrored=True).prepare()
    assert sorted(read) == sorted(2 * [str(row["scan"]) for row in fresh.training_rows])
