"""What a body's surface tells of its fat, lean and bone, by how the surface is seen.

    python -m benchmarks.shape_views --manifest data/pairs/manifest.csv

Ridge regression on components, as the networks' shape path has it, of people left out, fivefold, among those whom the
trainings learn from: nobody held out is looked at. The vertices of registered meshes are what the linear baselines
have; a network has pieces of the surface of any mesh. Prints R2 of the true masses by what the components are of.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dxa_monai.evaluation.retriangulation import subdivided
from dxa_monai.mesh.geometry import face_centres, face_vectors
from dxa_monai.mesh.io import BodyMesh, load_mesh
from dxa_monai.mesh.points import centred, point_cloud, sample_points, with_areas
from dxa_monai.networks.kernel_readout import KernelReadout
from dxa_monai.networks.shape_maps import ShapeMaps
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.splits import split_by_subject
from dxa_monai.scan.statistics import leading_components
from dxa_monai.terminal import errors_as_sentence
from dxa_monai.training.kernel_fit import fit_readout
from dxa_monai.training.shape_fit import GROUP_COUNTS, PENALTIES
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

MASSES = ("total_fat_g", "total_lean_g", "total_bmc_g")
COMPONENTS = 100


def every_face(mesh: BodyMesh) -> torch.Tensor:
    """``(7, F)``: the centre of each face with its normal and its area, which no draw of points changes."""
    vectors = face_vectors(mesh.vertices_m, mesh.faces)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    normals = vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
    table = [face_centres(mesh.vertices_m, mesh.faces), normals, mesh.face_areas_m2[:, None]]
    return torch.from_numpy(np.concatenate(table, axis=1).T).float()


def from_the_side(cloud: torch.Tensor) -> torch.Tensor:
    """The cloud with forwards and sideways exchanged: maps of it look along the shoulders."""
    return cloud[[1, 0, 2, 4, 3, 5, 6]]


def r2_left_out(
    groups: Sequence[npt.NDArray[np.floating]],
    masses: npt.NDArray[np.float64],
    people: Sequence[str],
    counts: Sequence[float] = (),
) -> npt.NDArray[np.float64]:
    """R2 of each mass, of people whom the regression has not seen; each group of inputs counts alike, or as told."""
    deviations = [group - group.mean(axis=0) for group in groups]
    factors = [
        count / np.sqrt(np.square(each).sum(axis=1).mean())
        for each, count in zip(deviations, counts or [1.0] * len(groups), strict=True)
    ]
    scaled = np.concatenate([each * factor for each, factor in zip(deviations, factors, strict=True)], axis=1)
    inputs = torch.from_numpy(scaled).float()
    _, components = leading_components(inputs, COMPONENTS)
    codes = (inputs @ components.T).double().numpy()
    fit = fit_readout(KernelReadout(COMPONENTS, len(MASSES)), codes, masses, people, penalties=PENALTIES)
    wrong, spread = np.square(fit.left_out - masses).sum(axis=0), np.square(masses - masses.mean(axis=0)).sum(axis=0)
    return np.asarray(1.0 - wrong / spread)


@errors_as_sentence()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="people with registered meshes and known masses")
    parser.add_argument("--people", type=int, default=700)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    rows = split_by_subject(read_manifest(chosen.manifest), seed=0)["train"]
    by_mesh = {str(row["mesh"]): row for row in rows}
    taken = list(by_mesh.values())[: chosen.people]
    masses = np.array([[float(row[name]) for name in MASSES] for row in taken])
    people = [str(row["subject_id"]) for row in taken]

    maps, vertices = ShapeMaps(), []
    seen: dict[str, list[npt.NDArray[np.floating]]] = {"drawn": [], "pieces": [], "side": [], "divided": []}
    for index, row in enumerate(tqdm(taken, unit="body")):
        body = centred(load_mesh(row["mesh"], unit="m", announce=False))
        drawn = sample_points(body, CLOUD_POINTS, torch.Generator().manual_seed(index))
        clouds = {"drawn": with_areas(*drawn, float(body.face_areas_m2.sum()))}
        clouds["pieces"] = point_cloud(body, CLOUD_POINTS, torch.Generator().manual_seed(index))
        clouds |= {
            "side": from_the_side(clouds["pieces"]),
            "divided": every_face(subdivided(body, len(body.faces) + 1)),
        }
        for name, cloud in clouds.items():
            seen[name].append(maps(cloud[None])[0].numpy())
        vertices.append(body.vertices_m.ravel().astype(np.float32))

    def parts(name: str) -> list[npt.NDArray[np.floating]]:
        """The maps, each a group, and the height."""
        table = np.stack(seen[name])
        return [*table[:, :-1].reshape(len(table), maps.shape[0], -1).transpose(1, 0, 2), table[:, -1:]]

    views: dict[str, tuple[Callable[[], list[npt.NDArray[np.floating]]], Sequence[float]]] = {
        "vertices of registered meshes": (lambda: [np.stack(vertices)], ()),
        f"maps of {CLOUD_POINTS} points drawn at random": (lambda: parts("drawn"), ()),
        f"maps of {CLOUD_POINTS} pieces of the surface": (lambda: parts("pieces"), ()),
        "the same, and from the side": (lambda: [*parts("pieces"), *parts("side")[:-1]], ()),
        "the same, scaled bodies alone": (lambda: parts("pieces")[2:], ()),
        "the same, scaled bodies twice, as the network": (lambda: parts("pieces"), GROUP_COUNTS),
        "maps of every face as four, scaled bodies twice": (lambda: parts("divided"), GROUP_COUNTS),
    }
    print(f"{len(taken)} bodies, {COMPONENTS} components; R2 of people left out:  fat   lean  BMC")
    for name, (groups, counts) in views.items():
        found = r2_left_out(groups(), masses, people, counts)
        print(f"{name:<58} " + "  ".join(f"{value:.3f}" for value in found), flush=True)


if __name__ == "__main__":
    main()
