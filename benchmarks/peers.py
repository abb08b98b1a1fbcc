"""The same work by this project and by a public library, side by side in one process.

    python -m benchmarks.peers --manifest data/pairs/manifest.csv

* Perceptual distance: two views of a batch of scans through VGG-16 with gradient; torchvision's feature extractor with
  the same layers, each view and the target by itself, as one writes it by hand.
* Points of a surface: PyTorch3D's and trimesh's samplers (drawn independently, without areas).
* Reading a scan: MONAI's ``LoadImage`` of the same file, which checks nothing of what makes it a scan.

Processor time on one thread, the median of the repeats.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import trimesh
from monai.transforms import LoadImage
from pytorch3d.ops import sample_points_from_meshes
from pytorch3d.structures import Meshes
from torchvision.models import vgg16
from torchvision.models.feature_extraction import create_feature_extractor

from dxa_monai.losses.perceptual import RawPerceptualLoss
from dxa_monai.losses.vgg import REFERENCE_LAYERS, VGGFeatures
from dxa_monai.mesh.io import load_mesh
from dxa_monai.mesh.points import point_cloud
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.scan.io import load_scan, save_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.terminal import errors_as_sentence

POINTS, BATCH = 16_384, 4


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call, after one that is not counted."""
    work()
    spent = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        spent.append(time.process_time() - begun)
    return 1e3 * statistics.median(spent)


def perceptual_distances() -> dict[str, Callable[[], object]]:
    """Loss and gradient of a batch of scans."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(BATCH, 6, 150, 109, generator=generator)
    ours = RawPerceptualLoss(VGGFeatures("random", REFERENCE_LAYERS, normalise_layers=False))
    named = [name for name in REFERENCE_LAYERS if name != "input"]
    code = torch.zeros(BATCH, 1, 5, 4)
    positions = {name: f"features.{place}" for place, name in enumerate(_torchvision_names())}
    theirs = create_feature_extractor(vgg16(weights=None).eval(), [positions[name] for name in named])
    for weight in theirs.parameters():
        weight.requires_grad_(False)

    def by_hand() -> None:
        image = (target + 0.01).requires_grad_()
        loss = torch.zeros(())
        for view in (slice(0, 3), slice(3, 6)):
            with torch.no_grad():
                wanted = theirs(target[:, view])
            found = theirs(image[:, view])
            loss = loss + sum((found[name] - wanted[name]).abs().mean() for name in wanted)
        loss.backward()

    def by_us() -> None:
        image = (target + 0.01).requires_grad_()
        ours(VAEOutput(image, code, code), target).backward()

    return {"this project": by_us, "torchvision, by hand": by_hand}


def _torchvision_names() -> list[str]:
    """Our names of the layers of torchvision's ``vgg16().features``, in its order."""
    names = []
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for convolution in range(1, convolutions + 1):
            names += [f"conv{block}_{convolution}", f"relu{block}_{convolution}"]
        names.append(f"pool{block}")
    return names


def samplers(mesh_path: str) -> dict[str, Callable[[], object]]:
    """Points and normals of a body."""
    body = load_mesh(mesh_path, "m")
    generator = torch.Generator().manual_seed(0)
    for_trimesh = trimesh.Trimesh(body.vertices_m, body.faces, process=False)
    vertices, faces = torch.from_numpy(body.vertices_m).float(), torch.from_numpy(body.faces)
    return {
        "this project": lambda: point_cloud(body, POINTS, generator),
        "trimesh": lambda: trimesh.sample.sample_surface(for_trimesh, POINTS, seed=0),
        "PyTorch3D": lambda: sample_points_from_meshes(Meshes([vertices], [faces]), POINTS, return_normals=True),
    }


def readers(scan: str, folder: Path) -> dict[str, dict[str, Callable[[], object]]]:
    """A scan from a file of each kind."""
    nifti = folder / "scan.nii.gz"
    save_scan(load_scan(scan), nifti)
    theirs = LoadImage(image_only=True)
    return {
        ".npy": {"this project": lambda: RawDXAReader().source.image(scan), "MONAI": lambda: theirs(scan)},
        ".nii.gz": {"this project": lambda: RawDXAReader().source.image(nifti), "MONAI": lambda: theirs(nifti)},
    }


@errors_as_sentence()
def main() -> None:
    """Print a line a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", default="data/pairs/manifest.csv", help="of scans with meshes")
    parser.add_argument("--repeats", type=int, default=7)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    row = read_manifest(chosen.manifest)[0]
    with tempfile.TemporaryDirectory() as folder:
        works = {
            f"perceptual distance, {BATCH} scans": perceptual_distances(),
            f"{POINTS} points of a surface": samplers(row["mesh"]),
            **{f"reading a scan, {kind}": ways for kind, ways in readers(row["scan"], Path(folder)).items()},
        }
        for work, ways in works.items():
            measured = {name: milliseconds(way, chosen.repeats) for name, way in ways.items()}
            for name, spent in measured.items():
                ratio = spent / measured["this project"]
                print(f"{work:34s} {name:22s} {spent:9.2f} ms {ratio:6.2f} x this project")


if __name__ == "__main__":
    main()
