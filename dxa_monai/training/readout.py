"""A regressor's read-out of codes, fitted before training to the people it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
from dxa_monai.training.moved_copies import copies_that_fit, moved_copies

MOST_CENTRES = 4000
"""Codes a read-out is fitted to, mirror images and moved copies included; the time it takes grows with their cube. Of
more scans, some spread evenly are taken."""
_SCANS_AT_A_TIME = 32


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
    copies = copies_that_fit(len(data.training_rows) * len(sides), most_copies, MOST_CENTRES)
    source = "training scans"
    found = pretrained_components(network, weights)
    if found is not None:
        source = str(weights)
        network.linear_path.set_components(*found)
    else:
        fit_components(network, data, mirrored, copies=copies)
    rows = data.training_rows
    rows = rows[:: -(-len(rows) * len(sides) // MOST_CENTRES)]
    measures = measure_table(rows, network.measures)
    # of all scans as they are, then of their first copies, ...; of these the mirror images, too
    codes, targets = [], []
    for flip in sides:
        views = _codes(network, data, rows, copies, flip)
        codes += list(views)
        targets += [measures[:, mirrored_measures(network.measures)] if flip else measures] * len(views)
    mean, deviation = (each.double().numpy() for each in (network.measure_mean, network.measure_standard_deviation))
    people = [str(row["subject_id"]) for row in rows] * len(codes)
    readout = network.make_readout(len(people))
    wanted = (np.concatenate(targets) - mean) / deviation
    fit = fit_readout(readout, np.concatenate(codes), wanted, people, judged=len(rows))
    with torch.no_grad():
        fitted = readout(torch.from_numpy(codes[0]).to(readout.mean)).double().cpu().numpy()
    moved = (fitted - fit.left_out) * deviation
    data.move_labels({str(row["scan_id"]): each for row, each in zip(rows, moved, strict=True)})
    return {"components": source, "mirrored": mirrored, "moved_copies": copies} | fit.as_dict()


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
    network: AnthropometryRegressor, data: MeasuredData, rows: Sequence[Row], copies: int, flip: bool
) -> np.ndarray[Any, Any]:
    """``(1 + copies, N, K)`` of the scans and their moved copies, or of the mirror images of these."""
    found = []
    for start in range(0, len(rows), _SCANS_AT_A_TIME):
        scans = data.source.images(rows[start : start + _SCANS_AT_A_TIME])
        each = [[scan, *moved_copies(scan, start + place, copies)] for place, scan in enumerate(scans)]
        views = [torch.stack(view).to(network.mean_image) for view in zip(*each, strict=True)]
        codes = [network.codes(view.flip(-1) if flip else view).double().cpu().numpy() for view in views]
        found.append(np.stack(codes))
    return np.concatenate(found, axis=1)
