"""The reports of a folder, which may have come from anywhere: those that are not what inference writes are refused."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dxa_monai.errors import InputError
from dxa_monai.files import path_inside
from dxa_monai.inference.report import read_report

_NUMBERS = ("age_years", "height_cm", "mass_kg")


def report_of(folder: Path, scan_id: str) -> dict[str, Any] | None:
    """The report of a scan; None if there is none, or none of inference.

    Args:
        folder: of the outputs.
        scan_id: of the scan.

    Raises:
        InputError: it would lie outside of the folder.
    """
    report = read_report(path_inside(folder, f"{scan_id}.json"))
    return report if report is not None and _is_sound(report, scan_id) else None


def _is_sound(report: Mapping[str, Any], scan_id: str) -> bool:
    """Whether each part that is used here is of the kind that it should be."""
    try:
        return (
            report["scan_id"] == scan_id
            and isinstance(report["scan"], str)
            and isinstance(report["inputs_sha256"], str)
            and isinstance(report["landmarks_given"], bool)
            and (report["landmarks"] is None or isinstance(report["landmarks"], dict))
            and isinstance(report.get("versions", {}), dict)
            and all(_is_number(report[name]) or report[name] in (None, "") for name in _NUMBERS if name in report)
            and all(
                isinstance(flag["name"], str) and isinstance(flag["sentence"], str) and isinstance(flag["fatal"], bool)
                for flag in report["flags"]
            )
            and all(_is_number(value) for region in report["regions"].values() for value in region.values())
            and all(value is None or _is_number(value) for value in report.get("indices", {}).values())
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def expected_report(folder: Path, scan_id: str) -> InputError:
    """What is told where a scan has no report that can be used."""
    return InputError(
        f"{folder / f'{scan_id}.json'}: expected the report that inference writes, got none; run inference again."
    )
