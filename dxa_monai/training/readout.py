"""A regressor's read-out of codes, fitted before training to the people it is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import is_checkpoint, load_vae
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.trunk_weights import IMAGENET, RANDOM
from dxa_monai.scan.measures import has_both_sides, measure_table, mirrored_measures
from dxa_monai.training.components import fit_components
from dxa_monai.training.data import MeasuredData
from dxa_monai.training.kernel_fit import fit_readout

MOST_CENTRES = 4000
"""Codes a read-out is fitted to, mirror images included; the time it takes grows with their cube. Of more scans, some
spread evenly are taken."""
_SCANS_AT_A_TIME = 32


def start_at_readout(
    network: AnthropometryRegressor, data: MeasuredData, weights: str | Path, mirrored: bool | None
) -> dict[str, Any]:
    """Set a regressor's components and read-out, and move the labels of the training scans; what a record should tell.

    Args:
        network: with normalisation and statistics of the measures.
        data: of the training.
        weights: a DXA-VAE's checkpoint with a linear path of at least as many components, whose first ones are taken;
            of all others (random, ImageNet's, a DXA-VAE without such a path) the components are those of the training
            scans.
        mirrored: whether mirror images count, too; None: if each measure of one side has its twin.

    Raises:
        InputError: the linear path lies in other directions or has too few components, or a measure of one side lacks
            that of the other.
    """
    if mirrored is None:
        mirrored = has_both_sides(network.measures)
    source = "training scans"
    found = pretrained_components(network, weights)
    if found is not None:
        source = str(weights)
        network.linear_path.set_components(*found)
    else:
        fit_components(network, data, mirrored)
    rows = data.training_rows
    step = -(-len(rows) * (2 if mirrored else 1) // MOST_CENTRES)
    rows = rows[::step]
    measures = measure_table(rows, network.measures)
    codes = [_codes(network, data, rows, flip=False)]
    targets = [measures]
    if mirrored:
        codes.append(_codes(network, data, rows, flip=True))
        targets.append(measures[:, mirrored_measures(network.measures)])
    mean, deviation = (each.double().numpy() for each in (network.measure_mean, network.measure_standard_deviation))
    people = [str(row["subject_id"]) for row in rows] * len(codes)
    readout = network.make_readout(len(people))
    fit = fit_readout(readout, np.concatenate(codes), (np.concatenate(targets) - mean) / deviation, people)
    with torch.no_grad():
        fitted = readout(torch.from_numpy(codes[0]).to(readout.mean)).double().cpu().numpy()
    moved = (fitted - fit.left_out[: len(rows)]) * deviation
    data.move_labels({str(row["scan_id"]): each for row, each in zip(rows, moved, strict=True)})
    return {"components": source, "mirrored": mirrored} | fit.as_dict()


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
def _codes(network: AnthropometryRegressor, data: MeasuredData, rows: Any, flip: bool) -> np.ndarray[Any, Any]:
    found = []
    for start in range(0, len(rows), _SCANS_AT_A_TIME):
        scans = data.source.images(rows[start : start + _SCANS_AT_A_TIME]).to(network.mean_image)
        found.append(network.codes(scans.flip(-1) if flip else scans).double().cpu().numpy())
    return np.concatenate(found)
