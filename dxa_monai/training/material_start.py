"""Fits what a mesh-to-scan network knows of fat, lean and bone mineral: to maps that the analysis makes of scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.errors import InputError
from dxa_monai.metrics.rigid_alignment import moved_rigidly
from dxa_monai.networks.material_path import MaterialPath
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.measures import mirrored_measures
from dxa_monai.scan.regions import SUMMED_REGIONS
from dxa_monai.scan.source import ScanSource
from dxa_monai.training.kernel_fit import fit_readout
from dxa_monai.training.shape_fit import PENALTIES, BodyCodes

FloatArray = npt.NDArray[np.float64]
_FEWEST_SCANS = 3
_OTHER_SIDE = mirrored_measures(SUMMED_REGIONS)


class ScanMaterials(NamedTuple):
    """What the analysis finds in scans.

    Attributes:
        kept: ``(N,)`` bool, scans that show a whole body; the others have zeros.
        maps: ``(N, 3, H, W)`` areal densities in g/cm2, half precision to spare memory.
        sums: ``(N, SUMMED_REGIONS, SUMS)``.
    """

    kept: npt.NDArray[np.bool_]
    maps: npt.NDArray[np.float16]
    sums: FloatArray


def materials_of_scans(rows: Sequence[Row], source: ScanSource, scanner: ScannerModel) -> ScanMaterials:
    """Analyse scans as they were taken, once.

    Raises:
        InputError: hardly a scan shows a whole body.
    """
    found = []
    for row in tqdm(rows, desc="fat, lean and bone of training scans", unit="scan"):
        scan = AnalysedScan(source.image(row["scan"])[None], scanner)
        found.append((scan.areal_density_g_cm2.astype(np.float16), scan.sums()))
    kept = np.array([sums is not None for _, sums in found])
    if kept.sum() < _FEWEST_SCANS:
        raise InputError(
            f"material_components: expected at least {_FEWEST_SCANS} training scans that show a whole body, got "
            f"{int(kept.sum())} of {len(kept)}; set it to 0."
        )
    nothing = np.zeros_like(next(sums for _, sums in found if sums is not None))
    return ScanMaterials(
        kept,
        np.stack([maps for maps, _ in found]),
        np.stack([nothing if sums is None else sums for _, sums in found]),
    )


def fit_materials(
    path: MaterialPath, inputs: BodyCodes, materials: ScanMaterials, moved: torch.Tensor
) -> dict[str, Any]:
    r"""Set a material path to training scans and their mirror images.

    The penalty is the one with which the regions' sums of people left out are predicted best. The maps are regressed
    with the same: then their sums are the regressed sums. With X the components of shape, W the regression to all
    pixels, each over how much its material differs, and (X^T X)^(1/2) W = P S Q^T, the components are the first rows of
    Q^T: those in which predicted maps differ most.

    Args:
        path: to be set.
        inputs: of the training bodies (:func:`dxa_monai.training.shape_fit.fit_shape_components`).
        materials: of their N scans.
        moved: ``(N, 3)`` how each scan is moved to where its body is expected.

    Raises:
        InputError: there are fewer than two people.

    Returns:
        For the record of a run: the penalty, R2 of sums of people left out, and the share of the predicted maps'
        variance that the components hold.
    """
    count = len(inputs.people)
    seen = inputs.of_some(materials.kept)
    both = np.stack([materials.sums, materials.sums[:, _OTHER_SIDE]])[:, materials.kept]
    sums = both.reshape(2 * len(seen.people), -1)
    fit = fit_readout(path.held, seen.rows, seen.repeated(sums), seen.people_of_rows, penalties=PENALTIES)
    x = (seen.values - path.held.mean.double().numpy()) / float(path.held.scale)

    pixels = path.mean.numel()
    total, products, squares = np.zeros(pixels), np.zeros((x.shape[-1], pixels)), np.zeros(pixels)
    for place, index in enumerate(np.flatnonzero(materials.kept)):
        maps = torch.from_numpy(materials.maps[index : index + 1]).float()
        here = moved_rigidly(maps, moved[index : index + 1])
        for image, codes in zip((here, here.flip(-1)), x[:, :, place].sum(axis=1), strict=True):
            flat = image.flatten().double().numpy()
            total += flat
            squares += flat**2
            products += codes[:, None] * flat
    x = x.reshape(-1, x.shape[-1])
    images = 2 * len(seen.people)
    mean = total / images
    gram = x.T @ x
    weights = np.linalg.solve(gram + fit.penalty * np.eye(len(gram)), products)
    variance = (squares / images - mean**2).reshape(path.mean.shape[0], -1).sum(axis=1)
    unit = np.repeat(np.sqrt(np.maximum(variance, np.finfo(np.float64).tiny)), pixels // len(variance))
    values, vectors = np.linalg.eigh(gram)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    _, spread, directions = np.linalg.svd(root @ (weights / unit), full_matrices=False)
    chosen = directions[: len(path.components)]
    path.mean.copy_(torch.from_numpy(mean).view_as(path.mean))
    path.components[: len(chosen)] = torch.from_numpy(chosen * unit).reshape(-1, *path.mean.shape).float()
    path.readout.mean.copy_(path.held.mean)
    path.readout.scale.copy_(path.held.scale)
    path.readout.linear[:, : len(chosen)] = torch.from_numpy(weights / unit @ chosen.T).float()
    held = float(np.square(spread[: len(chosen)]).sum() / max(float(np.square(spread).sum()), 1e-30))
    return {"penalty": fit.penalty, "r2_of_sums_left_out": fit.r2, "share_of_maps": held, "scans": count}
