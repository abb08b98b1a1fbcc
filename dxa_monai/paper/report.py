"""The report: what the paper says, what was found here, what it cost and what is missing, as Markdown and as HTML."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import dxa_monai
from dxa_monai.errors import InputError
from dxa_monai.pages.render import inlined, render, write_page
from dxa_monai.paper.claims import (
    Claim,
    claims_of_ablation,
    claims_of_generation,
    claims_of_measures,
    claims_of_reconstructions,
    lines,
)
from dxa_monai.paper.parts import FAILED, FINISHED_PART, Outcome
from dxa_monai.paper.plan import (
    ABLATION,
    ANALYSIS,
    ANTHROPOMETRY,
    COHORT,
    EVALUATION,
    GENERATION,
    RECONSTRUCTION,
    Part,
)
from dxa_monai.paper.published import SOURCE
from dxa_monai.paper.tables import TABLES, UNREADABLE, ResultTable
from dxa_monai.runs.folder import read_record
from dxa_monai.runs.provenance import git_revision, manifest_hash

MARKDOWN_NAME, HTML_NAME = "report.md", "report.html"
_VERSIONS = ("torch", "monai", "pytorch-ignite", "mlflow", "numpy", "pandas")


@dataclass(frozen=True)
class Figure:
    """A picture of the report.

    Attributes:
        part: that drew it.
        path: relative to the folder of the paper.
        caption: below it.
    """

    part: str
    path: str
    caption: str


FIGURES = (
    Figure(COHORT, f"{COHORT}/contact_sheet.png", "Figure 1. Virtual people: raw energies, R, and the truth"),
    Figure(
        RECONSTRUCTION,
        f"{RECONSTRUCTION}/{EVALUATION}/figure_2.png",
        "Figure 2. A scan held out (of median PSNR), its reconstructions and their errors, arm by arm",
    ),
    Figure(
        GENERATION,
        f"{GENERATION}/{EVALUATION}/figure_3.png",
        "Figure 3. A person held out (of median PSNR): mesh, scan, predicted scans and their errors, arm by arm",
    ),
    Figure(GENERATION, f"{GENERATION}/{EVALUATION}/people.png", "Ten people held out, from the worst to the best"),
    Figure(ANTHROPOMETRY, f"{ANTHROPOMETRY}/{EVALUATION}/learning_curve.png", "Learning curve of the body measures"),
    Figure(ANTHROPOMETRY, f"{ANTHROPOMETRY}/{EVALUATION}/scatter.png", "Body measures of the best arm"),
    Figure(ANALYSIS, f"{ANALYSIS}/bland_altman.png", "The analysis of scans against the truth"),
)
_CLAIMS = (claims_of_reconstructions, claims_of_ablation, claims_of_measures, claims_of_generation)


@dataclass(frozen=True)
class Report:
    """All that the report shows.

    Attributes:
        settings: what was chosen, in words.
        claims: of the paper.
        lines: networks against lines.
        tables: of the parts that are there.
        figures: likewise.
        missing: sentences on what is not there.
        parts: what became of each part.
        about: versions and hashes, by name.
    """

    settings: Mapping[str, Any]
    claims: tuple[Claim, ...]
    lines: tuple[Claim, ...]
    tables: tuple[ResultTable, ...]
    figures: tuple[Figure, ...]
    missing: tuple[str, ...]
    parts: Mapping[str, Outcome]
    about: Mapping[str, str]


def build_report(
    folder: str | Path, parts: Sequence[Part], outcomes: Mapping[str, Outcome], settings: Mapping[str, Any]
) -> Report:
    """Gather what the parts left in a folder; what is not there is named.

    Args:
        folder: of the paper.
        parts: that the paper consists of.
        outcomes: what became of those that were run.
        settings: what was chosen, shown as it is.
    """
    folder = Path(folder)
    usable = [part.name for part in parts if part.name in outcomes and outcomes[part.name].state == FINISHED_PART]
    missing = [_missing(part, outcomes.get(part.name)) for part in parts if part.name not in usable]
    tables = []
    for name, (part_name, build) in TABLES.items():
        if part_name in usable:
            try:
                tables.append(build(folder))
            except UNREADABLE as error:
                missing.append(f"{name}: the tables of {part_name} cannot be read ({error}).")
    figures = [each for each in FIGURES if each.part in usable and (folder / each.path).is_file()]
    absent = [each for each in FIGURES if each.part in usable and each not in figures]
    missing += [f"{each.path}: the picture is not there." for each in absent]
    claims = [claim for find in _CLAIMS for claim in find(folder) if claim.part in usable]
    compared = [claim for claim in lines(folder) if claim.part in usable]
    return Report(
        dict(settings),
        tuple(claims),
        tuple(compared),
        tuple(tables),
        tuple(figures),
        tuple(missing),
        {part.name: outcomes[part.name] for part in parts if part.name in outcomes},
        _about(folder, parts),
    )


def write_report(report: Report, folder: str | Path) -> dict[str, Path]:
    """Write ``report.md``, whose pictures and tables lie beside it, and ``report.html``, which has its pictures inside.

    Returns:
        The two files, ``markdown`` and ``html``.
    """
    folder = Path(folder)
    pictures = {figure.path: inlined(folder / figure.path) for figure in report.figures}
    written = {}
    for kind, name in (("markdown", MARKDOWN_NAME), ("html", HTML_NAME)):
        text = render(f"{name}.jinja", report=report, source=SOURCE, pictures=pictures)
        write_page(folder / name, text)
        written[kind] = folder / name
    return written


def _missing(part: Part, outcome: Outcome | None) -> str:
    if outcome is None:
        return f"{part.name} ({part.title}) was not asked for."
    fate = "failed" if outcome.state == FAILED else "was not run"
    return f"{part.name} ({part.title}) {fate}: {outcome.reason}"


def _about(folder: Path, parts: Sequence[Part]) -> dict[str, str]:
    """Versions of what ran, and hashes of the data."""
    about = {"dxa_monai": dxa_monai.__version__, "git revision": git_revision(), "Python": platform.python_version()}
    about |= {name: version(name) for name in _VERSIONS}
    trained = {str(read_record(path).get("version", "unknown")) for path in folder.glob("*/*/best.pt")}
    about["dxa_monai of the trainings"] = ", ".join(sorted(trained)) or "none"
    about["accelerator"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    manifests = {
        str(part.settings["manifest"]): None
        for part in parts
        if part.name in (RECONSTRUCTION, ANTHROPOMETRY, GENERATION, ABLATION) and "manifest" in part.settings
    }
    for path in manifests:
        try:
            about[f"data of {path}"] = f"SHA-256 {manifest_hash(path)}…"
        except (InputError, OSError):
            about[f"data of {path}"] = "cannot be read"
    return about
