"""Are flags worth reading? How many wrong scans each flag tells, and how many right ones it is raised for in vain."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pandas as pd

from dxa_monai.analysis.flags import FlagName

ANY_FLAG = "any flag of the scan"
"""But the standing one, which every scan without a phantom has."""
_STANDING = ("no_phantom",)


def _off(region: str, quantity: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda scans: (scans[f"{region}_{quantity}"] - scans[f"true_{region}_{quantity}"]).abs()


WRONG: dict[str, tuple[Callable[[pd.DataFrame], pd.Series], float]] = {
    "total fat off by 2 kg": (_off("total", "fat_g"), 2000.0),
    "mass of the arms off by 1 kg": (_off("arms", "mass_g"), 1000.0),
    "mass of the legs off by 1 kg": (_off("legs", "mass_g"), 1000.0),
    "total bone mineral off by 150 g": (_off("total", "bmc_g"), 150.0),
}
"""What makes a scan wrong, and from where on. One that is off by less than half of it is right; between, neither."""


def flag_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Sensitivity and false alarms of every flag that was raised, against the truth.

    Args:
        measured: of :func:`dxa_monai.evaluation.measured.measure_cohort`; refused scans do not count.

    Returns:
        A row a calibration, error of ``WRONG`` and flag: ``calibration, error, flag, scans, flagged, wrong,
        wrong_flagged, sensitivity, right, right_flagged, false_alarms``. A share of nothing is NaN.
    """
    rows = []
    for calibration, scans in measured[~measured["refused"].astype(bool)].groupby("calibration", sort=False):
        raised = [set(str(names).split()) for names in scans["flags"]]
        names = [name for name in get_args(FlagName) if any(name in each for each in raised)]
        has = {name: pd.Series([name in each for each in raised], index=scans.index) for name in names}
        has[ANY_FLAG] = pd.Series([bool(each.difference(_STANDING)) for each in raised], index=scans.index)
        for error, (off, limit) in WRONG.items():
            wrong, right = off(scans) > limit, off(scans) < limit / 2.0
            for name, flagged in has.items():
                caught, in_vain = int((wrong & flagged).sum()), int((right & flagged).sum())
                rows.append(
                    {
                        "calibration": calibration,
                        "error": error,
                        "flag": name,
                        "scans": len(scans),
                        "flagged": int(flagged.sum()),
                        "wrong": int(wrong.sum()),
                        "wrong_flagged": caught,
                        "sensitivity": caught / wrong.sum() if wrong.any() else float("nan"),
                        "right": int(right.sum()),
                        "right_flagged": in_vain,
                        "false_alarms": in_vain / right.sum() if right.any() else float("nan"),
                    }
                )
    return pd.DataFrame(rows)
