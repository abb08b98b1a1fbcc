"""The paper's own numbers, to be shown beside ours."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

SOURCE = "Leong et al., arXiv:2206.06663"
_FILE = Path(__file__).parent / "data" / "published.csv"


@cache
def published_values() -> pd.DataFrame:
    """Columns ``table, measure, metric, model, value``; see ``data/published_source.txt`` for what is left out."""
    return pd.read_csv(_FILE, dtype={"table": int, "measure": str, "metric": str, "model": str}, keep_default_na=False)


def published(table: int, metric: str, model: str, measure: str = "") -> float | None:
    """A number of the paper, or None where it has none.

    Args:
        table: 1 to 5.
        metric: ``psnr_db``, ``ssim``, ``nmae``, ``r2`` or ``rmse``.
        model: ``imagenet``, ``no_dxa`` or ``dxa``.
        measure: column of the manifest; empty for images.
    """
    found = published_values()
    for name, wanted in (("table", table), ("metric", metric), ("model", model), ("measure", measure)):
        found = found[found[name] == wanted]
    return float(found["value"].iloc[0]) if len(found) else None


def published_measures(table: int) -> list[str]:
    """Measures of a table, in the paper's order."""
    of_table = published_values().query("table == @table")
    return list(dict.fromkeys(of_table["measure"]))
