"""Body measures of people held out: baselines, and networks compared by the names of what they measure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES
from dxa_monai.evaluation.arms import ArmEvaluation, Findings
from dxa_monai.evaluation.held_out import HeldOutPeople, TrainedArm
from dxa_monai.evaluation.measures import (
    BASELINES,
    MEAN_ARM,
    RIDGE_ARM,
    SILHOUETTE_ARM,
    MeasuresTask,
    _read,
    baseline_predictions,
    format_means,
    predict_measures,
)
from dxa_monai.evaluation.predictors import Rows
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.scan.format import CHANNELS, channels_first
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.manifest import Row, read_manifest
from dxa_monai.scan.measures import PAPER_MEASURES, first_pairs, measure_table
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.splits import Split, split_by_subject
from dxa_monai.scan.statistics import image_statistics
from tests.bundles.networks import TRUNK, tiny_regressor
from tests.evaluation.run_folders import run_folder
from tests.lying_bodies import SCANNERS, lying_bodies

SOURCE = ScanSource()
MEASURES = ("width_cm", "noise_cm")


@torch.no_grad()
def _network(rows: Rows, seed: int = 0) -> AnthropometryRegressor:
    """A network that has learnt nothing, but says something else of each of these scans."""
    network = tiny_regressor(seed)
    network.set_normalisation(*image_statistics(rows, SOURCE))
    network.train()
    for _ in range(20):
        network(SOURCE.images(rows))
    return network.eval()


@pytest.fixture
def bars(bar_cohort: Path) -> list[Row]:
    """Rows with a measure that is in the image, and one that is not."""
    rng = np.random.default_rng(0)
    rows = read_manifest(bar_cohort)
    for row in rows:
        image = channels_first(load_scan(row["scan"]).counts)
        row["width_cm"] = float((image[0, 75] > 0.1).sum())
        row["noise_cm"] = float(rng.normal(50.0, 5.0))
    return rows


def test_ridge_reads_what_is_in_the_image_and_nothing_else(bars: list[Row]) -> None:
    training, held_out = bars[:18], bars[18:]
    found = baseline_predictions(training, held_out, MEASURES, SOURCE)
    assert tuple(found) == BASELINES
    truth = np.array([[row[name] for name in MEASURES] for row in held_out])
    mean = np.mean([[row[name] for name in MEASURES] for row in training], axis=0)
    np.testing.assert_allclose(found[MEAN_ARM], np.tile(mean, (len(held_out), 1)))
    error = {arm: np.abs(values - truth).mean(axis=0) for arm, values in found.items()}
    for arm in (RIDGE_ARM, SILHOUETTE_ARM):
        assert error[arm][0] < 0.25 * error[MEAN_ARM][0]
        assert error[arm][1] < 2.0 * error[MEAN_ARM][1]


def test_silhouettes_do_not_depend_on_the_scanner(tmp_path: Path) -> None:
    silhouettes = []
    for name, acquisition in SCANNERS.items():
        counts = acquisition.scan(lying_bodies(), torch.Generator().manual_seed(0))
        rows = [{"scan": str(tmp_path / f"{name}{place}.npy")} for place in range(len(counts))]
        for row, each in zip(rows, counts, strict=True):
            save_scan(RawScan(each), Path(row["scan"]))
        silhouettes.append(_read(rows, SOURCE)[0])
    ideal, realistic = silhouettes
    assert (ideal != realistic).sum(axis=1).max() < 60
    assert (ideal.sum(axis=1) > 3000).all()
    assert (ideal.mean(axis=1) < 0.5).all()


def test_networks_and_baselines_read_scans_through_the_source(bars: list[Row], tmp_path: Path) -> None:
    source = ScanSource(channels=CHANNELS[::-1])
    others = []
    for row in bars:
        path = tmp_path / f"{row['scan_id']}.npy"
        save_scan(RawScan(np.ascontiguousarray(load_scan(row["scan"]).counts[..., ::-1])), path)
        others.append(row | {"scan": str(path)})
    found = baseline_predictions(others[:18], others[18:], MEASURES, source)
    for arm, expected in baseline_predictions(bars[:18], bars[18:], MEASURES, SOURCE).items():
        np.testing.assert_array_equal(found[arm], expected)
    network = _network(bars)
    np.testing.assert_array_equal(
        predict_measures(network, others[18:], source), predict_measures(network, bars[18:], SOURCE)
    )


@torch.no_grad()
def test_a_network_s_measures_are_those_of_each_scan_whatever_the_batch(bars: list[Row]) -> None:
    network = _network(bars)
    expected = network(SOURCE.images(bars[:5])).double().numpy()
    assert np.ptp(expected, axis=0).min() > 0.1
    network.train()
    for batch_size in (1, 2, 8):
        found = predict_measures(network, bars[:5], SOURCE, batch_size)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.fixture
def split(measured_pairs: Path) -> Split:
    return split_by_subject(read_manifest(measured_pairs))


def _regressor(measures: tuple[str, ...], like: AnthropometryRegressor) -> AnthropometryRegressor:
    """A network that says the same of each measure as another, in an order of its own."""
    network = AnthropometryRegressor(measures, pooled_shape=[5, 4], **TRUNK)
    order = [like.measures.index(name) for name in measures]
    of_measures = ("head.weight", "head.bias", "measure_mean", "measure_standard_deviation")
    state = {name: value for name, value in like.state_dict().items() if not name.startswith("readout.")}
    network.load_state_dict(
        {name: value[order] if name in of_measures else value for name, value in state.items()}, strict=False
    )
    return network.eval()


def _findings(arms: Mapping[str, Path], split: Split) -> Findings:
    people = HeldOutPeople("test", split["test"], split["train"], SOURCE, 0)
    return MeasuresTask().compare([TrainedArm(name, (path,)) for name, path in arms.items()], people, 0, {})


def _of_arm(found: Findings, table: str, arm: str, *index: str) -> pd.DataFrame:
    whole = found.tables[table]
    return whole[whole["arm"] == arm].drop(columns="arm").set_index([*index, "measure"])


def test_measures_of_networks_in_another_order_are_compared_by_name(split: Split, tmp_path: Path) -> None:
    network = _network(split["test"])
    order = np.random.default_rng(0).permutation(PAPER_MEASURES)
    other = _regressor(tuple(map(str, order)), network)
    assert other.measures != network.measures
    a, b = (run_folder(tmp_path / name, split, each) for name, each in (("a", network), ("b", other)))
    found = {names: _findings(arms, split) for names, arms in (("ab", {"a": a, "b": b}), ("ba", {"b": b, "a": a}))}
    for each in found.values():
        pd.testing.assert_frame_equal(_of_arm(each, "measures", "a"), _of_arm(each, "measures", "b"), rtol=1e-5)
        of_scans = [_of_arm(each, "measures_per_scan", arm, "scan_id") for arm in ("a", "b")]
        pd.testing.assert_frame_equal(*of_scans, rtol=1e-5)
    # nor does it matter which network the table takes its order from
    for arm in ("a", "b", *BASELINES):
        first, second = (_of_arm(each, "measures", arm) for each in found.values())
        assert list(first.index) == [*network.measures, MEAN_OF_MEASURES]
        assert list(second.index) == [*other.measures, MEAN_OF_MEASURES]
        pd.testing.assert_frame_equal(first, second.loc[first.index], rtol=1e-5)


def test_beside_a_measure_stands_what_is_said_of_it(split: Split, tmp_path: Path) -> None:
    measures = PAPER_MEASURES[::-1]
    network = _regressor(measures, _network(split["test"]))
    found = _findings({"net": run_folder(tmp_path / "run", split, network)}, split)
    row = split["test"][0]
    told = {arm: _of_arm(found, "measures_per_scan", arm, "scan_id").loc[row["scan_id"]] for arm in ("net", MEAN_ARM)}
    predicted = predict_measures(network, split["test"], SOURCE)[0]
    mean = measure_table(split["train"], measures).mean(axis=0)
    assert tuple(told["net"].index) == measures
    np.testing.assert_allclose(told["net"]["predicted"], predicted)
    np.testing.assert_allclose(told["net"]["truth"], [row[name] for name in measures])
    np.testing.assert_allclose(told[MEAN_ARM].loc[list(measures), "predicted"], mean)


def test_networks_of_different_measures_are_refused(split: Split, measured_pairs: Path, tmp_path: Path) -> None:
    network = tiny_regressor()
    paths = {
        "all": run_folder(tmp_path / "all", split, network),
        "fewer": run_folder(tmp_path / "fewer", split, _regressor(PAPER_MEASURES[:-1], network)),
    }
    with pytest.raises(InputError, match=r"fewer/best\.pt: expected the measures .* got 14, .*in total_volume_l"):
        ArmEvaluation(MeasuresTask(), measured_pairs, tmp_path / "out", paths).run()
    assert not (tmp_path / "out").exists()


def test_a_measure_that_the_manifest_lacks_is_told(split: Split, bar_cohort: Path, tmp_path: Path) -> None:
    path = run_folder(tmp_path / "run", split_by_subject(read_manifest(bar_cohort)), tiny_regressor())
    with pytest.raises(InputError, match="expected a number in column bicep_left_circumference_cm"):
        ArmEvaluation(MeasuresTask(), bar_cohort, tmp_path / "out", {"net": path}).run()


def test_tables_tell_trunk_and_pairs_and_have_a_learning_curve(
    split: Split, measured_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = len(split["train"])
    record: dict[str, Any] = {"split_seed": 4, "training_pairs": pairs}
    paths = {
        "whole": [
            run_folder(tmp_path / f"whole{seed}", split, tiny_regressor(seed), trunk="fine_tuned", **record)
            for seed in (0, 1)
        ],
        "frozen": [run_folder(tmp_path / "frozen", split, tiny_regressor(2), trunk="frozen", **record)],
        "few": [
            run_folder(tmp_path / "few", split, tiny_regressor(3), trunk="fine_tuned", **record | {"training_pairs": 8})
        ],
    }
    arms = [TrainedArm("net", tuple(each), variant) for variant, each in paths.items()]
    evaluation = ArmEvaluation(MeasuresTask(), measured_pairs, tmp_path / "out")
    files = evaluation.of(arms, skipped={"imagenet": "not at hand"})
    assert {path.name for path in (tmp_path / "out").glob("[!.]*")} == {path.name for path in files.values()}
    table = pd.read_csv(files["measures"])
    assert table["skipped"].notna().sum() == 1
    means = table[table["measure"] == MEAN_OF_MEASURES]
    assert list(zip(means["arm"], means["trunk"], means["seeds"], strict=True)) == [
        *((arm, "none", 1) for arm in BASELINES),
        ("net", "fine_tuned", 2),
        ("net", "frozen", 1),
    ]
    assert set(means["training_pairs"]) == {pairs}
    curve = pd.read_csv(files["learning_curve"])
    assert set(curve["training_pairs"]) == {8, pairs}
    assert "frozen" not in set(curve["trunk"])
    # the baselines of few pairs know the pairs that the networks were trained on
    per_scan = pd.read_csv(files["measures_per_scan"])
    few = per_scan[(per_scan["arm"] == MEAN_ARM) & (per_scan["training_pairs"] == 8)]
    expected = measure_table(first_pairs(split["train"], 8, 4), ["total_volume_l"]).mean()
    assert few[few["measure"] == "total_volume_l"]["predicted"].to_numpy() == pytest.approx(expected, rel=1e-4)
    for figure in ("scatter", "bland_altman", "learning_curve_figure"):
        assert files[figure].read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert f"R2, mean of 15 measures on {len({row['subject_id'] for row in split['test']})} people held out:" in told
    assert "imagenet: skipped; not at hand" in told
    assert "by number of training pairs" in told


def test_baselines_of_a_smaller_split_know_all_of_it(split: Split, tmp_path: Path) -> None:
    """A network of more pairs than the split has that it is judged by, as on another data set."""
    found = _findings({"net": run_folder(tmp_path / "run", split, tiny_regressor(), training_pairs=900)}, split)
    of_mean = _of_arm(found, "measures_per_scan", MEAN_ARM, "scan_id").xs("total_volume_l", level="measure")
    np.testing.assert_allclose(of_mean["predicted"], measure_table(split["train"], ["total_volume_l"]).mean())
    assert set(found.tables["measures"]["training_pairs"]) == {900}


def test_numbers_for_a_tracker_are_finite(split: Split, tmp_path: Path) -> None:
    found = _findings({"net": run_folder(tmp_path / "run", split, tiny_regressor(), trunk="fine_tuned")}, split)
    assert "net_fine_tuned/total_volume_l_rmse" in found.metrics
    assert "net_fine_tuned/mean_of_measures_r2" in found.metrics
    assert np.isfinite(list(found.metrics.values())).all()


def test_means_are_shown_with_their_interval() -> None:
    row = {"arm": "net", "r2": 0.5, "r2_low": 0.4, "r2_high": 0.6, "r2_seed_sd": 0.01}
    table = pd.DataFrame([row | {"measure": "waist_circumference_cm"}, row | {"measure": MEAN_OF_MEASURES, "r2": 0.55}])
    lines = format_means(table, ["arm"]).splitlines()
    assert len(lines) == 2
    assert "0.550 [0.400, 0.600]" in lines[1]
    assert "0.010" in lines[1]
