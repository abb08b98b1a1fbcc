"""Where a network starts from: what it learns of the data before training, and weights that were pretrained.

A config calls ``prepare()`` before the optimiser is made; a comparison calls ``check()`` before it trains anything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.generator_weights import initialise_generator
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.trunk_weights import RANDOM, Initialisation, initialise_trunk
from dxa_monai.networks.vae import DXAVAE
from dxa_monai.scan.energy_basis import energy_basis
from dxa_monai.scan.splits import check_new_people
from dxa_monai.scan.statistics import mirrored_mean, principal_components
from dxa_monai.training.data import BodyData, MeasuredData, TrainingData


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

    Raises:
        InputError: a weight that nothing would use.
    """

    def __init__(
        self, network: DXAVAE, data: TrainingData, mirrored: bool = False, contrast_weight: float = 1.0
    ) -> None:
        if contrast_weight != 1.0 and network.linear_codes > 0 and not network.linear_path.in_basis:
            raise InputError(
                f"contrast_weight: expected 1 for a linear path without linear_directions, got {contrast_weight}."
            )
        self.network = network
        self.data = data
        self.mirrored = mirrored
        self.contrast_weight = contrast_weight

    def check(self) -> None:
        """Nothing to refuse: the weights are random."""

    def prepare(self) -> None:
        """Set normalisation and linear path.

        Raises:
            InputError: there are fewer training scans than principal components.
        """
        mean_image, deviation = self.data.statistics
        mean_image = mirrored_mean(mean_image) if self.mirrored else mean_image
        self.network.set_normalisation(mean_image, deviation)
        count = self.network.linear_codes
        if count == 0:
            return
        rows, source = self.data.training_rows, self.data.source
        basis = None
        if self.network.linear_path.in_basis:
            directions = len(self.network.linear_path.analysis)
            basis = energy_basis(self.data.moments, mean_image, self.contrast_weight, directions)
        components = principal_components(rows, mean_image, count, source, basis, self.mirrored)
        self.network.set_linear_path(*components, basis)

    def as_dict(self) -> dict[str, Any]:
        """What the network's architecture does not tell, in plain types."""
        return {"mirrored": self.mirrored, "contrast_weight": self.contrast_weight}


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

    def check(self) -> None:
        """Load the weights into the network.

        Raises:
            InputError: they do not fit, or a person of the data is in their training.
        """
        check_new_people(self.data.rows, self.weights)
        print(self._initialise(torch.zeros_like(self.network.mean_image), 1.0).summary())

    def prepare(self) -> None:
        """Set weights and normalisation.

        Raises:
            InputError: as :meth:`check`.
        """
        check_new_people(self.data.rows, self.weights)
        self._initialisation = self._initialise(*self.data.statistics)

    def as_dict(self) -> dict[str, Any]:
        """Plain types for the record of a run."""
        return {"initialisation": None if self._initialisation is None else self._initialisation.summary()}

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        raise NotImplementedError


class TrunkStart(PretrainedStart):
    """A regressor's trunk starts from random weights, ImageNet's or a DXA-VAE's, its head from the measures' mean.

    Args:
        network: to be trained.
        data: of the training.
        weights: see :func:`dxa_monai.networks.trunk_weights.initialise_trunk`.
        frozen: train the head and the first convolution alone.
    """

    data: MeasuredData

    def __init__(
        self, network: AnthropometryRegressor, data: MeasuredData, weights: str | Path = RANDOM, frozen: bool = False
    ) -> None:
        super().__init__(network, data, weights)
        self.frozen = frozen

    def prepare(self) -> None:
        """Set weights, normalisation and statistics of the measures; freeze what is not trained.

        Raises:
            InputError: as :meth:`check`, or a measure is missing or the same in all training scans.
        """
        super().prepare()
        self.network.set_measure_statistics(*self.data.measure_statistics())
        if self.frozen:
            self.network.freeze_trunk()

    def as_dict(self) -> dict[str, Any]:
        trunk = "frozen" if self.frozen else "fine_tuned"
        return {"initial_weights": str(self.weights), "trunk": trunk} | super().as_dict()

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        return initialise_trunk(self.network, self.weights, mean_image, standard_deviation)


class GeneratorStart(PretrainedStart):
    """A Pseudo-DXA's generator starts from random weights or a DXA-VAE's; its mesh encoder is random.

    Args:
        network: to be trained.
        data: of the training.
        weights: ``"random"`` or the checkpoint of a DXA-VAE.
        frozen_epochs: how many epochs a pretrained generator is kept as it is; a random one has nothing to keep.
    """

    def __init__(
        self, network: PseudoDXA, data: BodyData, weights: str | Path = RANDOM, frozen_epochs: int = 0
    ) -> None:
        super().__init__(network, data, weights)
        self.frozen_epochs = 0 if str(weights) == RANDOM else frozen_epochs

    def as_dict(self) -> dict[str, Any]:
        about = {"generator": str(self.weights), "generator_frozen_epochs": self.frozen_epochs}
        return about | super().as_dict()

    def _initialise(self, mean_image: torch.Tensor, standard_deviation: float) -> Initialisation:
        return initialise_generator(self.network, self.weights, mean_image, standard_deviation)
