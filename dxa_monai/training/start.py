"""Where a network starts from: what it learns of the data before training, and weights that were pretrained.

A config calls ``prepare()`` before the optimiser is made; a comparison calls ``check()`` before it trains anything.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from dxa_monai.errors import InputError
from dxa_monai.inference.run_scanner import scanner_of_rows
from dxa_monai.networks.generator_weights import initialise_generator
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.trunk_weights import RANDOM, Initialisation, initialise_trunk
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.physics.scanner_model import read_scanner_model
from dxa_monai.runs.another_background import OPEN_AIR, open_air_counts, tell_another_background
from dxa_monai.scan.energy_basis import DIRECTIONS
from dxa_monai.scan.manifest import Row
from dxa_monai.scan.splits import check_new_people
from dxa_monai.scan.statistics import mirrored_mean
from dxa_monai.training.components import fit_components
from dxa_monai.training.composition_matching import CompositionMatching
from dxa_monai.training.data import BodyData, MeasuredData, TrainingData
from dxa_monai.training.readout import pretrained_components, start_at_readout
from dxa_monai.training.region_weights import region_weights
from dxa_monai.training.shape_fit import refuse_few_bodies
from dxa_monai.training.shape_start import start_at_shape

logger = logging.getLogger(__name__)


class Start(Protocol):
    """A start of a network."""

    def check(self) -> None:
        """Refuse, before anything is written, weights that do not fit or that have seen these people."""

    def prepare(self) -> None:
        """Set the network up for training."""

    def as_dict(self) -> dict[str, Any]:
        """What the record of a run should tell, in plain types; after ``prepare()``."""


class VAEStart:
    """A DXA-VAE starts at the mean of the training scans, and with a linear path at their linear reconstruction.

    Args:
        network: to be trained.
        data: of the training.
        mirrored: whether mirror images of the training scans count as scans, too, in mean and linear path.
        contrast_weight: how often the contrast of the energies counts in the linear path, where that lies in directions
            of the energies (:func:`dxa_monai.scan.energy_basis.energy_basis`).
        contrast_by_region: whether the contrast of arms, of legs and of the rest of the body count alike there, however
            few pixels they have (:func:`dxa_monai.training.region_weights.region_weights`).
        scanner_model: file of the calibrated scanner with which regions are found; None: calibrated with some of the
            training scans.

    Raises:
        InputError: a weight that nothing would use.
    """

    def __init__(
        self,
        network: DXAVAE,
        data: TrainingData,
        mirrored: bool = False,
        contrast_weight: float = 1.0,
        contrast_by_region: bool = False,
        scanner_model: str | Path | None = None,
    ) -> None:
        if network.linear_codes == 0 and contrast_by_region:
            raise InputError("contrast_by_region: expected False for a network without a linear path, got True.")
        if network.linear_codes == 0 and contrast_weight != 1.0:
            logger.warning("contrast_weight %g is not used: the network has no linear path.", contrast_weight)
        if network.linear_codes > 0:
            path = network.linear_path
            if contrast_weight != 1.0 and not path.in_basis:
                raise InputError(
                    f"contrast_weight: expected 1 for a linear path without linear_directions, got {contrast_weight}."
                )
            if contrast_by_region and (not path.in_basis or len(path.analysis) != DIRECTIONS):
                raise InputError(
                    f"contrast_by_region: expected False for a linear path without {DIRECTIONS} linear_directions, got "
                    "True."
                )
        self.network = network
        self.data = data
        self.mirrored = mirrored
        self.contrast_weight = contrast_weight
        self.contrast_by_region = contrast_by_region
        self.scanner_model = scanner_model

    def check(self) -> None:
        """Look at the number of scans and at the scanner.

        Raises:
            InputError: there are fewer training scans than principal components, or the scanner's file is none.
        """
        self._check(len(self.data.unscreened_training_rows))

    def prepare(self) -> None:
        """Set normalisation and linear path.

        Raises:
            InputError: as :meth:`check`, or no regions where they count.
        """
        self._check(len(self.data.training_rows))
        mean_image, deviation = self.data.statistics
        mean_image = mirrored_mean(mean_image) if self.mirrored else mean_image
        self.network.set_normalisation(mean_image, deviation)
        if self.network.linear_codes > 0:
            weights = None
            if self.contrast_by_region:
                rows, source = self.data.training_rows, self.data.source
                weights = region_weights(rows, source, scanner_of_rows(rows, source, self.scanner_model))
            fit_components(
                self.network, self.data, self.mirrored, self.contrast_weight, fewer=False, pixel_weights=weights
            )

    def _check(self, scans: int) -> None:
        if self.scanner_model is not None:
            read_scanner_model(self.scanner_model)  # a file that nothing needs is not to be a wrong one
        channels, components, halves = self.network.linear_channels, self.network.linear_codes, 1 + self.mirrored
        if 0 < components >= halves * scans:
            raise InputError(
                f"training split: expected more than {components // halves} scans for the {components} components of "
                f"network_def#linear_channels {channels}, got {scans}; train on more people, or "
                f"with fewer linear_channels (each has {components // channels} components) or, "
                "without any, bundles/dxa_vae/configs/decoder_dense.json after the preset."
            )

    def as_dict(self) -> dict[str, Any]:
        """What the network's architecture does not tell, in plain types."""
        return {
            "mirrored": self.mirrored,
            "contrast_weight": self.contrast_weight,
            "contrast_by_region": self.contrast_by_region,
        }


class RandomStart:
    """Random weights, and nothing is fitted to the data."""

    initialisation = RANDOM

    def check(self) -> None:
        """Nothing to refuse."""

    def prepare(self) -> None:
        """Leave the network as it is."""

    def as_dict(self) -> dict[str, Any]:
        """What the network's architecture does not tell, in plain types."""
        return {"initialisation": self.initialisation}


class GivenStart(RandomStart):
    """The weights come from somebody else before each round of training: nothing is fitted to the data either.

    In a federated training (docs/federated.md) normalisation and components are part of what all sites share.
    """

    initialisation = "given in each round"


class PretrainedStart:
    """What starts from random weights or from a file of weights that other people were trained on.

    Subclasses say how the weights get into the network (:meth:`_initialise`).

    Args:
        network: to be trained.
        data: of the training.
        weights: ``"random"`` or a file.
    """

    def __init__(
        self, network: AnthropometryRegressor | PseudoDXA, data: TrainingData, weights: str | Path = RANDOM
    ) -> None:
        self.network: Any = network
        self.data = data
        self.weights = weights
        self._initialisation: Initialisation | None = None
        self._open_air_counts: list[float] | None = None

    def check(self) -> None:
        """Load the weights into the network.

        Raises:
            InputError: they do not fit, or a person of the data is in their training.
        """
        check_new_people(self.data.rows, self.weights)
        self._tell_another_background(self.data.unscreened_training_rows)
        print(self._initialise(torch.zeros_like(self.network.mean_image), 1.0).summary())

    def prepare(self) -> None:
        """Set weights and normalisation.

        Raises:
            InputError: as :meth:`check`.
        """
        check_new_people(self.data.rows, self.weights)
        self._tell_another_background(self.data.training_rows)
        mean_image, deviation = self.data.statistics
        self._open_air_counts = [round(float(count), 1) for count in open_air_counts(mean_image)]
        self._initialisation = self._initialise(mean_image, deviation)

    def as_dict(self) -> dict[str, Any]:
        """Plain types for the record of a run."""
        told = None if self._initialisation is None else self._initialisation.summary()
        return {"initialisation": told, OPEN_AIR: self._open_air_counts}

    def _tell_another_background(self, rows: Sequence[Row]) -> None:
        tell_another_background([row["scan"] for row in rows], [self.weights], self.data.source)

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        raise NotImplementedError


class TrunkStart(PretrainedStart):
    """A regressor's trunk starts from random weights, ImageNet's or a DXA-VAE's, its head from the measures' mean.

    A regressor with ``code_components`` starts at the read-out of its codes: components are the first ones of the
    DXA-VAE's linear path or, where the weights have none, those of the training scans and their mirror images. What the
    trunk is then to learn is what the read-out misses *in people it has not seen*: on its own training scans it misses
    less, and something else. So the labels of the training scans are moved by the difference of the two.

    Args:
        network: to be trained.
        data: of the training.
        weights: see :func:`dxa_monai.networks.trunk_weights.initialise_trunk`.
        frozen: train the head and the first convolution alone.
        mirrored: whether a scan's mirror image, with left and right measures exchanged, counts as a scan of the
            read-out, too; None: if each measure of one side has its twin among them.
        moved_copies: how many copies of each scan, moved up, down, left and right, count as scans of the read-out, too
            (:mod:`dxa_monai.training.moved_copies`), at most; fewer where there are hundreds of scans.
    """

    data: MeasuredData

    def __init__(
        self,
        network: AnthropometryRegressor,
        data: MeasuredData,
        weights: str | Path = RANDOM,
        frozen: bool = False,
        mirrored: bool | None = None,
        moved_copies: int = 4,
    ) -> None:
        super().__init__(network, data, weights)
        self.frozen = frozen
        self.mirrored = mirrored
        self.moved_copies = moved_copies
        self._readout: dict[str, Any] | None = None

    def check(self) -> None:
        """As of :class:`PretrainedStart`, and whether the components fit.

        Raises:
            InputError: they do not.
        """
        super().check()
        if self.network.code_components:
            pretrained_components(self.network, self.weights)

    def prepare(self) -> None:
        """Set weights, normalisation, statistics of the measures and read-out; freeze what is not trained.

        Raises:
            InputError: as :meth:`check`, or a measure is missing or the same in all training scans.
        """
        super().prepare()
        self.network.set_measure_statistics(*self.data.measure_statistics())
        if self.network.code_components:
            self._readout = start_at_readout(self.network, self.data, self.weights, self.mirrored, self.moved_copies)
        if self.frozen:
            self.network.freeze_trunk()

    def as_dict(self) -> dict[str, Any]:
        trunk = "frozen" if self.frozen else "fine_tuned"
        about = {"initial_weights": str(self.weights), "trunk": trunk}
        return about | ({"readout": self._readout} if self._readout else {}) | super().as_dict()

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        return initialise_trunk(self.network, self.weights, mean_image, standard_deviation)


class GeneratorStart(PretrainedStart):
    """A Pseudo-DXA's generator starts from random weights or a DXA-VAE's; its mesh encoder is random.

    A network with a shape path starts at the regression from shape to the codes of the linear path
    (:func:`dxa_monai.training.shape_start.start_at_shape`): that of the DXA-VAE or, with a random generator, components
    of the training scans themselves.

    Args:
        network: to be trained.
        data: of the training.
        weights: ``"random"`` or the checkpoint of a DXA-VAE.
        frozen_epochs: how many epochs a pretrained generator is kept as it is; a random one has nothing to keep.
        placed: how often training scans are moved, as a whole, to where their bodies are expected, so that how somebody
            lay on the table is no part of what is learnt; 0: they stay where they are. Without a shape path they do.
        match_composition: whether the images of the shape path are to hold the fat and bone of people of that
            shape, after the training as well (:class:`dxa_monai.training.composition_matching.CompositionMatching`).
        scanner_model: file of the calibrated scanner for that; None: calibrated with some of the training scans.
        postures: how many further postures of each training body belong to its scan, too, for the shape path.

    Raises:
        InputError: a negative number of rounds or postures.
    """

    data: BodyData

    def __init__(
        self,
        network: PseudoDXA,
        data: BodyData,
        weights: str | Path = RANDOM,
        frozen_epochs: int = 0,
        placed: int = 0,
        match_composition: bool = False,
        scanner_model: str | Path | None = None,
        postures: int = 0,
    ) -> None:
        super().__init__(network, data, weights)
        for name, value in (("placed", placed), ("postures", postures)):
            if value < 0:
                raise InputError(f"{name}: expected a number from 0, got {value}.")
        self.frozen_epochs = 0 if str(weights) == RANDOM else frozen_epochs
        self.placed = placed if network.shape_path is not None else 0
        self.match_composition = match_composition
        self.scanner_model = scanner_model
        self.postures = postures
        self.matching: CompositionMatching | None = None
        self._shape: dict[str, Any] | None = None

    def check(self) -> None:
        """As of :class:`PretrainedStart`, and the number of scans.

        Raises:
            InputError: there are too few scans for the components of shape.
        """
        super().check()
        if self.network.shape_path is not None:
            refuse_few_bodies(len(self.data.unscreened_training_rows), len(self.network.shape_path.components))

    def prepare(self) -> None:
        """Set weights, normalisation and shape path, and place the training scans.

        Raises:
            InputError: as :meth:`check`, or there are too few scans.
        """
        super().prepare()
        if self.network.shape_path is not None:
            own = str(self.weights) == RANDOM
            self._shape, self.matching = start_at_shape(
                self.network, self.data, own, self.placed, self.scanner_model, self.match_composition, self.postures
            )

    def as_dict(self) -> dict[str, Any]:
        about: dict[str, Any] = {
            "generator": str(self.weights),
            "generator_frozen_epochs": self.frozen_epochs,
            "postures": self.postures,
        }
        return about | ({"shape_path": self._shape} if self._shape else {}) | super().as_dict()

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        return initialise_generator(self.network, self.weights, mean_image, standard_deviation)
