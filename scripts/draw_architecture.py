"""Draws docs/images/architecture.png, what flows where between the bundles: ``python -m scripts.draw_architecture``."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dxa_monai.bundling.release import REPOSITORY
from dxa_monai.files import atomic_path

DATA, NETWORK, PHYSICS = "#eef1f4", "#dbe8f6", "#e3f0dc"
BOXES = {
    # name: (column, row, text, colour)
    "people": (0, 1.875, "virtual people\nbody, skeleton, fat, lean, lungs\nconfigs/cohort.json", PHYSICS),
    "mesh": (0, 3, "3D body scan\nPLY, OBJ, STL, GLB", DATA),
    "truth": (0, 0.75, "true fat, lean, bone\nof every pixel", DATA),
    "scan": (1, 1.875, "raw scan\n6 x 150 x 109\nlow/high energy x air/bone/tissue", DATA),
    "encoder": (2, 0.75, "DXA-VAE: encoder\nbundles/dxa_vae", NETWORK),
    "points": (1, 3, "PointNet++\nbundles/pseudo_dxa", NETWORK),
    "latent": (2, 1.875, "latent code", DATA),
    "generator": (3, 1.875, "DXA-VAE: generator", NETWORK),
    "regressor": (3, 0.75, "head\nbundles/dxa_anthropometry", NETWORK),
    "measures": (4, 0.75, "body measures\ncm, cm², litres", DATA),
    "image": (4, 1.875, "scan, made by a network", DATA),
    "analysis": (3, 3, "body composition\ncalibration, decomposition, regions\nbundles/dxa_body_composition", PHYSICS),
    "composition": (4, 3, "fat, lean, bone by region", DATA),
}
ARROWS = (
    ("people", "scan", "scanner"),
    ("people", "mesh", ""),
    ("people", "truth", ""),
    ("scan", "encoder", ""),
    ("encoder", "latent", ""),
    ("encoder", "regressor", "trunk"),
    ("regressor", "measures", ""),
    ("mesh", "points", ""),
    ("points", "latent", ""),
    ("latent", "generator", ""),
    ("generator", "image", ""),
    ("scan", "analysis", ""),
    ("image", "analysis", ""),
    ("analysis", "composition", ""),
)
_WIDTH, _HEIGHT = 0.78, 0.72  # of a box, in columns and rows


def draw(path: Path) -> Path:
    """Write the picture."""
    figure = Figure(figsize=(13.5, 4.6), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-0.5, 4.5), ylim=(3.75, 0.25))
    axes.axis("off")
    patches = {}
    for name, (column, row, text, colour) in BOXES.items():
        corner = (column - _WIDTH / 2, row - _HEIGHT / 2)
        box = FancyBboxPatch(
            corner, _WIDTH, _HEIGHT, boxstyle="round,pad=0.02", facecolor=colour, edgecolor="#5b6770", linewidth=0.9
        )
        patches[name] = axes.add_patch(box)
        first, _, rest = text.partition("\n")
        axes.text(column, row - (0.14 if rest else 0.0), first, ha="center", va="center", fontsize=10, weight="bold")
        axes.text(column, row + 0.13, rest, ha="center", va="center", fontsize=8, color="#333333")
    for start, end, text in ARROWS:
        arrow = FancyArrowPatch(
            BOXES[start][:2],
            BOXES[end][:2],
            patchA=patches[start],
            patchB=patches[end],
            arrowstyle="-|>",
            mutation_scale=13,
            color="#5b6770",
            shrinkA=2,
            shrinkB=2,
        )
        axes.add_patch(arrow)
        if text:
            middle = [(BOXES[start][k] + BOXES[end][k]) / 2 for k in (0, 1)]
            axes.text(middle[0], middle[1] - 0.1, text, ha="center", va="bottom", fontsize=7)
    for column, (text, colour) in enumerate((("data", DATA), ("trained network", NETWORK), ("physics", PHYSICS))):
        x = 0.62 + 0.62 * column
        axes.add_patch(
            FancyBboxPatch((x, 3.52), 0.05, 0.1, boxstyle="round,pad=0.01", facecolor=colour, edgecolor="#5b6770")
        )
        axes.text(x + 0.09, 3.57, text, va="center", fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path


if __name__ == "__main__":
    print(draw(REPOSITORY / "docs" / "images" / "architecture.png"))
