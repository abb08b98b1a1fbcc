"""The page ``docs/cohort.md``: text, tables and figure about one cohort, made by one command."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dxa_monai.cohort_report import build, published
from dxa_monai.cohort_report.plausibility import (
    ADULT_YEARS,
    GROUPS,
    PREDICTED,
    QUANTITIES,
    RULES,
    correlations,
    implausible,
    people_table,
    shape_prediction,
    summary,
)
from dxa_monai.errors import InputError
from dxa_monai.figures.cohort_distributions import Mark, write_distributions
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.input_files import open_input, read_object
from dxa_monai.pages.markdown import markdown_table
from dxa_monai.phantom.conditions import CONDITIONS
from dxa_monai.runs.ownership import taking_turns
from dxa_monai.scan.regions import BONE_AREA_THRESHOLD_G_CM2

FIGURE_NAME = "cohort_distributions.png"
_DECIMALS = {"bmc_kg": 2, "bmd_g_cm2": 2}
_NAMED_SUBJECTS = 5


def write_population_report(dataset_dir: str | Path, output: str | Path) -> Path:
    """Write the page and, beside it in ``images/``, its figure.

    Args:
        dataset_dir: folder of a cohort made by ``configs/cohort.json``.
        output: Markdown file to write.

    Returns:
        ``output``.

    Raises:
        InputError: the cohort cannot be read, the page cannot be written, or another file is there.
    """
    folder, output = Path(dataset_dir), Path(output)
    title = _TEMPLATE.partition("\n")[0]
    if os.path.lexists(output) and not _begins_with(output, title):
        raise InputError(f"{output}: expected no such file, or an earlier page ('{title}'), got another file.")
    people = people_table(folder / "manifest.csv")
    page = population_page(people, _made_with(folder), shape_prediction(people))
    adults = {
        name: {quantity: people[quantity][GROUPS[name](people)].to_numpy() for quantity in QUANTITIES}
        for name in ("women", "men")
    }
    marks = [Mark(*entry[:4], entry.looked_up) for entry in published.REFERENCES]
    with taking_turns(output.parent):
        images = output_folder(output.parent / "images")
        remove_partial(images, output.parent)
        write_distributions(adults, QUANTITIES, marks, images / FIGURE_NAME)
        with atomic_path(output) as temporary:
            temporary.write_text(page, encoding="utf-8")
    return output


def _begins_with(path: Path, title: str) -> bool:
    with open_input(path, None, "an earlier page") as file:
        return file.read(len(title.encode())) == title.encode()


def _made_with(folder: Path) -> dict[str, Any]:
    """What the cohort's own record says; empty if there is none."""
    path = folder / "cohort.json"
    return read_object(path, "the record of a virtual cohort") if path.is_file() else {}


def population_page(people: pd.DataFrame, record: Mapping[str, Any], shape: pd.DataFrame | None) -> str:
    """The page's text.

    Args:
        people: :func:`dxa_monai.cohort_report.plausibility.people_table`.
        record: the cohort's ``cohort.json``, or empty.
        shape: :func:`dxa_monai.cohort_report.plausibility.shape_prediction`.
    """
    adults = int((people["age_years"] >= ADULT_YEARS).sum())
    return _TEMPLATE.format(
        people=len(people),
        adults=adults,
        children=len(people) - adults,
        seed=record.get("seed", "unknown"),
        children_share=record.get("children_share", 0),
        refused=", ".join(f"{count} {reason}" for reason, count in record.get("refused", {}).items()) or "nobody",
        figure=FIGURE_NAME,
        threshold=BONE_AREA_THRESHOLD_G_CM2,
        adult_means=_means(people, ["women", "men"]),
        girls=_means(people, ["girls 6-11", "girls 12-17"]),
        boys=_means(people, ["boys 6-11", "boys 12-17"]),
        children_note="" if adults < len(people) else _NO_CHILDREN,
        correlations=_correlation_tables(people),
        correlation_references=_correlation_references(),
        checks=_checks(people),
        implausible=_implausible(people),
        girths=_girths(people),
        shares=_shares(people),
        sides=_sides(people),
        shape=_shape(shape),
        conditions=", ".join(f"`{name}`" for name in CONDITIONS),
        sources="\n".join(f"- {source}" for source in _sources()),
    )


def _spread(mean: float, sd: float | None, quantity: str) -> str:
    decimals = _DECIMALS.get(quantity, 1)
    return f"{mean:.{decimals}f}" + ("" if sd is None else f" ± {sd:.{decimals}f}")


def _means(people: pd.DataFrame, groups: Sequence[str]) -> str:
    """A row a quantity, two columns a group: the cohort, and what is published with the difference of the means."""
    found = summary(people).set_index(["group", "quantity"])
    groups = [group for group in groups if group in found.index.get_level_values("group")]
    if not groups:
        return ""
    known = {(entry.group, entry.quantity): entry for entry in published.REFERENCES}
    header = [""]
    for group in groups:
        header += [f"{group} ({int(found.loc[group]['count'].iloc[0])})", "published"]
    rows = []
    for quantity, label in QUANTITIES.items():
        row = [label]
        for group in groups:
            mean, sd = float(found.loc[(group, quantity), "mean"]), float(found.loc[(group, quantity), "sd"])
            row.append(_spread(mean, sd, quantity))
            entry = known.get((group, quantity))
            if entry is None:
                row.append("")
                continue
            of = f", {entry.of}" if entry.of else ""
            text = _spread(entry.mean, entry.sd, quantity) + _mark(entry.looked_up)
            row.append(f"{text}{of}: {100.0 * (mean / entry.mean - 1.0):+.0f} %")
        rows.append(row)
    return markdown_table(header, rows)


def _mark(looked_up: bool) -> str:
    return "" if looked_up else " (?)"


def _correlation_tables(people: pd.DataFrame) -> str:
    parts = []
    for group in ("women", "men"):
        table = correlations(people, group)
        names = list(table.columns)
        short = ["age", *(label.split(",")[0] for label in QUANTITIES.values())]
        rows = [
            [label, *(f"{table.loc[name, other]:.2f}" for other in names[: line + 1]), *[""] * (len(names) - line - 1)]
            for line, (label, name) in enumerate(zip(short, names, strict=True))
        ]
        parts.append(f"{group.capitalize()}:\n\n" + markdown_table(["", *short], rows))
    return "\n\n".join(parts)


def _correlation_references() -> str:
    return "\n".join(
        f"- {entry.group}, {QUANTITIES[entry.first].split(',')[0]} and {QUANTITIES[entry.second].split(',')[0]}: "
        f"{entry.lowest:.2f} to {entry.highest:.2f} ({entry.source}){_mark(entry.looked_up)}"
        for entry in published.CORRELATIONS
    )


def _checks(people: pd.DataFrame) -> str:
    """Two published regressions, evaluated on the cohort."""
    adults = people[people["age_years"] >= ADULT_YEARS]
    design = np.column_stack(
        [np.ones(len(adults)), 1.0 / adults["bmi_kg_m2"], adults["age_years"], adults["sex"] == "M"]
    ).astype(np.float64)
    fat = adults["fat_percent"].to_numpy()
    scatter = float((fat - design @ np.linalg.lstsq(design, fat, rcond=None)[0]).std())
    lines = [
        f"- % fat about its regression on 1/BMI, age and sex scatters by {scatter:.1f} %; in NHANES 1999-2004 (with "
        f"ethnicity among the predictors) by {published.FAT_SCATTER_PERCENT:.1f} %."
    ]
    women = people[(people["sex"] == "F") & people["age_years"].between(42.0, 61.0)]
    if len(women) > 2:
        constant, per_kg, per_year = published.BMD_OF_WOMEN_42_61
        expected = constant + per_kg * women["mass_kg"] + per_year * women["age_years"]
        lines.append(
            f"- BMD of the {len(women)} women of 42 to 61 years: {women['bmd_g_cm2'].mean():.2f} g/cm2 where the "
            f"regression on mass and age of 111 British women says {expected.mean():.2f}; the correlation with that "
            f"prediction is {np.corrcoef(expected, women['bmd_g_cm2'])[0, 1]:.2f}, theirs 0.46."
        )
    return "\n".join(lines)


def _implausible(people: pd.DataFrame) -> str:
    found = implausible(people)
    rows = []
    for rule in RULES:
        subjects = found[rule.name]
        named = ", ".join(subjects[:_NAMED_SUBJECTS]) + (" ..." if len(subjects) > _NAMED_SUBJECTS else "")
        rows.append([rule.name, rule.why, f"{len(subjects)} ({100.0 * len(subjects) / len(people):.1f} %)", named])
    broken = {subject for subjects in found.values() for subject in subjects}
    share = 100.0 * len(broken) / len(people)
    return (
        markdown_table(["nobody should have", "because", "how many", "who"], rows)
        + f"\n\n{len(broken)} of {len(people)} people ({share:.1f} %) break at least one rule."
    )


def _girths(people: pd.DataFrame) -> str:
    """A row a girth: the cohort and ANSUR II for men and women, and how their ways differ."""
    found = build.girths_at_given_size(people).set_index(["sex", "girth"])
    sexes = [sex for sex in "MF" if sex in found.index.get_level_values("sex")]
    if not sexes:
        return "Not computed: too few adults of the ages and builds of soldiers."
    header = ["cm"]
    for sex in sexes:
        name = "men" if sex == "M" else "women"
        header += [f"{name} ({int(found.loc[sex, 'count'].iloc[0])})", f"{name}, ANSUR II"]
    rows = []
    for girth in build.GIRTHS:
        row = [girth.label]
        for sex in sexes:
            line = found.loc[(sex, girth.label)]
            spread = girth.spread_cm and girth.spread_cm[sex == "F"]
            row.append(f"{line['mean_cm']:.1f} ± {line['spread_cm']:.1f}")
            row.append(f"{girth.men_cm if sex == 'M' else girth.women_cm}" + (f" ± {spread}" if spread else ""))
        rows.append([*row, girth.differs])
    return markdown_table([*header, "ANSUR II measured"], rows)


def _shares(people: pd.DataFrame) -> str:
    table = build.shares_percent(people)
    rows = [
        [share.label, *(f"{table.loc[share.label, sex]:.1f}" if sex in table else "" for sex in "FM"), share.published]
        for share in build.SHARES
    ]
    return markdown_table(["% of the body's", "women", "men", "two reports of women"], rows)


def _sides(people: pd.DataFrame) -> str:
    table = build.side_difference_percent(people)
    rows = [
        [name.rsplit("_", 1)[0].replace("_", ", "), f"{line['mean']:+.1f} ± {line['spread']:.1f}"]
        for name, line in table.iterrows()
    ]
    return markdown_table(["left against right, %", "adults"], [[str(cell) for cell in row] for row in rows])


def _shape(table: pd.DataFrame | None) -> str:
    if table is None:
        return "Not computed: this cohort has too few T-pose meshes (`save_meshes`)."
    rows = []
    for _, line in table.iterrows():
        cells = []
        for quantity in PREDICTED:
            known = published.SHAPE_R2.get(quantity, {}).get(str(line["group"]))
            cells.append(f"{line[quantity]:.2f}" + (f" ({known})" if known else ""))
        rows.append([f"{line['group']} ({line['count']})", *cells])
    return markdown_table(["R2, held out", *(QUANTITIES[name].split(",")[0] for name in PREDICTED)], rows)


def _sources() -> list[str]:
    named = {entry.source: entry.looked_up for entry in (*published.REFERENCES, *published.CORRELATIONS)}
    return [source + _mark(looked_up) for source, looked_up in named.items()]


_NO_CHILDREN = (
    "\nThis cohort holds adults only. `--children_share 0.3` on the command that makes a cohort draws three people in "
    "ten from 6 to 17 years.\n"
)

_TEMPLATE = """# The virtual cohort against published populations

{people} people, {adults} adults of 18 to 89 years and {children} children of 6 to 17 (seed {seed}, share of children
{children_share}). Each number is taken from the maps that were scanned, first visit of each person. Refused while the
cohort was made, and another person drawn in the place: {refused}. "Unreachable" are builds that the body model cannot
take, "does not fit" are people longer or wider than the scan field.

```
python -m monai.bundle run --config_file configs/population.json --dataset_dir DIR --output docs/cohort.md
```

makes this page. Published numbers marked (?) are from memory and have not been checked against the source; spreads of
height, mass, BMI and % fat are so throughout.

![distributions](images/{figure})

## Means and spreads

Mean ± standard deviation; behind each published value how far the cohort's mean is from it.

{adult_means}

{girls}

{boys}
{children_note}
Bone area is counted from {threshold} g/cm2 of mineral upwards, so about a twentieth of the mineral lies outside it and
BMD times area is a little less than BMC; clinical software, whose edge detection is closed, reports their product as
BMC.

## Correlations

{correlations}

Published:

{correlation_references}

Two published regressions, on these people:

{checks}

## Who is implausible, and why

{implausible}

## Girths at given height and mass

Adults below 56 years with a BMI of 19 to 38, at the height and mass of the mean soldier of ANSUR II; the spread is
that of people of one height and mass. Soldiers are leaner about the waist than other men of their mass.

{girths}

## Where bone and fat lie

{shares}

Bone area here is that of pixels from {threshold} g/cm2 on, in regions cut along the posed body's own lines. The bones
of women and men of mean height hold about 4.2 and 5.6 l with their marrow (ICRP 89: 4.8 and 6.6) and 0.75 to 0.8 g of
marrow fat a gram of mineral (0.8). Bones so wide and no heavier have a lower BMD than those published above.

## Left and right

{sides}

## Beside published pictures

Twenty people of the contact sheets beside published whole-body scans. Alike: faint ribs over a brighter column, the
pelvis' wings that light shines through and its bright sockets, two crossing bones of the forearm, a heart to the left
of a mediastinum between dark lungs of unequal height, the liver's brighter corner under the right dome, gas as dark
spots, arms at unequal distances, a head seldom quite straight. Unlike: real spines curve more and their discs show; the
hands' and feet's small bones are plumper here; in some heavy-legged people the hip narrows abruptly above the thigh;
nobody wears anything; buttocks and back are not flattened by the table.

## What the body's shape tells

Ridge regression on 20 principal components of the T-pose mesh, adults, five-fold cross-validation by person; published
values of optical scanners in brackets.

{shape}

Shape and size decide most of the fat and lean mass and far less of the bone, as in real people: fat fraction, density
of lean tissue, visceral fat, bone density, width of the skeleton and lung volume each have a part of their own. A model
that sees a scan can therefore be better than this table only by what the X-rays tell.

## What is not modelled

Ethnicity; disease and pregnancy; the link of bone to muscle and of frailty to age beyond a mean loss. Puberty comes
with age alone. Children's bones are an adult skeleton scaled, without growth plates.

Only on request, each by its share of people or scans: `--conditions#hip_implant 0.05 --conditions#head_cut_off 0.02`
on the command that makes a cohort, of {conditions}.
The manifest's column `conditions` says who has what, the truth is that of the person, and what is foreign to the person
lies beside it as `foreign_g_cm2`; metal is shown as the bone mineral that weakens the beam as much. What scans people
anew from their truth leaves it out.

## Sources

{sources}
- Shape: Ng 2019, Am J Clin Nutr 110:1316; medRxiv 2022.11.02.22281819; PMC7796893
- Women of 42 to 61 years: Br J Radiol 1993;66:303
"""
