"""A regressor's read-out of codes, fitted before training to the people it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import is_checkpoint, load_vae
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.trunk_weights import IMAGENET, RANDOM
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.measures import has_both_sides, measure_table, mirrored_measures
from dxa_monai.training.components import fit_components
from dxa_monai.training.data import MeasuredData
from dxa_monai.training.kernel_fit import fit_readout
from dxa_monai.training.moved_copies import copies_of_each, moved_copies

MOST_CENTRES = 3400
"""Codes a read-out is fitted to, mirror images and moved copies included; the time it takes grows with their cube. Of
more scans, some spread evenly are taken."""
_MOST_TRIED = 1500
_SCANS_AT_A_TIME = 32

FloatArray = npt.NDArray[np.float64]


def start_at_readout(
    network: AnthropometryRegressor, data: MeasuredData, weights: str | Path, mirrored: bool | None, most_copies: int
) -> dict[str, Any]:
    """Set a regressor's components and read-out, and move the labels of the training scans; what a record should tell.

    Args:
        network: with normalisation and statistics of the measures.
        data: of the training.
        weights: a DXA-VAE's checkpoint with a linear path of at least as many components, whose first ones are taken;
            of all others (random, ImageNet's, a DXA-VAE without such a path) the components are those of the training
            scans.
        mirrored: whether mirror images count, too; None: if each measure of one side has its twin.
        most_copies: how many moved copies of each scan count, too, at most; fewer where they would be too many.

    Raises:
        InputError: the linear path lies in other directions or has too few components, or a measure of one side lacks
            that of the other.
    """
    if mirrored is None:
        mirrored = has_both_sides(network.measures)
    sides = (False, True) if mirrored else (False,)
    rows, most = data.training_rows, MOST_CENTRES // len(sides)
    rows = rows if len(rows) <= most else [rows[number * len(rows) // most] for number in range(most)]
    copies = copies_of_each(len(rows), most_copies, most)
    source = "training scans"
    found = pretrained_components(network, weights)
    if found is not None:
        source = str(weights)
        network.linear_path.set_components(*found)
    else:
        fit_components(network, data, mirrored, copies=min(copies))
    measures = measure_table(rows, network.measures)
    by_side = [measures[:, mirrored_measures(network.measures)] if flip else measures for flip in sides]
    numbers = np.arange(len(rows))
    moved = np.repeat(numbers, copies)
    codes = _codes(network, data, rows, copies, sides)
    targets = np.concatenate([side[numbers] for side in by_side] + [side[moved] for side in by_side])
    people = [
        str(rows[number]["subject_id"]) for number in [*numbers.tolist() * len(sides), *moved.tolist() * len(sides)]
    ]
    mean, deviation = (each.double().numpy() for each in (network.measure_mean, network.measure_standard_deviation))
    readout = network.make_readout(len(people))
    wanted = (targets - mean) / deviation
    fit = fit_readout(readout, codes, wanted, people, judged=len(rows), most_tried=_MOST_TRIED, half_precision=True)
    with torch.no_grad():
        fitted = readout(torch.from_numpy(codes[: len(rows)]).to(readout.mean)).double().cpu().numpy()
    shift = (fitted - fit.left_out) * deviation
    data.move_labels({str(row["scan_id"]): each for row, each in zip(rows, shift, strict=True)})
    return {"components": source, "mirrored": mirrored, "moved_copies": len(moved)} | fit.as_dict()


def pretrained_components(network: AnthropometryRegressor, weights: str | Path) -> tuple[Any, Any, Any] | None:
    """Components, deviations and basis that weights bring for a regressor's codes; None where they bring none.

    Raises:
        InputError: a DXA-VAE's linear path lies in other directions or has too few components, or its file is damaged.
    """
    if str(weights) in (RANDOM, IMAGENET) or not is_checkpoint(weights):
        return None
    vae = load_vae(weights)
    if not vae.linear_codes:
        return None
    path, own, count = vae.linear_path, network.linear_path, network.code_components
    if (
        path.in_basis != own.in_basis
        or path.components.shape[1:] != own.components.shape[1:]
        or len(path.components) < count
    ):
        raise InputError(
            f"{weights}: expected a linear path with at least {count} components of shape "
            f"{tuple(own.components.shape[1:])}, got {len(path.components)} of {tuple(path.components.shape[1:])}; "
            "set network_def#code_components and network_def#code_directions."
        )
    return path.components[:count], path.deviations[:count], path.basis


@torch.no_grad()
def _codes(
    network: AnthropometryRegressor,
    data: MeasuredData,
    rows: Sequence[Row],
    copies: Sequence[int],
    sides: Sequence[bool],
) -> FloatArray:
    """``(M, K)`` of the scans, then of their moved copies; each of them as it is, and where sides say so mirrored."""
    as_taken: list[list[FloatArray]] = [[] for _ in sides]
    moved: list[list[FloatArray]] = [[] for _ in sides]
    for start in range(0, len(rows), _SCANS_AT_A_TIME):
        scans = data.source.images(rows[start : start + _SCANS_AT_A_TIME]).to(network.mean_image)
        further = [
            copy
            for number, scan in enumerate(scans, start=start)
            for copy in moved_copies(scan, number, copies[number])
        ]
        for images, found in ((scans, as_taken), (torch.stack(further) if further else scans[:0], moved)):
            for flip, codes in zip(sides, found, strict=True):
                codes.append(network.codes(images.flip(-1) if flip else images).double().cpu().numpy())
    return np.concatenate([each for found in (as_taken, moved) for codes in found for each in codes])
