"""Tables of image quality: means over scans, seeds averaged, intervals over people, paired differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dxa_monai.evaluation.image_quality_tables import (
    format_image_quality,
    image_quality_differences,
    image_quality_metrics,
    image_quality_table,
)
from tests.metrics.slow_bootstrap import slow_interval

PEOPLE = 12


def quality_table(values: dict[str, list[float]]) -> pd.DataFrame:
    scans = [("a-1", "a"), ("a-2", "a"), ("b-1", "b"), ("c-1", "c")]
    return pd.DataFrame(
        [
            {"scan_id": scan, "subject_id": subject, "arm": arm, "seed": 0, "psnr_db": value, "ssim": 0.5, "nmae": 0.1}
            for arm, column in values.items()
            for (scan, subject), value in zip(scans, column, strict=True)
        ]
    )


def test_table_has_the_mean_over_scans_and_an_interval_around_it() -> None:
    table = image_quality_table(quality_table({"a": [20.0, 22.0, 24.0, 26.0]}))
    row = table.iloc[0]
    assert (row["people"], row["scans"]) == (3, 4)
    assert row["psnr_db"] == pytest.approx(23.0)
    assert row["psnr_db_low"] < 23.0 < row["psnr_db_high"]


def test_difference_is_paired() -> None:
    quality = quality_table({"a": [20.0, 30.0, 40.0, 50.0], "b": [21.0, 31.0, 41.0, 51.0]})
    row = image_quality_differences(quality.sample(frac=1.0, random_state=0).sort_values("arm", kind="stable")).iloc[0]
    assert (row["arm"], row["minus_arm"]) == ("b", "a")
    assert row["psnr_db"] == row["psnr_db_low"] == row["psnr_db_high"] == pytest.approx(1.0)


def test_differences_agree_with_the_slow_bootstrap() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for person in range(30):
        for scan in range(2):
            common = rng.normal()
            for arm, noise in (("a", 0.3), ("b", 0.2)):
                values = {"psnr_db": common + noise * rng.normal(), "ssim": 0.5, "nmae": 0.1}
                rows.append({"scan_id": f"{person}-{scan}", "subject_id": person, "arm": arm, "seed": 0} | values)
    quality = pd.DataFrame(rows)
    fast = image_quality_differences(quality, resamples=4000).iloc[0]
    values = [quality.loc[quality["arm"] == arm, "psnr_db"].to_numpy() for arm in "ba"]
    slow = slow_interval(values[0] - values[1], np.repeat(np.arange(30), 2), resamples=4000, seed=1)
    assert fast["psnr_db"] == pytest.approx(slow.estimate)
    ends = (fast["psnr_db_low"], fast["psnr_db_high"])
    np.testing.assert_allclose(ends, (slow.low, slow.high), rtol=0, atol=0.06 * (slow.high - slow.low))


def test_equal_arms_differ_by_exactly_zero_and_seeds_are_paired() -> None:
    seeds = [quality_table({"a": [20.0, 22.0, 24.0, 26.0]}).assign(seed=seed) for seed in range(3)]
    for seed, table in enumerate(seeds):
        table["psnr_db"] += 5.0 * seed
    quality = pd.concat([*seeds, *(each.assign(arm="b") for each in seeds)])
    row = image_quality_differences(quality).iloc[0]
    assert row["psnr_db"] == row["psnr_db_low"] == row["psnr_db_high"] == 0.0


def test_arms_of_other_scans_are_refused() -> None:
    quality = quality_table({"a": [20.0, 22.0, 24.0, 26.0], "b": [20.0, 22.0, 24.0, 26.0]})
    with pytest.raises(ValueError, match="expected the same scans of a and b"):
        image_quality_differences(quality.iloc[:-1])


def test_seeds_are_averaged_scan_by_scan_and_their_spread_is_told() -> None:
    first, second = quality_table({"a": [20.0, 22.0, 24.0, 26.0]}), quality_table({"a": [22.0, 24.0, 26.0, 28.0]})
    (row,) = image_quality_table(pd.concat([first, second.assign(seed=1)])).to_dict("records")
    assert (row["psnr_db"], row["scans"], row["seeds"]) == (24.0, 4, 2)
    assert row["psnr_db_seed_sd"] == pytest.approx(2.0**0.5)
    one = image_quality_table(first.assign(psnr_db=first["psnr_db"] + 1.0)).to_dict("records")[0]
    assert (row["psnr_db_low"], row["psnr_db_high"]) == (one["psnr_db_low"], one["psnr_db_high"])


def test_table_is_readable_as_text_and_as_metrics() -> None:
    table = image_quality_table(quality_table({"a": [20.0, 22.0, 24.0, 26.0]}))
    assert "23.00 [" in format_image_quality(table)
    assert "aligned" not in format_image_quality(table)
    assert image_quality_metrics(table)["a/psnr_db"] == pytest.approx(23.0)


@pytest.fixture
def aligned_quality() -> pd.DataFrame:
    """Two arms, the second with two seeds, 2 and 4 dB better; alignment gives 1 dB to all."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(PEOPLE):
        base = rng.normal(28, 1)
        for arm, seed, better in (("mean", 0, 0.0), ("net", 0, 2.0), ("net", 1, 4.0)):
            values = {"psnr_db": base + better, "ssim": 0.9, "nmae": 0.1}
            aligned = {"aligned_psnr_db": base + better + 1.0, "aligned_ssim": 0.95, "aligned_nmae": 0.09}
            moved = {"shift_rows_mm": -13.0, "shift_columns_mm": 3.0, "turn_degrees": 0.5}
            ids = {"scan_id": f"{person}-1", "subject_id": str(person), "arm": arm, "seed": seed}
            rows.append(ids | values | aligned | moved)
    return pd.DataFrame(rows)


def test_seeds_are_averaged_and_alignment_stands_beside(aligned_quality: pd.DataFrame) -> None:
    table = image_quality_table(aligned_quality).set_index("arm")
    assert table.loc["net", "psnr_db"] == pytest.approx(table.loc["mean", "psnr_db"] + 3.0)
    assert table.loc["net", "psnr_db_seed_sd"] == pytest.approx(np.sqrt(2.0))
    assert table.loc["net", "psnr_db_low"] < table.loc["net", "psnr_db"] < table.loc["net", "psnr_db_high"]
    assert table.loc["net", "aligned_psnr_db"] == pytest.approx(table.loc["net", "psnr_db"] + 1.0)
    assert table.loc["net", "aligned_psnr_db_low"] == pytest.approx(table.loc["net", "psnr_db_low"] + 1.0)
    assert table.loc["net", "rms_shift_rows_mm"] == pytest.approx(13.0)
    assert table.loc["net", "rms_shift_columns_mm"] == pytest.approx(3.0)
    assert table.loc["net", "rms_turn_degrees"] == pytest.approx(0.5)
    difference = image_quality_differences(aligned_quality).iloc[0]
    assert (difference["arm"], difference["minus_arm"]) == ("net", "mean")
    assert difference["psnr_db"] == pytest.approx(3.0) == difference["aligned_psnr_db"]
    # people differ by nothing, the two seeds by 2 dB
    assert (difference["psnr_db_low"], difference["psnr_db_high"]) == pytest.approx((2.0, 4.0))
    told = format_image_quality(image_quality_table(aligned_quality))
    assert f"{table.loc['net', 'aligned_psnr_db']:.2f}" in told
    assert "aligned" in told


def test_numbers_for_a_tracker_are_finite(aligned_quality: pd.DataFrame) -> None:
    metrics = image_quality_metrics(image_quality_table(aligned_quality))
    assert np.isfinite(list(metrics.values())).all()
    assert "net/aligned_psnr_db" in metrics
    # of one seed nothing lies apart
    assert "net/psnr_db_seed_sd" in metrics
    assert "mean/psnr_db_seed_sd" not in metrics
