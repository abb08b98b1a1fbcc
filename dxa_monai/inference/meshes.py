"""3D body scans in; raw DXA scans, pictures and one table of body composition out.

::

    output_dir/
      scans/{scan_id}.npy        the predicted raw scan (and .nii.gz if asked for)
      pictures/{scan_id}.png     the mesh and the six channels
      materials/{scan_id}.npy    areal densities of fat, lean and bone mineral in g/cm2, (3, rows, columns)
      composition_of_maps.csv    what the regions of these maps hold: read without any image
      shapes.csv                 how unlike the training bodies each body is, how far it leans, how large its holes are;
                                 what is beyond its limit is told on stderr
      body_composition.csv       what the analysis reads of the scan; one row a body, and the other files of
                                 dxa_monai.inference.body_composition

``materials/`` and ``composition_of_maps.csv`` are of networks that predict maps
(:mod:`dxa_monai.networks.material_path`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from dxa_monai.analysis.composition import QUANTITIES, REGION_NAMES
from dxa_monai.errors import InputError
from dxa_monai.figures.predicted_scans import Prediction, prediction_figure
from dxa_monai.figures.scan_report import composition_figure
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.inference.body_composition import analyse_scans, claim_analysis
from dxa_monai.inference.report import ID_COLUMNS, rounded_totals
from dxa_monai.inference.run_scanner import SCANNER_MODEL_NAME
from dxa_monai.input_files import files_below
from dxa_monai.mesh.checks import Doubts, checked_with_doubts
from dxa_monai.mesh.io import MESH_ENDINGS, BodyMesh, load_mesh
from dxa_monai.mesh.points import centred, point_cloud
from dxa_monai.networks.checkpoint import load_pseudo_dxa
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.zero import find_zero
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.collect import check_scan_ids
from dxa_monai.scan.csv_table import write_table
from dxa_monai.scan.format import unit_to_counts
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.quarantine import BadScan, BadScanPolicy
from dxa_monai.scan.regions import totals_of_sums
from dxa_monai.scan.source import ScanSource
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

Image = np.ndarray[Any, np.dtype[np.float32]]

DRAWS = 4
SHAPES_NAME = "shapes.csv"
SHAPE_COLUMNS = ("unlikeness", "lean_degrees", "holes_percent")
MAPS_NAME = "composition_of_maps.csv"
FORMATS = (".npy", ".nii.gz", ".npz", ".nrrd", ".mha")


def collect_meshes(source: str | Path) -> list[dict[str, Any]]:
    """The meshes of a file, a folder with its subfolders, or a manifest with ``subject_id`` and ``mesh``, as rows.

    Returns:
        Rows with ``mesh``, ``scan_id`` (the manifest's; otherwise the mesh's name) and what a manifest knows.

    Raises:
        InputError: there is no such path, it holds no mesh or a link to a folder, two meshes have one name, or the
            manifest is faulty.
    """
    if Path(source).suffix.lower() == ".csv":
        return [row | {"scan": row["mesh"]} for row in read_manifest(source, of="mesh")]
    path = Path(source).resolve()
    files = [path] if path.is_file() else []
    if path.is_dir():
        files, others = files_below(path, MESH_ENDINGS)
        if files and others:
            named = ", ".join(f"{count} {ending}" for ending, count in others.items())
            print(f"{source}: {len(files)} meshes; other files are left out: {named}")
    if not files:
        raise InputError(f"{source}: expected a mesh or a folder with meshes ({', '.join(MESH_ENDINGS)}), got none.")
    rows = [{"mesh": str(file), "scan": str(file), "scan_id": file.stem} for file in files]
    check_scan_ids(rows)
    return rows


def scanner_beside(checkpoint: str | Path) -> str | None:
    """The scanner model that a training left beside its checkpoint; None if there is none."""
    path = Path(checkpoint).parent / SCANNER_MODEL_NAME
    return str(path) if path.is_file() else None


@letting_go()
def predict_meshes(
    rows: Sequence[Mapping[str, Any]],
    checkpoint: str | Path,
    output_dir: str | Path,
    points: int = CLOUD_POINTS,
    draws: int = DRAWS,
    mesh: Mapping[str, Any] | None = None,
    formats: Sequence[str] = (".npy",),
    scanner_model: str | Path | None = None,
    calibration: str = "run",
    pictures: bool = True,
    device: str | torch.device = "cpu",
    policy: BadScanPolicy | None = None,
) -> Path:
    """Predict the raw scan of every mesh and analyse its body composition. A mesh that cannot be used stops no other.

    Args:
        rows: of :func:`collect_meshes`.
        checkpoint: of a trained network.
        output_dir: gets the files.
        points: of each body; equal bodies always give equal points.
        draws: of points, whose scans are averaged.
        mesh: how meshes are read: ``unit, up_axis, facing, repair, accept, seed`` of
            :class:`dxa_monai.transforms.mesh_points.LoadMeshPointsd`.
        formats: endings out of ``FORMATS`` in which scans are written; the first is the one that is analysed.
        scanner_model: file of the calibrated scanner; None: ``calibration`` says what is done.
        calibration: see :func:`dxa_monai.inference.body_composition.analyse_scans`.
        pictures: whether to draw the mesh with its scan, and the regions.
        device: where to compute.
        policy: see :func:`dxa_monai.inference.body_composition.analyse_scans`; meshes count as scans.

    Returns:
        Path of the table.

    Raises:
        InputError: an argument cannot be used, or a file is there that no prediction made, such as a measured scan
            (nothing is written then); or, after everything else was written, meshes that could not be used
            (each is told in a sentence on stderr) or scans without numbers.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise InputError(f"formats: expected some of {', '.join(FORMATS)}, got {', '.join(unknown) or 'none'}.")
    network = load_pseudo_dxa(checkpoint).to(device)
    written = [f"scans/{row['scan_id']}{ending}" for row in rows for ending in formats]
    mapped = network.material_path is not None
    of_maps = [MAPS_NAME, *(f"materials/{row['scan_id']}.npy" for row in rows)] if mapped else []
    drawn = [f"pictures/{row['scan_id']}.png" for row in rows] if pictures else []
    calibrates, quarantines = calibration == "run" and scanner_model is None, policy is not None and policy.quarantines
    folder = claim_analysis(
        output_dir, rows, pictures, calibrates, quarantines, also=[*written, *of_maps, *drawn, SHAPES_NAME]
    )
    output_folder(folder / "scans")
    if mapped:
        output_folder(folder / "materials")
    if pictures:
        output_folder(folder / "pictures")
    remove_partial(folder, folder / "scans", folder / "materials", folder / "pictures")
    done, failed, bad, shapes, held, doubtful = [], [], [], [], [], []
    for row in tqdm(rows, desc="predicting", unit="mesh"):
        try:
            body, doubts = _read_body(row["mesh"], **dict(mesh or {}))
        except InputError as error:
            failed.append(str(error))
            bad.append(BadScan(row, str(row["mesh"]), "inference", str(error)))
            continue
        predicted = predict_body(network, body, points, int((mesh or {}).get("seed", 0)), device, draws)
        image = predicted.image
        person = {name: row[name] for name in ID_COLUMNS if name in row}
        doubtful += [f"{row['scan_id']}: {sentence}." for sentence in doubts.sentences]
        measured = (predicted.unlikeness, doubts.lean_degrees, doubts.holes_percent)
        shapes.append(person | {name: round(value, 3) for name, value in zip(SHAPE_COLUMNS, measured, strict=True)})
        counts = unit_to_counts(np.moveaxis(image, 0, -1))
        paths = [folder / "scans" / f"{row['scan_id']}{ending}" for ending in formats]
        for path in paths:
            save_scan(RawScan(counts), path)
        if predicted.materials is not None and predicted.sums is not None:
            with atomic_path(folder / "materials" / f"{row['scan_id']}.npy") as temporary:
                np.save(temporary, predicted.materials, allow_pickle=False)
            held.append(person | rounded_totals(totals_of_sums(predicted.sums)))
        if pictures:
            shown = Prediction(str(row["scan_id"]), body, None, image)
            prediction_figure(shown, folder / "pictures" / f"{row['scan_id']}.png")
        done.append(person | {"scan": str(paths[0])})
    for sentence in [*failed, *doubtful]:
        print(sentence, file=sys.stderr)
    known = [name for name in ("subject_id", "scan_id") if any(name in row for row in rows)]
    write_table(folder / SHAPES_NAME, (*known, *SHAPE_COLUMNS), shapes)
    unlike = [each for each in shapes if each["unlikeness"] > 1.0]
    for each in unlike:
        print(
            f"{each['scan_id']}: unlike any body that the network was trained on ({each['unlikeness']:.2f} times as "
            "far off as the farthest; another posture, hair, clothes or a missing part do that): its numbers may be "
            "wrong",
            file=sys.stderr,
        )
    print(f"Raw scans of {len(done)} of {len(rows)} meshes: {folder / 'scans'}")
    if mapped:
        columns = [f"{region}_{quantity}" for region in REGION_NAMES for quantity in QUANTITIES]
        write_table(folder / MAPS_NAME, (*known, *columns), held)
        print(f"Body composition by the maps, without an image: {folder / MAPS_NAME}")
    if not done:
        raise InputError(f"{folder}: expected scans of all {len(rows)} meshes, got none, first {failed[0]}")
    draw = composition_figure if pictures else None
    # what a network makes of open air is no measurement: its zero is that of the scans it was trained on
    zero = find_zero(network.mean_image.cpu().numpy())
    source = ScanSource(zero_counts=zero.level_counts() if zero.enough_air else None)
    table = analyse_scans(
        done,
        folder,
        scanner_model,
        calibration,
        draw=draw,
        device=device,
        policy=policy,
        set_aside=bad,
        predicted=True,
        source=source,
    )
    if failed and not (policy is not None and policy.quarantines):
        raise InputError(
            f"{folder}: expected scans of all {len(rows)} meshes, got none of {len(failed)}, first {failed[0]}"
        )
    return table


class PredictedBody(NamedTuple):
    """What a network makes of a body.

    Attributes:
        image: the scan ``(6, H, W)`` in [0, 1], mean over the draws.
        unlikeness: how unlike the training bodies it is, 1 for the farthest of them
            (:meth:`dxa_monai.networks.shape_path.ShapePath.unlikeness`); NaN for a network without a shape path.
        materials: areal densities in g/cm2 ``(3, H, W)``, and
        sums: of its regions ``(SUMMED_REGIONS, SUMS)``
            (:meth:`dxa_monai.networks.pseudo_dxa.PseudoDXA.materials`); None for a network without maps.
    """

    image: Image
    unlikeness: float
    materials: Image | None = None
    sums: Image | None = None


@torch.no_grad()
def predict_body(
    network: PseudoDXA, body: BodyMesh, points: int, seed: int = 0, device: str | torch.device = "cpu", draws: int = 1
) -> PredictedBody:
    """The scan that a network in evaluation mode predicts for a body.

    Args:
        network: on the device.
        body: standing where all bodies stand (:func:`dxa_monai.mesh.points.centred`).
        points: of its surface.
        seed: of their order in the first draw, and with it of those that the encoder sees; the next ones follow.
        device: where to compute.
        draws: orders of the points, whose scans are averaged.
    """
    if draws < 1:
        raise InputError(f"draws: expected at least one, got {draws}.")
    cloud = point_cloud(body, points, torch.Generator().manual_seed(seed))[None].to(device)
    images: list[Image] = []
    for draw in range(draws):
        order = torch.randperm(points, generator=torch.Generator().manual_seed(seed + draw)).to(device)
        images.append(network.predict(cloud[:, :, order])[0].cpu().numpy())
    unlikeness, materials, sums = math.nan, None, None
    if network.shape_path is not None:
        # what is unlike was told apart at so many points; with fewer, every body is unlike all others
        whole = cloud
        if points != CLOUD_POINTS:
            whole = point_cloud(body, CLOUD_POINTS, torch.Generator().manual_seed(seed))[None].to(device)
        unlikeness = float(network.shape_path.unlikeness(whole))
    if network.material_path is not None:
        materials, sums = (each[0].cpu().numpy() for each in network.materials(cloud))
    return PredictedBody(np.mean(images, axis=0), unlikeness, materials, sums)


def _read_body(
    path: str,
    unit: str | None = None,
    up_axis: str = "z",
    facing: str | None = None,
    repair: bool = False,
    accept: str | Collection[str] = (),
    seed: int = 0,
) -> tuple[BodyMesh, Doubts]:
    body, doubts = checked_with_doubts(load_mesh(path, unit, up_axis, facing), repair, accept)
    if body.mends:
        print(f"{path}: mended: {'; '.join(body.mends)}.")
    return centred(body), doubts
