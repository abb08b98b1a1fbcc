"""Contact sheet of a virtual cohort: eight people side by side, what the scanner sees and what is inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.figures.panels import new_figure, save_figure
from dxa_monai.files import remove_partial
from dxa_monai.own_matplotlib import in_own_style
from dxa_monai.physics.calibration import above_air, r_image
from dxa_monai.runs.ownership import taking_turns
from dxa_monai.scan.format import CHANNELS, Array
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.spread import from_first_to_last
from dxa_monai.scan.truth import load_truth

_PANELS = (
    ("low energy", 0.0, None, "gray", "of full scale"),
    ("high energy", 0.0, None, "gray", "of full scale"),
    ("R = low / high", 1.1, 1.8, "viridis", "body, above air"),
    ("fat", 0.0, None, "inferno", "g/cm2"),
    ("lean", 0.0, None, "inferno", "g/cm2"),
    ("bone mineral", 0.0, 2.0, "inferno", "g/cm2"),
)
"""Title, lowest and highest value shown (None: the highest on the sheet), colour map, unit."""
_BODY_THICKNESS_G_CM2 = 1.0
"""R is drawn where tissue is thicker than this; elsewhere it is noise divided by noise."""


@in_own_style
def write_contact_sheet(manifest_path: str | Path, path: str | Path, people: int = 8) -> Path:
    """Draw the first scan of ``people`` persons spread evenly over the range of BMI.

    A row a person, six columns: low, high, R, fat, lean and bone mineral, with one colour range a column. Low and high
    are what the scan reads, so that the grey of the background is the scanner's zero; R is that of the body, of what
    lies above it. Only scans with truth maps can be drawn.

    Args:
        manifest_path: manifest of a virtual cohort.
        path: PNG file to write.
        people: number of rows at most.

    Returns:
        ``path``.

    Raises:
        InputError: the manifest, a scan or a truth file cannot be read.
    """
    path = Path(path)
    rows = _spread(read_manifest(manifest_path), people)
    if not rows:
        raise InputError(f"{manifest_path}: expected scans with truth maps, got none.")
    images = [_images(row) for row in rows]
    row_mm, column_mm = load_truth(rows[0]).pixel_spacing_mm

    height, width = 2.35, 0.86
    figure = new_figure(width * len(_PANELS) + 1.6, height * len(rows) + 1.1, facecolor="white")
    axes = figure.subplots(len(rows), len(_PANELS), squeeze=False)
    figure.subplots_adjust(
        left=1.5 / figure.get_figwidth(),
        right=0.98,
        top=1.0 - 0.35 / figure.get_figheight(),
        bottom=0.7 / figure.get_figheight(),
        wspace=0.04,
        hspace=0.04,
    )
    for column, (title, lowest, highest, colours, unit) in enumerate(_PANELS):
        top = highest if highest is not None else max(float(np.nanmax(image[column])) for image in images)
        for line, image in enumerate(images):
            axis = axes[line, column]
            shown = axis.imshow(
                image[column], cmap=colours, vmin=lowest, vmax=top, aspect=row_mm / column_mm, interpolation="nearest"
            )
            axis.set_facecolor("black")
            axis.set_xticks([])
            axis.set_yticks([])
            if line == 0:
                axis.set_title(title, fontsize=8)
            if column == 0:
                axis.set_ylabel(_label(rows[line]), fontsize=8, rotation=0, ha="right", va="center")
        box = axes[-1, column].get_position()
        bar = figure.add_axes(
            (box.x0 + 0.01, 0.45 / figure.get_figheight(), box.width - 0.02, 0.09 / figure.get_figheight())
        )
        figure.colorbar(shown, cax=bar, orientation="horizontal")
        bar.tick_params(labelsize=6, length=2)
        bar.set_xlabel(unit, fontsize=7)
    with taking_turns(path.parent) as folder:
        remove_partial(folder)
        return save_figure(figure, path, dpi=110)


def _spread(rows: list[dict[str, Any]], people: int) -> list[dict[str, Any]]:
    """First visits with truth, ``people`` of them at equal steps of BMI rank."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row.get("truth"):
            first.setdefault(str(row["subject_id"]), row)
    ranked = sorted(first.values(), key=lambda row: (_bmi(row), str(row["scan_id"])))
    return [ranked[index] for index in from_first_to_last(len(ranked), people)]


_ADULT_YEARS = 18.0


def _bmi(row: dict[str, Any]) -> float:
    return float(row["mass_kg"]) / (float(row["height_cm"]) / 100.0) ** 2


def _label(row: dict[str, Any]) -> str:
    child = float(row["age_years"]) < _ADULT_YEARS
    sex = {"F": "girl" if child else "woman", "M": "boy" if child else "man"}.get(str(row["sex"]), str(row["sex"]))
    return (
        f"{row['subject_id']}\n{sex}, {float(row['age_years']):.0f} y\n{float(row['height_cm']):.0f} cm, "
        f"{float(row['mass_kg']):.0f} kg\nBMI {_bmi(row):.1f}\n{float(row['total_fat_percent']):.1f} % fat"
    )


def _images(row: dict[str, Any]) -> list[Array]:
    """The six panels of a scan, each ``(H, W)``; R is NaN outside the body."""
    raw = ScanSource().image(row["scan"])
    fat, lean, bone = load_truth(row).areal_density_g_cm2
    high, low = (raw[CHANNELS.index(name)].numpy() for name in ("air_high", "air_low"))
    body = fat + lean + bone > _BODY_THICKNESS_G_CM2
    ratio = np.where(body, r_image(above_air(raw[None]))[0, 0].numpy(), np.nan)
    return [low, high, ratio, fat, lean, bone]
