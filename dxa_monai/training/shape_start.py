"""A mesh-to-scan network's start: regression from shape to codes, of scans that lie where their bodies are expected."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.mesh.limbs import LOWEST_ARM_DEG, arms_of
from dxa_monai.metrics.rigid_alignment import align_rigidly, moved_rigidly
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.shape_path import ShapePath
from dxa_monai.training.components import fit_components
from dxa_monai.training.composition_matching import CompositionMatching
from dxa_monai.training.data import BodyData
from dxa_monai.training.material_start import fit_materials, materials_of_scans
from dxa_monai.training.shape_fit import as_record, fit_codes, fit_shape_components, shape_vectors
from dxa_monai.transforms.point_clouds import load_cloud
from dxa_monai.transforms.standing_postures import in_another_posture

logger = logging.getLogger(__name__)

_SCANS_AT_A_TIME = 32


def start_at_shape(
    network: PseudoDXA,
    data: BodyData,
    own_components: bool,
    placed: int,
    scanner_model: str | Path | None = None,
    match: bool = True,
    postures: int = 0,
) -> tuple[dict[str, Any], CompositionMatching | None]:
    """Set shape path and maps of a network, and say how the training scans are to be moved.

    How somebody lies on the table does not follow from a body scan, and a network that has to answer with one image
    answers with the mean over all ways to lie: thin bones are blurred away. So each training scan is moved as a whole
    (:func:`dxa_monai.metrics.rigid_alignment.align_rigidly`) to where a regression that has not seen its person expects
    the body, and the regression is fitted again, ``placed`` times. If the network has maps of fat, lean and bone
    mineral, they are those that the analysis makes of the training scans, moved likewise.

    Args:
        network: with generator and normalisation.
        data: of the training; gets the moves.
        own_components: whether the components of the linear path are to be those of the training scans.
        placed: rounds.
        scanner_model: file of the calibrated scanner of the analysis; None: calibrated with some of the training scans.
        match: whether the images are to hold the fat and bone of the people of each shape
            (:class:`dxa_monai.training.composition_matching.CompositionMatching`).
        postures: how many further postures of each training body, from T to A pose, belong to its scan, too
            (:mod:`dxa_monai.transforms.standing_postures`).

    Returns:
        What a record should tell, and what matched the images, which can be done again.

    Raises:
        InputError: there are fewer scans than components, or hardly one shows a whole body.
    """
    path = network.shape_path
    assert isinstance(path, ShapePath)
    rows = data.training_rows
    if own_components:
        fit_components(network, data, mirrored=True)
    people = [str(row["subject_id"]) for row in rows]
    inputs = fit_shape_components(path, _vectors(path, data, postures), people)
    moved = torch.zeros(len(rows), 3)
    for _ in tqdm(range(placed), desc="placing training scans", unit="round", disable=not placed):
        fit = fit_codes(path, inputs, _codes(network, data, moved))
        moved = _moves(network, data, fit.left_out[: len(rows)])
    codes = _codes(network, data, moved)
    fit = fit_codes(path, inputs, codes)
    further: dict[str, Any] = {}
    matching = None
    if match or network.material_path is not None:
        scanner = scanner_of_rows(rows, data.source, scanner_model)
        here = slice(0, len(rows))
        if match:
            left_out = fit.left_out[here]
            matching = CompositionMatching(network, data, scanner, moved, codes[here], left_out, inputs)
            further |= matching.at_the_start()
        if network.material_path is not None:
            materials = materials_of_scans(rows, data.source, scanner)
            further["materials"] = fit_materials(network.material_path, inputs, materials, moved)
    data.place_scans({str(row["scan_id"]): each for row, each in zip(rows, moved, strict=True)})
    spread = moved.std(dim=0).tolist() if len(moved) > 1 else [0.0] * 3
    names = ("rows_mm", "columns_mm", "degrees")
    about = {"placed": placed, "moved_sd": dict(zip(names, spread, strict=True))}
    return as_record(fit) | about | further, matching


def _vectors(path: ShapePath, data: BodyData, postures: int) -> torch.Tensor:
    """``(1 + postures, N, size)`` of the training bodies as they were scanned, and in other postures."""
    clouds = data.clouds_of(data.training_rows)
    vectors = [shape_vectors(path, map(load_cloud, clouds))]
    if postures:
        kept = sum(None in arms_of(load_cloud(row).double().numpy()).values() for row in clouds)
        if kept:
            logger.warning(
                "postures: %d of %d training bodies keep an arm where it is: it is not found, or more than %g degrees "
                "below the horizontal.",
                kept,
                len(clouds),
                LOWEST_ARM_DEG,
            )
    for number in tqdm(range(postures), desc="other postures of training bodies", unit="posture", disable=not postures):
        drawn = np.random.RandomState(number)
        vectors.append(shape_vectors(path, (in_another_posture(load_cloud(row), drawn) for row in clouds)))
    return torch.stack(vectors)


@torch.no_grad()
def _codes(network: PseudoDXA, data: BodyData, moved: torch.Tensor) -> npt.NDArray[np.float64]:
    """Codes of the moved training scans, then of their mirror images."""
    here: list[npt.NDArray[np.float64]] = []
    mirrored: list[npt.NDArray[np.float64]] = []
    for start in range(0, len(moved), _SCANS_AT_A_TIME):
        part = slice(start, start + _SCANS_AT_A_TIME)
        scans = moved_rigidly(data.source.images(data.training_rows[part]), moved[part])
        for scan, found in ((scans, here), (scans.flip(-1), mirrored)):
            found.append(network.linear_path.encode(network.normalised(scan)).double().numpy())
    return np.concatenate(here + mirrored)


@torch.no_grad()
def _moves(network: PseudoDXA, data: BodyData, codes: npt.NDArray[np.float64]) -> torch.Tensor:
    """How each training scan, as it was taken, is moved to lie as the image of its codes."""
    moves = []
    for start in range(0, len(codes), _SCANS_AT_A_TIME):
        part = slice(start, start + _SCANS_AT_A_TIME)
        images = network.linear_path.decode(torch.from_numpy(codes[part]).float())
        expected = network.mean_image + network.standard_deviation * images
        moves.append(align_rigidly(data.source.images(data.training_rows[part]), expected).moved)
    return torch.cat(moves)
