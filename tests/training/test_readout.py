"""A regressor's start at the read-out of codes, and a mesh-to-scan network's at the regression from shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import compact_checkpoint, load_regressor, save_network
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.runs.another_background import open_air_counts
from dxa_monai.scan.io import load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest, write_manifest
from dxa_monai.scan.measures import has_both_sides, measure_table, mirrored_measures
from dxa_monai.training import readout
from dxa_monai.training.data import MeasuredData
from dxa_monai.training.start import TrunkStart, VAEStart
from tests.training.test_start import network as small_vae

TRUNK: dict[str, Any] = {"block_config": (1, 1, 1, 1), "growth_rate": 2, "init_features": 2}


MEASURES = ("arm_left_volume_l", "arm_right_volume_l", "total_volume_l")


@pytest.fixture(scope="module")
def telling_pairs(bar_cohort: Path) -> Path:
    """The bars, whose width tells the measures."""
    rows = []
    for row in read_manifest(bar_cohort):
        width = float((load_scan(row["scan"]).counts[75, :, 0] > 1000).sum())
        rows.append(row | dict.fromkeys(MEASURES, width) | {"total_volume_l": width**2 / 40.0})
    path = bar_cohort.with_name("telling.csv")
    write_manifest(rows, path)
    return path


def measured(manifest: Path, folder: Path, **changes: Any) -> MeasuredData:
    return MeasuredData(manifest=manifest, output_dir=folder, split_seed=0, measures=list(MEASURES), **changes)


def regressor(data: MeasuredData, **changes: Any) -> AnthropometryRegressor:
    torch.manual_seed(0)
    return AnthropometryRegressor(data.measures, **(TRUNK | {"code_components": 6} | changes)).eval()


def test_it_starts_near_the_truth_and_its_labels_ask_for_what_it_misses(telling_pairs: Path, tmp_path: Path) -> None:
    data = measured(telling_pairs, tmp_path)
    network = regressor(data)
    start = TrunkStart(network, data, moved_copies=0)
    start.prepare()
    rows = data.training_rows
    truth = measure_table(rows, data.measures)
    with torch.no_grad():
        predicted = network(data.source.images(rows)).numpy()
    spread = truth.std(axis=0)
    missed = np.square((predicted - truth) / spread).mean()
    assert missed < 0.1
    labels = np.stack([item["label"] for item in data.training])
    # what is left to learn is larger than what is missed in people the read-out has seen
    assert np.square((labels - predicted) / spread).mean() > missed
    assert start.as_dict()["readout"]["components"] == "training scans"
    validation = np.stack([item["label"] for item in data.validation])
    np.testing.assert_allclose(validation, measure_table(data.split["validation"], data.measures), rtol=1e-6)


def test_a_pretrained_path_gives_its_first_components(telling_pairs: Path, tmp_path: Path) -> None:
    data = measured(telling_pairs, tmp_path)
    vae: DXAVAE = small_vae(linear_channels=2)
    VAEStart(vae, measured(telling_pairs, tmp_path), mirrored=True).prepare()  # type: ignore[arg-type]
    save_network(vae, tmp_path / "vae.pt")
    network = regressor(data)
    start = TrunkStart(network, data, tmp_path / "vae.pt")
    start.prepare()
    torch.testing.assert_close(network.linear_path.components, vae.linear_path.components[:6])
    assert start.as_dict()["readout"]["components"] == str(tmp_path / "vae.pt")
    with pytest.raises(InputError, match="expected a linear path with at least 13 components"):
        TrunkStart(regressor(data, code_components=13), data, tmp_path / "vae.pt").prepare()


def test_weights_of_another_scanner_are_told_before_and_when_they_are_used(
    telling_pairs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for counts, told in ((0.0, 0), (800.0, 2)):
        data = measured(telling_pairs, tmp_path)
        vae: DXAVAE = small_vae(linear_channels=2)
        VAEStart(vae, measured(telling_pairs, tmp_path), mirrored=True).prepare()  # type: ignore[arg-type]
        vae.mean_image += counts / 16383
        save_network(vae, tmp_path / "vae.pt")
        caplog.clear()
        start = TrunkStart(regressor(data), data, tmp_path / "vae.pt")
        start.check()
        start.prepare()
        sentences = [each for each in caplog.messages if "open air" in each]
        assert len(sentences) == told
        counts_of_data = open_air_counts(data.statistics[0])
        torch.testing.assert_close(torch.tensor(start.as_dict()["open_air_counts"]), counts_of_data, atol=0.1, rtol=0.0)
        assert all("vae.pt: the network was trained on scans that read about" in each for each in sentences)


def test_a_network_with_a_readout_is_kept_by_a_checkpoint_also_a_compact_one(
    telling_pairs: Path, tmp_path: Path
) -> None:
    data = measured(telling_pairs, tmp_path)
    network = regressor(data)
    TrunkStart(network, data).prepare()
    save_network(network, tmp_path / "whole.pt")
    compact_checkpoint(tmp_path / "whole.pt", tmp_path / "compact.pt")
    scans = data.source.images(data.training_rows[:3])
    with torch.no_grad():
        wanted = network(scans)
        torch.testing.assert_close(load_regressor(tmp_path / "whole.pt")(scans), wanted)
        torch.testing.assert_close(load_regressor(tmp_path / "compact.pt")(scans), wanted, rtol=0.01, atol=0.02)
    # each as it is and moved four times, and the mirror images of these
    assert load_regressor(tmp_path / "whole.pt").architecture()["readout_centres"] == 10 * len(data.training_rows)


def test_left_and_right_change_places_in_a_mirror() -> None:
    measures = ["arm_left_volume_l", "total_volume_l", "arm_right_volume_l"]
    assert mirrored_measures(measures) == [2, 1, 0]
    assert has_both_sides(measures)
    assert not has_both_sides(measures[:2])
    with pytest.raises(InputError, match="expected both sides of arm_left_volume_l for mirrored"):
        mirrored_measures(measures[:2])


def test_more_components_than_scans_are_left_empty(telling_pairs: Path, tmp_path: Path) -> None:
    data = measured(telling_pairs, tmp_path, training_pairs=4)
    network = regressor(data, code_components=20)
    TrunkStart(network, data, mirrored=False, moved_copies=0).prepare()
    assert int(network.linear_path.components.flatten(1).any(dim=1).sum()) == 3
    assert bool(torch.isfinite(network(data.source.images(data.training_rows))).all())


def test_where_somebody_lies_matters_less_once_moved_copies_count(telling_pairs: Path, tmp_path: Path) -> None:
    """Bars that lie somewhat elsewhere, each: of few scans, place and width are not told apart."""
    rng = np.random.default_rng(0)
    rows = []
    for row in read_manifest(telling_pairs):
        place = tuple(int(pixels) for pixels in rng.integers(-3, 4, 2))
        scan = load_scan(row["scan"])
        moved = replace(scan, counts=np.roll(scan.counts, place, (0, 1)))
        save_scan(moved, tmp_path / "scans" / f"{row['scan_id']}.npy")
        rows.append(row | {"scan": str(tmp_path / "scans" / f"{row['scan_id']}.npy")})
    write_manifest(rows, tmp_path / "manifest.csv")
    data = measured(tmp_path / "manifest.csv", tmp_path / "run")
    others = [*data.split["validation"], *data.split["test"]]
    truth = measure_table(others, data.measures)
    missed = {}
    for copies in (0, 4):
        network = regressor(data, code_components=30)
        start = TrunkStart(network, data, moved_copies=copies)
        start.prepare()
        assert start.as_dict()["readout"]["moved_copies"] == copies * len(data.training_rows)
        with torch.no_grad():
            predicted = network(data.source.images(others)).numpy()
        missed[copies] = float(np.square((predicted - truth) / truth.std(axis=0)).mean())
    assert missed[4] < 0.5 * missed[0]


def test_of_more_scans_than_centres_some_are_taken_evenly(
    telling_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = measured(telling_pairs, tmp_path)
    monkeypatch.setattr(readout, "MOST_CENTRES", 2 * len(data.training_rows) - 6)
    network = regressor(data)
    start = TrunkStart(network, data)
    start.prepare()
    assert start.as_dict()["readout"]["moved_copies"] == 0
    assert network.architecture()["readout_centres"] == 2 * (len(data.training_rows) - 3)
