"""What it costs that a person does not stand as in training: arms lower, legs apart, clothes, a scanner's noise.

    python -m benchmarks.postures --cohort data/pairs

People held out of a network's training (``split.csv`` beside its weights), whom the cohort's seed makes again, are put
into other postures by the body model's own skeleton, which is not how training bends them
(:mod:`dxa_monai.mesh.limbs`), at the volume that they have. Their fat, lean and bone mineral are known. Prints R2 and
the mean error of what the network's maps hold and of what the analysis reads of its image, in how many images it finds
a whole body, and how many bodies are called unlike those of training.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from dxa_monai.analysis.composition import analyse_scan
from dxa_monai.inference.meshes import predict_body, scanner_beside
from dxa_monai.mesh.checks import checked
from dxa_monai.mesh.geometry import vertex_normals
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.phantom.body.model import BodyModel, PosedBody
from dxa_monai.phantom.body.pose import Standing
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.physics.zero import find_zero
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.regions import totals_of_sums
from dxa_monai.terminal import errors_as_sentence
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

MASSES = ("total_fat_g", "total_lean_g", "total_bmc_g")
Change = Callable[[BodyMesh, np.random.Generator], BodyMesh]


def unchanged(mesh: BodyMesh, rng: np.random.Generator) -> BodyMesh:
    """Bare skin, scanned perfectly."""
    return mesh


def with_noise(standard_deviation_mm: float) -> Change:
    """Each vertex a little elsewhere."""

    def change(mesh: BodyMesh, rng: np.random.Generator) -> BodyMesh:
        noise = rng.normal(0.0, standard_deviation_mm / 1e3, mesh.vertices_m.shape)
        return replace(mesh, vertices_m=mesh.vertices_m + noise)

    return change


def with_clothes(mean_thickness_mm: float) -> Change:
    """A shirt and shorts that stand off the skin by so much on average, in folds of about a hand."""

    def change(mesh: BodyMesh, rng: np.random.Generator) -> BodyMesh:
        vertices = mesh.vertices_m
        low, high = mesh.bounds_m
        part = (vertices[:, 2] - low[2]) / (high[2] - low[2])
        across = np.abs(vertices[:, 0] - (low[0] + high[0]) / 2.0) / (high[2] - low[2])
        covered = (part > 0.30) & (part < 0.82) & (across < 0.18)
        waves, phases = rng.normal(0.0, 2.0 * np.pi / 0.25, (6, 3)), rng.uniform(0.0, 2.0 * np.pi, 6)
        folds = np.clip(1.0 + 0.5 * np.cos(vertices @ waves.T + phases).sum(axis=1) / np.sqrt(6.0), 0.0, None)
        off = mean_thickness_mm / 1e3 * covered * folds
        return replace(mesh, vertices_m=vertices + off[:, None] * vertex_normals(vertices, mesh.faces))

    return change


def random_standing(rng: np.random.Generator) -> Standing:
    """Somewhere between T and A pose."""
    return Standing(rng.uniform(0.0, 60.0), rng.uniform(0.0, 15.0), rng.uniform(0.0, 12.0), rng.uniform(4.0, 14.0))


WAYS: dict[str, tuple[Callable[[np.random.Generator], Standing], Change]] = {
    "T pose": (lambda rng: Standing(), unchanged),
    "arms 15 degrees below": (lambda rng: Standing(15.0), unchanged),
    "arms 30 degrees below": (lambda rng: Standing(30.0), unchanged),
    "arms 45 degrees below, A pose": (lambda rng: Standing(45.0), unchanged),
    "arms 60 degrees below": (lambda rng: Standing(60.0), unchanged),
    "legs 12 degrees apart": (lambda rng: Standing(leg=12.0), unchanged),
    "any of these, forearms bent, arms forward": (random_standing, unchanged),
    "T pose, noise of 2 mm": (lambda rng: Standing(), with_noise(2.0)),
    "T pose, shirt and shorts, 1 mm": (lambda rng: Standing(), with_clothes(1.0)),
    "T pose, shirt and shorts, 3 mm": (lambda rng: Standing(), with_clothes(3.0)),
}


def mesh_of(body: PosedBody, model: BodyModel, volume_l: float) -> BodyMesh:
    """The posed skin with a volume that posing does not keep: as much wider and deeper."""
    wider = np.sqrt(volume_l / model.volume_l(body.vertices_m))
    return BodyMesh(body.vertices_m * np.array([wider, wider, 1.0]), model.faces)


@errors_as_sentence()
def main() -> None:
    """Print a row a way to stand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default="bundles/pseudo_dxa/models/model.pt")
    parser.add_argument("--cohort", type=Path, default=Path("data/pairs"))
    parser.add_argument("--part", default="test", help="of split.csv beside the weights")
    parser.add_argument("--people", type=int, default=1000, help="at most")
    parser.add_argument("--maps_alone", action="store_true", help="no images are analysed")
    chosen = parser.parse_args()
    if chosen.people < 2:
        parser.error(f"--people: expected at least 2, whose spread R2 is measured against, got {chosen.people}.")
    torch.set_num_threads(1)
    network = load_pseudo_dxa(chosen.checkpoint)
    beside, split_file = scanner_beside(chosen.checkpoint), Path(chosen.checkpoint).parent / "split.csv"
    if network.material_path is None or beside is None or not split_file.is_file():
        parser.error(
            f"{chosen.checkpoint}: expected a network with maps, and scanner_model.json and split.csv beside it."
        )
    scanner = read_scanner_model(beside)
    zero = find_zero(network.mean_image.numpy())
    split = pd.read_csv(split_file)
    rows = {str(row["subject_id"]): row for row in read_manifest(chosen.cohort / "manifest.csv")}
    people = [name for name in dict.fromkeys(split.loc[split["split"] == chosen.part, "subject_id"]) if name in rows]
    people = people[: chosen.people]
    if not people or not (chosen.cohort / "people").is_dir():
        parser.error(f"{chosen.cohort}: expected a virtual cohort with people of part '{chosen.part}' of {split_file}.")
    simulator = Simulator()
    found: dict[str, list[npt.NDArray[np.float64]]] = {way: [] for way in WAYS}
    for name in tqdm(people, unit="person"):
        marker = json.loads((chosen.cohort / "people" / f"{name}.json").read_text())
        seed, index = (int(part) for part in name.lstrip("S").split("-"))
        phenotype = simulator.phenotype(sample_person(index, seed, sum(marker["refused"].values())))
        volume_l = simulator.model.volume_l(simulator.model.t_pose(phenotype).vertices_m)
        for way, (standing, change) in WAYS.items():
            rng = np.random.default_rng(index)
            body = mesh_of(simulator.model.standing(phenotype, standing(rng)), simulator.model, volume_l)
            body = centred(checked(change(body, rng)))
            predicted = predict_body(network, body, CLOUD_POINTS)
            assert predicted.sums is not None
            held = totals_of_sums(predicted.sums)
            read: dict[str, float] = {}
            if not chosen.maps_alone:
                image = torch.from_numpy(predicted.image)
                read = analyse_scan(image, scanner, zero_counts=zero.level_counts(), predicted=True).totals
            images = [read.get(each, np.nan) for each in MASSES]
            found[way].append(np.array([*(held[each] for each in MASSES), *images, predicted.unlikeness]))
    truth = np.array([[float(rows[name][each]) for each in MASSES] for name in people])
    pairs = "  ".join(f"{name:>13}" for name in ("fat: R2, g", "lean: R2, g", "BMC: R2, g"))
    print(f"{len(people)} people; R2 and mean error, by the maps and by the image")
    print(f"{'':<42} | {pairs} | {pairs} | bodies")
    for way, all_found in found.items():
        told = np.array(all_found)
        whole, unlike = int((~np.isnan(told[:, 3])).sum()), int((told[:, 6] > 1.0).sum())
        print(
            f"{way:<42} | {agreement(told[:, :3], truth)} | {agreement(told[:, 3:6], truth)} | {whole} whole, "
            f"{unlike} unlike",
            flush=True,
        )


def agreement(told: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> str:
    """R2 and mean error of each mass, of people with numbers."""
    has_numbers = ~np.isnan(told[:, 0])
    if has_numbers.sum() < 2:
        return "-"
    wrong, true = (told - truth)[has_numbers], truth[has_numbers]
    r2 = 1.0 - np.square(wrong).sum(axis=0) / np.square(true - true.mean(axis=0)).sum(axis=0)
    return "  ".join(f"{each:6.3f} {by:+6.0f}" for each, by in zip(r2, wrong.mean(axis=0), strict=True))


if __name__ == "__main__":
    main()
