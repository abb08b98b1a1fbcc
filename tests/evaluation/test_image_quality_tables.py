"""Tables of image quality: means over scans, seeds averaged, intervals over people, paired differences."""

from __future__ import annotations

import pandas as pd
import pytest

from dxa_monai.evaluation.image_quality_tables import arm_differences, format_table, table_1, table_as_metrics


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
    table = table_1(quality_table({"a": [20.0, 22.0, 24.0, 26.0]}))
    row = table.iloc[0]
    assert (row["people"], row["scans"]) == (3, 4)
    assert row["psnr_db"] == pytest.approx(23.0)
    assert row["psnr_db_low"] < 23.0 < row["psnr_db_high"]


def test_difference_is_paired() -> None:
    quality = quality_table({"a": [20.0, 30.0, 40.0, 50.0], "b": [21.0, 31.0, 41.0, 51.0]})
    row = arm_differences(quality.sample(frac=1.0, random_state=0).sort_values("arm", kind="stable")).iloc[0]
    assert (row["arm"], row["minus"]) == ("b", "a")
    assert row["psnr_db"] == row["psnr_db_low"] == row["psnr_db_high"] == pytest.approx(1.0)


def test_seeds_are_averaged_scan_by_scan_and_their_spread_is_told() -> None:
    first, second = quality_table({"a": [20.0, 22.0, 24.0, 26.0]}), quality_table({"a": [22.0, 24.0, 26.0, 28.0]})
    (row,) = table_1(pd.concat([first, second.assign(seed=1)])).to_dict("records")
    assert (row["psnr_db"], row["scans"], row["seeds"]) == (24.0, 4, 2)
    assert row["psnr_db_seed_sd"] == pytest.approx(2.0**0.5)
    one = table_1(first.assign(psnr_db=first["psnr_db"] + 1.0)).to_dict("records")[0]
    assert (row["psnr_db_low"], row["psnr_db_high"]) == (one["psnr_db_low"], one["psnr_db_high"])


def test_table_is_readable_as_text_and_as_metrics() -> None:
    table = table_1(quality_table({"a": [20.0, 22.0, 24.0, 26.0]}))
    assert "23.00 [" in format_table(table, ["arm"])
    assert table_as_metrics(table)["a/psnr_db"] == pytest.approx(23.0)
