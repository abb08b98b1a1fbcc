from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from dxa_monai.evaluation.agreement import agreement
from dxa_monai.evaluation.arm_agreement import MEAN_OF_MEASURES, arm_differences, arm_table

PEOPLE = 40


def _predictions(noise: dict[str, float], seeds: int = 2) -> pd.DataFrame:
    """Two measures of very different size; every third person has two scans."""
    rng = np.random.default_rng(0)
    records = []
    truth = {(f"P{p}", f"P{p}-{v}"): rng.normal(size=2) for p in range(PEOPLE) for v in range(2 if p % 3 == 0 else 1)}
    for arm, size in noise.items():
        for seed in range(seeds):
            for (subject, scan), values in truth.items():
                for index, (measure, scale) in enumerate((("a_cm", 1.0), ("b_cm2", 2e4))):
                    records.append(
                        {
                            "arm": arm,
                            "seed": seed,
                            "subject_id": subject,
                            "scan_id": scan,
                            "measure": measure,
                            "truth": scale * (5.0 + values[index]),
                            "predicted": scale * (5.0 + values[index] + size * rng.normal()),
                        }
                    )
    return pd.DataFrame(records)


def test_one_seed_is_the_agreement_of_each_measure() -> None:
    predictions = _predictions({"x": 0.3}, seeds=1)
    table = arm_table(predictions, ["arm"]).set_index("measure")
    for measure, group in predictions.groupby("measure"):
        expected = agreement(group["predicted"], group["truth"], list(group["subject_id"]))
        for name in ("r2", "rmse", "r2_low", "r2_high", "rmse_low", "rmse_high"):
            assert table.loc[measure, name] == pytest.approx(expected[name], rel=1e-9)
    assert table.loc[MEAN_OF_MEASURES, "r2"] == pytest.approx(table["r2"].iloc[:2].mean())
    assert np.isnan(table.loc["a_cm", "r2_seed_sd"])


def test_several_seeds_are_averaged_and_their_spread_told() -> None:
    predictions = _predictions({"x": 0.3}, seeds=3)
    row = arm_table(predictions, ["arm"]).set_index("measure").loc["b_cm2"]
    each = [
        r2_score(group["truth"], group["predicted"])
        for _, group in predictions[predictions["measure"] == "b_cm2"].groupby("seed")
    ]
    assert row["r2"] == pytest.approx(np.mean(each))
    assert row["r2_seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert (row["people"], row["seeds"]) == (PEOPLE, 3)


def test_differences_are_paired() -> None:
    predictions = _predictions({"bad": 0.5, "good": 0.3})
    table = arm_table(predictions, ["arm"]).set_index(["arm", "measure"])["r2"]
    difference = arm_differences(predictions, ["arm"]).set_index("measure").loc[MEAN_OF_MEASURES]
    assert (difference["arm"], difference["minus_arm"]) == ("good", "bad")
    assert difference["r2"] == pytest.approx(table["good", MEAN_OF_MEASURES] - table["bad", MEAN_OF_MEASURES])
    assert 0.0 < difference["r2_low"] < difference["r2"] < difference["r2_high"]


def test_what_trainings_of_one_arm_differ_by_widens_the_difference_of_two() -> None:
    predictions = _predictions({"x": 0.4, "y": 0.4}, seeds=3)
    alike = arm_differences(predictions, ["arm"]).set_index("measure").loc["a_cm"]
    worse = (predictions["arm"] == "y") & (predictions["seed"] == 1)
    error = predictions["predicted"] - predictions["truth"]
    unlike = predictions.assign(predicted=predictions["truth"] + error * (1.0 + 2.0 * worse))
    difference = arm_differences(unlike, ["arm"]).set_index("measure").loc["a_cm"]
    # two of three seeds are drawn: four times in nine the bad one is not among them, once in nine alone
    assert difference["r2"] < -0.2
    assert difference["r2_high"] > alike["r2"] - 0.05
    assert difference["r2_low"] < 2.0 * difference["r2"]
    shuffled = unlike.sample(frac=1.0, random_state=0).sort_values(["arm", "measure"], kind="stable")
    mixed = arm_differences(shuffled, ["arm"])
    assert mixed.set_index("measure").loc["a_cm", "r2_low"] == pytest.approx(difference["r2_low"])


def test_equal_arms_do_not_differ() -> None:
    once = _predictions({"x": 0.4})
    twice = pd.concat([once, once.assign(arm="y")])
    difference = arm_differences(twice, ["arm"])
    columns = ["r2", "r2_low", "r2_high"]
    assert np.abs(difference[columns].to_numpy()).max() < 1e-12


def test_order_of_rows_does_not_matter_and_other_scans_are_refused() -> None:
    predictions = _predictions({"x": 0.4, "y": 0.2})
    mixed = predictions.sample(frac=1.0, random_state=0)
    first, second = (arm_table(each, ["arm"]).sort_values(["arm", "measure"]) for each in (predictions, mixed))
    np.testing.assert_allclose(first["r2_low"].to_numpy(), second["r2_low"].to_numpy(), rtol=1e-9)
    lacking = predictions[~((predictions["arm"] == "y") & (predictions["scan_id"] == "P0-1"))]
    with pytest.raises(ValueError, match="the same scans"):
        arm_differences(lacking, ["arm"])


def test_one_person_says_nothing_about_others() -> None:
    predictions = _predictions({"x": 0.4, "y": 0.2})
    alone = predictions[predictions["subject_id"] == "P0"]
    for table in (arm_table(alone, ["arm"]), arm_differences(alone, ["arm"])):
        rmse = table[table["measure"] != MEAN_OF_MEASURES]
        assert np.isfinite(rmse["rmse"]).all()
        assert np.isnan(rmse[["rmse_low", "rmse_high"]].to_numpy()).all()


def test_bias_is_the_mean_error_over_scans_and_seeds() -> None:
    rows = [
        {"arm": "a", "seed": seed, "scan_id": f"s{scan}", "subject_id": f"p{scan // 2}", "measure": "m"}
        | {"truth": float(scan), "predicted": float(scan) + 1.0 + 2.0 * seed + 0.5 * (scan == 3)}
        for seed in (0, 1)
        for scan in range(6)
    ]
    table = arm_table(pd.DataFrame(rows), ["arm"]).set_index("measure")
    assert table.loc["m", "bias"] == pytest.approx(2.0 + 0.5 / 6)
    assert table.loc["m", "bias_low"] <= table.loc["m", "bias"] <= table.loc["m", "bias_high"]
    assert table.loc["m", "bias_seed_sd"] == pytest.approx(2.0**0.5)
    assert np.isnan(table.loc["mean_of_measures", "bias"])


def test_arms_of_measures_in_another_order_are_not_paired_by_position() -> None:
    rows = [
        {"arm": arm, "seed": 0, "scan_id": f"s{scan}", "subject_id": f"p{scan}", "measure": measure}
        | {"truth": float(scan), "predicted": float(scan)}
        for arm, measures in (("a", "xy"), ("b", "yx"))
        for scan in range(4)
        for measure in measures
    ]
    with pytest.raises(ValueError, match="expected the same measures, in one order"):
        arm_differences(pd.DataFrame(rows), ["arm"])
