"""Predicted scans that hold, on average, the fat, lean and bone of the people of each shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeCV
from tqdm import tqdm

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.errors import InputError
from dxa_monai.metrics.rigid_alignment import moved_rigidly
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.training.data import BodyData

FloatArray = npt.NDArray[np.float64]

MATCHED = ("total_fat_g", "total_lean_g", "total_bmc_g")
"""What the images are to hold; with arms and legs besides, nine wishes at once cost 3 dB."""
MOST_SCANS = 300
"""Analysed in each round; of more training scans some spread evenly are taken."""
ROUNDS = 3
_FEWEST_SCANS = 3
_PENALTIES = np.logspace(-3.0, 5.0, 17)


def match_composition(
    network: PseudoDXA,
    data: BodyData,
    scanner: ScannerModel,
    moved: torch.Tensor,
    codes: FloatArray,
    left_out: FloatArray,
    inputs: FloatArray,
    rounds: int = ROUNDS,
) -> dict[str, Any]:
    r"""Change what a shape path predicts until the analysis reads from the images what it reads from the scans.

    The image of codes that are right on average holds too little: thin bones of many people, each a little elsewhere,
    are blurred into soft tissue. With t what the analysis reads of the training scans, M what it reads of the images of
    codes predicted for people left out, L the ridge regression of t on the scans' own codes, S the covariance of what
    the prediction leaves of the codes, the change of codes that is least unlikely among people of one shape and moves
    composition by d is

    .. math:: \Delta c = S L^T (L S L^T)^{-1} d

    and d is the ridge regression of t - M on the components of shape. All of it is linear in these, so the shape path
    stays what it is, with other weights.

    Args:
        network: whose shape path is changed.
        data: of the training.
        scanner: of the analysis.
        moved: ``(N, 3)`` how the training scans are placed.
        codes: ``(N, codes)`` of the placed training scans.
        left_out: ``(N, codes)`` predictions of people left out.
        inputs: ``(N, components)`` of the training bodies, as the read-out takes them.
        rounds: of analysis and change; the analysis is not linear.

    Raises:
        InputError: hardly a training scan shows a whole body.

    Returns:
        Mean of t - M over the mean of t, before and after, by measure, for the record of a run.
    """
    path = network.shape_path
    assert path is not None
    step = -(-len(codes) // MOST_SCANS)
    rows, places = data.training_rows[::step], moved[::step]
    analysed = []
    for start in tqdm(range(len(rows)), desc="composition of training scans", unit="scan"):
        scan = moved_rigidly(data.source.image(rows[start]["scan"])[None], places[start : start + 1])
        found = AnalysedScan(scan, scanner)
        analysed.append((found, found.totals()))
    kept = np.array([bool(totals) for _, totals in analysed])
    if kept.sum() < _FEWEST_SCANS:
        raise InputError(
            f"match_composition: expected at least {_FEWEST_SCANS} training scans that show a whole body, got "
            f"{int(kept.sum())} of {len(kept)}; set it to False."
        )
    wanted = np.array([[totals[name] for name in MATCHED] for _, totals in analysed if totals])
    sensitivity = _sensitivity(codes[::step][kept], wanted)
    spread = np.cov((codes - left_out).T)
    response = spread @ sensitivity.T @ np.linalg.pinv(sensitivity @ spread @ sensitivity.T)
    x = ((torch.from_numpy(inputs) - path.readout.mean) / path.readout.scale).double().numpy()
    change = np.zeros_like(left_out)
    record: dict[str, Any] = {}
    for _ in range(rounds):
        made = _measured(network, (left_out + change)[::step], analysed)
        missing = wanted - made[kept]
        record.setdefault("missing_before", _shares(missing, wanted))
        ridge = RidgeCV(alphas=_PENALTIES, alpha_per_target=True).fit(x[::step][kept], missing)
        weights = np.asarray(ridge.coef_).T @ response.T
        bias = np.asarray(ridge.intercept_) @ response.T
        path.readout.linear += torch.from_numpy(weights).to(path.readout.linear)
        path.readout.bias += torch.from_numpy(bias).to(path.readout.bias)
        change = change + x @ weights + bias
    made = _measured(network, (left_out + change)[::step], analysed)
    return record | {"missing_after": _shares(wanted - made[kept], wanted)}


def _sensitivity(codes: FloatArray, wanted: FloatArray) -> FloatArray:
    """L ``(measures, codes)``."""
    spread = wanted.std(axis=0)
    ridge = RidgeCV(alphas=_PENALTIES, alpha_per_target=True).fit(codes, (wanted - wanted.mean(axis=0)) / spread)
    return np.asarray(ridge.coef_ * spread[:, None])


@torch.no_grad()
def _measured(network: PseudoDXA, codes: FloatArray, analysed: list[tuple[AnalysedScan, Any]]) -> FloatArray:
    """What the analysis reads of the images of codes, in the regions of the scans ``(N, measures)``."""
    read = []
    for (scan, totals), code in zip(analysed, codes, strict=True):
        if not totals:
            read.append([0.0] * len(MATCHED))
            continue
        image = network.linear_path.decode(torch.from_numpy(code).float()[None])
        image = (network.mean_image + network.standard_deviation * image).clamp(0.0, 1.0)
        found = scan.totals(image)
        read.append([found[name] for name in MATCHED])
    return np.array(read)


def _shares(missing: FloatArray, wanted: FloatArray) -> dict[str, float]:
    shares = missing.mean(axis=0) / wanted.mean(axis=0)
    return {name: round(float(share), 4) for name, share in zip(MATCHED, shares, strict=True)}
