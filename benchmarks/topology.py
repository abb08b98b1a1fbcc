"""The same bodies in other topologies through a trained Pseudo-DXA: how far their scans differ.

    python -m benchmarks.topology --checkpoint runs/pseudo_dxa/dxa/best.pt --meshes data/pairs/meshes --bodies 10

Every body is reordered, subdivided to 100,000 faces, clustered to 5,000 and, with ``pip install fast-simplification``,
decimated to 5,000. The row ``another_seed`` is the same mesh with other points on it: the yardstick for the others.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

from dxa_monai.evaluation.retriangulation import COARSE_FACES, topologies, topology_agreement
from dxa_monai.inference.meshes import collect_meshes
from dxa_monai.mesh.io import load_mesh
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.terminal import errors_as_sentence


@errors_as_sentence()
def main() -> None:
    """Print a row a topology, means over bodies and the largest difference of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--meshes", default="data/pairs/meshes")
    parser.add_argument("--bodies", type=int, default=10)
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--unit", default="m")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = collect_meshes(arguments.meshes)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(arguments.bodies, len(rows))).round().astype(int))
    bodies = [load_mesh(rows[index]["mesh"], arguments.unit) for index in chosen]
    if f"decimated_{COARSE_FACES}" not in topologies():
        print("fast_simplification is not installed: no decimated meshes")
    table = topology_agreement(load_pseudo_dxa(arguments.checkpoint), bodies, arguments.points)
    shown = table.groupby("topology", sort=False).agg(
        bodies=("body", "size"),
        faces=("faces", "mean"),
        psnr_db=("psnr_db", "mean"),
        worst_psnr_db=("psnr_db", "min"),
        mean_difference_nepers=("mean_difference_nepers", "mean"),
        largest_difference_nepers=("largest_difference_nepers", "max"),
    )
    print(shown.to_string(float_format=lambda value: f"{value:.4g}"))


if __name__ == "__main__":
    main()
