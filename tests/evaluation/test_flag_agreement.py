from __future__ import annotations

import pandas as pd
import pytest

from dxa_monai.evaluation.flag_agreement import ANY_FLAG, WRONG, flag_table


def scans(errors_kg: list[float], flags: list[str], refused: list[bool]) -> pd.DataFrame:
    """Scans whose arms' mass is so much off, all else right."""
    frame = pd.DataFrame({"flags": flags, "refused": refused, "calibration": "phantom"})
    for column in ("total_fat_g", "arms_mass_g", "legs_mass_g", "total_bmc_g"):
        frame[column], frame[f"true_{column}"] = 5000.0, 5000.0
    frame["arms_mass_g"] += 1000.0 * pd.Series(errors_kg)
    return frame


def test_a_flag_is_as_good_as_what_it_tells() -> None:
    frame = scans(
        [1.5, -1.2, 1.1, 0.1, 0.4, 0.7, 9.0],
        ["arms_touch", "no_phantom arms_touch", "no_phantom", "no_phantom", "arms_touch", "arms_touch", "metal"],
        [False] * 6 + [True],
    )
    table = flag_table(frame)
    arms = table[table["error"] == "mass of the arms off by 1 kg"].set_index("flag")
    assert list(arms.index) == ["no_phantom", "arms_touch", ANY_FLAG]  # of refused scans nothing counts
    row = arms.loc["arms_touch"]
    assert row[["scans", "flagged", "wrong", "wrong_flagged", "right", "right_flagged"]].tolist() == [6, 4, 3, 2, 2, 1]
    assert row["sensitivity"] == pytest.approx(2 / 3)
    assert row["false_alarms"] == pytest.approx(1 / 2)
    assert arms.loc[ANY_FLAG, "wrong_flagged"] == 2  # what every scan has tells nothing of any
    others = table[table["error"] != "mass of the arms off by 1 kg"]
    assert others["sensitivity"].isna().all()
    assert set(table["error"]) == set(WRONG)
