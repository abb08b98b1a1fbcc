"""Pages to hand over: one for each scan, and one for all scans of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dxa_monai.analysis.composition import QUANTITIES, REPORTED_REGIONS
from dxa_monai.analysis.indices import INDICES
from dxa_monai.analysis.reference_curves import PERCENTILES, ReferenceCurves
from dxa_monai.figures.reference_curves import reference_figure
from dxa_monai.inference.report import values_of
from dxa_monai.pages.render import inlined, render, write_page
from dxa_monai.scan.measures import measure_label
from dxa_monai.scan.people import is_woman

RUN_PAGE = "scans.html"
"""Of all scans; no scan can be called so."""
TOTALS = tuple(name for name in QUANTITIES if name != "bone_area_cm2")
"""On the page of all scans."""
_PERSON = {
    "subject_id": "person",
    "age_years": "age (years)",
    "sex": "sex",
    "height_cm": "height (cm)",
    "mass_kg": "mass as weighed (kg)",
}
"""What is shown of a person, as the manifest says it."""
_DECIMALS = {
    "bmd_g_cm2": 3,
    "kg_m2": 2,
    "cm2": 1,
    "m2": 3,
    "ratio": 2,
    "percent": 1,
    "kg": 2,
    "g": 0,
}
"""By the end of a quantity's name; longer ends first."""


def page_names(scan_ids: Sequence[str]) -> list[str]:
    """Files that :func:`write_pages` writes."""
    return [RUN_PAGE, *(f"{scan_id}.html" for scan_id in scan_ids)]


def write_pages(
    reports: Sequence[Mapping[str, Any]], folder: str | Path, reference: ReferenceCurves | None = None
) -> Path:
    """Write the pages of a run; a page needs no other file.

    Args:
        reports: of :func:`dxa_monai.inference.report.as_report`.
        folder: with the pictures, ``{scan_id}.png``, where they were drawn; gets ``{scan_id}.html`` and ``RUN_PAGE``.
        reference: that the reports were written with; None: none.

    Returns:
        The page of all scans.
    """
    folder = Path(folder)
    for report in reports:
        picture = folder / f"{report['scan_id']}.png"
        write_page(picture.with_name(f"{report['scan_id']}.html"), scan_page(report, picture, reference))
    text = render("scans.html.jinja", shown=_shown, reports=flagged_first(reports), totals=quantity_labels(TOTALS))
    write_page(folder / RUN_PAGE, text)
    return folder / RUN_PAGE


def scan_page(report: Mapping[str, Any], picture: Path, reference: ReferenceCurves | None = None) -> str:
    """The page of one scan.

    Args:
        report: of the scan.
        picture: of its regions; left out where there is none.
        reference: that the report was written with; None: none.
    """
    regions = report["regions"]
    person = {label: report.get(name) for name, label in _PERSON.items()}
    names = [name for name in REPORTED_REGIONS if name in regions]
    names += [name for name in regions if name not in names]
    return render(
        "scan.html.jinja",
        shown=_shown,
        report=report,
        person={label: value for label, value in person.items() if value not in (None, "")},
        picture=inlined(picture) if picture.is_file() else "",
        regions=names,
        quantities=quantity_labels(QUANTITIES),
        indices=[(measure_label(name), index, name) for name, index in INDICES.items()],
        reference=report.get("reference"),
        curves="" if reference is None else _curves(report, reference),
        label=measure_label,
        percentiles=PERCENTILES,
        values=values_of(report),
    )


def _curves(report: Mapping[str, Any], reference: ReferenceCurves) -> str:
    """The picture of a person's values among the people of a reference; empty where they stand nowhere."""
    values = values_of(report)
    placed = {name: values[name] for name in report["reference"]["standings"]}
    if not placed:
        return ""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "curves.png"
        return inlined(reference_figure(reference, placed, bool(is_woman(report["sex"])), report["age_years"], path))


def quantity_labels(quantities: Sequence[str]) -> dict[str, str]:
    """What stands above a column of each quantity."""
    return {name: measure_label(name) for name in quantities}


def flagged_first(reports: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Reports by ``scan_id``, before them those with flags: what asks for a look stands first."""
    ordered = sorted(reports, key=lambda report: str(report["scan_id"]))
    ordered.sort(key=_weight, reverse=True)
    return ordered


def _weight(report: Mapping[str, Any]) -> tuple[int, int]:
    flags = report["flags"]
    return sum(flag["fatal"] for flag in flags), len(flags)


def decimals_of(quantity: str) -> int | None:
    """How many decimals a quantity is shown with; None: three significant digits."""
    return next((digits for end, digits in _DECIMALS.items() if quantity.endswith(end)), None)


def _shown(value: Any, quantity: str = "") -> str:
    """A number with the decimals of its quantity, yes or no, or nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        decimals = decimals_of(quantity)
        return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"
    return str(value)
