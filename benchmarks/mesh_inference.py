"""Time of a scan from a mesh on one core, part by part, with the released weights.

    python -m benchmarks.mesh_inference --meshes data/pairs/meshes

Processor time, so that other programs on the machine hardly matter; the first body is not counted.
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import pairwise

import torch

from dxa_monai.inference.meshes import collect_meshes, predict_body
from dxa_monai.mesh.checks import checked
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import centred, point_cloud
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.terminal import errors_as_sentence
from dxa_monai.transforms.point_clouds import CLOUD_POINTS


@errors_as_sentence()
def main() -> None:
    """Print milliseconds a body."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bundles/pseudo_dxa/models/model.pt")
    parser.add_argument("--meshes", default="data/pairs/meshes")
    parser.add_argument("--bodies", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    network = load_pseudo_dxa(chosen.checkpoint)
    print(f"{'reading the weights, once':34s} {1e3 * (time.process_time() - begun):8.0f} ms")
    spent = {"reading and checking the mesh": 0.0, "16,384 points": 0.0, "one draw through the network": 0.0}
    rows = collect_meshes(chosen.meshes)[: chosen.bodies + 1]
    for place, row in enumerate(rows):
        marks = [time.process_time()]
        body = centred(checked(load_mesh(row["mesh"], "m")))
        marks.append(time.process_time())
        point_cloud(body, CLOUD_POINTS, torch.Generator().manual_seed(0))
        marks.append(time.process_time())
        predict_body(network, body, CLOUD_POINTS)
        marks.append(time.process_time())
        if place:
            for name, (start, end) in zip(spent, pairwise(marks), strict=True):
                spent[name] += end - start
    counted = len(rows) - 1
    for name, seconds in spent.items():
        print(f"{name:34s} {1e3 * seconds / counted:8.1f} ms")
    print(f"{'a mesh, four draws':34s} {1e3 * (sum(spent.values()) + 3 * list(spent.values())[-1]) / counted:8.1f} ms")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB, libraries included")


if __name__ == "__main__":
    main()
