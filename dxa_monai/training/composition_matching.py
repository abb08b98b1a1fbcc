"""Predicted scans that hold, on average, the fat and bone of the people of each shape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from sklearn.linear_model import RidgeCV
from tqdm import tqdm

from dxa_monai.analysis.analysed_scan import AnalysedScan
from dxa_monai.errors import InputError
from dxa_monai.metrics.rigid_alignment import moved_rigidly
from dxa_monai.networks.checkpoint import load_tensors, save_network
from dxa_monai.networks.compact_components import KEPT_SHARE
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.spread import every_so_many
from dxa_monai.training.data import BodyData
from dxa_monai.training.shape_fit import BodyCodes
from dxa_monai.transforms.point_clouds import load_cloud

FloatArray = npt.NDArray[np.float64]
ImageOf = Callable[[int, FloatArray], torch.Tensor]
"""The image ``(1, 6, H, W)`` of a scan that is analysed, by its number, whose codes ``(codes,)`` are changed."""

MATCHED = ("total_fat_g", "total_bmc_g")
"""What the images are to hold. Lean tissue follows: as a third wish it costs 0.35 dB, arms and legs besides 3 dB."""
MOST_SCANS = 300
"""Analysed in each round; of more training scans some spread evenly are taken."""
ROUNDS = 3
_FEWEST_SCANS = 3
_PENALTIES = np.logspace(-3.0, 5.0, 17)
_PROBED_SCANS = 60
_PROBED_SHARE = 0.05
"""Of what people hold on average: the change of codes by which it is found what the analysis makes of one."""
_SHARES = (1.0, 0.5, 0.25)
_ALL = slice(None)
_LEAST_ANSWER = 0.05
"""Of the greatest: what the analysis answers less than that no change of codes shall force."""


class MatchingStart(Protocol):
    """A start of a network whose images may have been matched."""

    matching: CompositionMatching | None


class CompositionMatching:
    r"""Changes what a shape path predicts until the analysis reads from the images what it reads from the scans.

    The image of codes that are right on average holds too little: thin bones of many people, each a little elsewhere,
    are blurred into soft tissue, whose fat is then misread. With t what the analysis reads of the training scans, M
    what it reads of the images of codes predicted for people left out, L the ridge regression of t on the scans' own
    codes, S the covariance of what the prediction leaves of the codes, the change of codes that is least unlikely among
    people of one shape and moves composition by d is

    .. math:: \Delta c = S L^T (L S L^T)^{-1} J^{-1} d

    of the codes that small files keep (:mod:`dxa_monai.networks.compact_components`), and d is the ridge regression of
    t - M on the components of shape. J is what the analysis of blurred images makes of a change that would move a
    scan's composition by one: measured, with some images. All of it is linear in the components of shape, so the shape
    path stays what it is, with other weights.

    Training, which wants pixels to be near, blurs mineral away again: the images of the trained network are matched
    once more (:class:`MatchBestNetwork`).

    Args:
        network: whose shape path is changed.
        data: of the training.
        scanner: of the analysis.
        moved: ``(N, 3)`` how the training scans are placed.
        codes: ``(N, codes)`` of the placed training scans.
        left_out: ``(N, codes)`` predictions of people left out, of the shape path as it is.
        inputs: of the training bodies (:func:`dxa_monai.training.shape_fit.fit_shape_components`). What is missing is
            found where they stand as they were scanned, and belongs to their other postures as well.

    Raises:
        InputError: hardly a training scan shows a whole body.
    """

    def __init__(
        self,
        network: PseudoDXA,
        data: BodyData,
        scanner: ScannerModel,
        moved: torch.Tensor,
        codes: FloatArray,
        left_out: FloatArray,
        inputs: BodyCodes,
    ) -> None:
        assert network.shape_path is not None
        self.network, self._readout = network, network.shape_path.readout
        some = every_so_many(len(codes), MOST_SCANS)
        rows, places = data.training_rows[some], moved[some]
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
        self._scans = [scan for scan, totals in analysed if totals]
        self._wanted = np.array([[totals[name] for name in MATCHED] for _, totals in analysed if totals])
        self._bodies = [body for body, is_kept in zip(data.clouds_of(rows), kept, strict=True) if is_kept]
        sensitivity = _sensitivity(codes[some][kept], self._wanted)
        spread = np.cov((codes - left_out).T)
        kept_codes = round(KEPT_SHARE * len(spread))
        spread[kept_codes:] = spread[:, kept_codes:] = 0.0  # small files leave these out
        self._response = spread @ sensitivity.T @ np.linalg.pinv(sensitivity @ spread @ sensitivity.T)
        with torch.no_grad():
            fitted = self._readout(torch.from_numpy(inputs.as_scanned)).double().numpy()
        self._left_out = left_out[some][kept]
        self._not_seen = (left_out - fitted)[some][kept]
        values = inputs.of_some(some).of_some(kept).values[0]
        x = ((torch.from_numpy(values) - self._readout.mean) / self._readout.scale).double().numpy()
        self._x, self._postures = x[0], x.reshape(-1, x.shape[-1])

    def at_the_start(self) -> dict[str, Any]:
        """Match the images of the linear path, before anything is trained.

        Returns:
            Mean of t - M over the mean of t, before and after, by measure, for the record of a run.
        """
        network = self.network

        def image_of(number: int, change: FloatArray) -> torch.Tensor:
            image = network.linear_path.decode(torch.from_numpy(self._left_out[number] + change).float()[None])
            return (network.mean_image + network.standard_deviation * image).clamp(0.0, 1.0)

        return self._match(image_of)

    def at_the_end(self) -> dict[str, Any]:
        """Match the images of the network that training has made, in evaluation mode and where it is.

        What the trained network predicts for a training body is changed by what the shape path would have said
        otherwise, had it not seen its person.

        Returns:
            As of :meth:`at_the_start`.
        """
        network, device = self.network, self.network.mean_image.device
        was_training = network.training
        network.eval()
        with torch.no_grad():
            means = [network.encode(load_cloud(body)[None].to(device))[0].cpu() for body in self._bodies]

        def image_of(number: int, change: FloatArray) -> torch.Tensor:
            mean, codes = means[number], torch.from_numpy(self._not_seen[number] + change).float()
            changed = mean + F.pad(codes, (0, mean.numel() - len(codes))).reshape(mean.shape)
            return network.decode(changed.to(device)).clamp(0.0, 1.0).cpu()

        told = self._match(image_of)
        network.train(was_training)
        return told

    def _match(self, image_of: ImageOf) -> dict[str, Any]:
        """Change the codes as long as that helps; half as far, or a quarter, where all the way does not."""
        change = np.zeros_like(self._left_out)
        made = self._measured(image_of, change)
        record = {"missing_before": self._missing_shares(made)}
        to_codes = self._response @ self._answered(image_of, made)
        ridge, missing = self._regular(made)
        for _ in tqdm(range(ROUNDS), desc="matching composition", unit="round"):
            weights, bias = np.asarray(ridge.coef_).T @ to_codes.T, np.asarray(ridge.intercept_) @ to_codes.T
            for share in _SHARES:
                there = change + share * (self._x @ weights + bias)
                made_there = self._measured(image_of, there)
                ridge_there, missing_there = self._regular(made_there)
                if missing_there < missing:
                    break
            else:
                break
            change, made, ridge, missing = there, made_there, ridge_there, missing_there
            self._readout.linear += share * torch.from_numpy(weights).to(self._readout.linear)
            self._readout.bias += share * torch.from_numpy(bias).to(self._readout.bias)
        return record | {"missing_after": self._missing_shares(made)}

    def _regular(self, made: FloatArray) -> tuple[RidgeCV, float]:
        """What is missing in people of one shape: its regression, and its mean square, of what is held on average."""
        missing = np.tile(self._wanted - made, (len(self._postures) // len(made), 1))
        ridge = RidgeCV(alphas=_PENALTIES, alpha_per_target=True).fit(self._postures, missing)
        return ridge, float(np.square(ridge.predict(self._x) / self._wanted.mean(axis=0)).mean())

    def _answered(self, image_of: ImageOf, made: FloatArray) -> FloatArray:
        """J, inverted, ``(measures, measures)``, of some scans, on average; 0 for what the analysis hardly answers."""
        probed = every_so_many(len(self._scans), _PROBED_SCANS)
        held = self._wanted.mean(axis=0)
        columns = []
        for column, size in zip(self._response.T, _PROBED_SHARE * held, strict=True):
            there = self._measured(image_of, np.tile(size * column, (len(made), 1)), probed)
            columns.append((there - made[probed]).mean(axis=0) / held / _PROBED_SHARE)
        return held[:, None] * np.linalg.pinv(np.stack(columns, axis=1), rcond=_LEAST_ANSWER) / held

    @torch.no_grad()
    def _measured(self, image_of: ImageOf, change: FloatArray, some: slice = _ALL) -> FloatArray:
        """What the analysis reads of images of changed codes, in the regions of their scans ``(N, measures)``."""
        read = []
        for number in range(len(self._scans))[some]:
            found = self._scans[number].totals(image_of(number, change[number]))
            read.append([found[name] for name in MATCHED])
        return np.array(read)

    def _missing_shares(self, made: FloatArray) -> dict[str, float]:
        shares = (self._wanted - made).mean(axis=0) / self._wanted.mean(axis=0)
        return {name: round(float(share), 4) for name, share in zip(MATCHED, shares, strict=True)}


class MatchBestNetwork:
    """When a training ends, the images of its best network are matched once more, and ``best.pt`` is written again.

    Only the first process of a distributed run does; a start that has matched nothing leaves the file as it is. What a
    training told of its best network's metric was before that, 0.02 dB higher on virtual people.

    Args:
        start: of the training.
        folder: of the run.
    """

    def __init__(self, start: MatchingStart, folder: str | Path) -> None:
        self.start = start
        self.path = Path(folder) / "best.pt"

    def attach(self, engine: Engine) -> None:
        """Follow a trainer."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Match and write."""
        matching = self.start.matching
        if matching is None or idist.get_rank() != 0 or not self.path.is_file():
            return
        content = load_tensors(self.path)
        if "composition" in content["extra"]:
            return  # of a run that was stopped after it
        matching.network.load_state_dict(content["state"])
        told = matching.at_the_end()
        save_network(matching.network, self.path, **(content["extra"] | {"composition": told}))


def _sensitivity(codes: FloatArray, wanted: FloatArray) -> FloatArray:
    """L ``(measures, codes)``."""
    spread = wanted.std(axis=0)
    ridge = RidgeCV(alphas=_PENALTIES, alpha_per_target=True).fit(codes, (wanted - wanted.mean(axis=0)) / spread)
    return np.asarray(ridge.coef_ * spread[:, None])
