"""Who finds the landmarks of a scan: the rules, a network, or a network where the rules find none."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from dxa_monai.analysis.landmark_finder import LandmarkFinder, LandmarkResult, find_landmarks
from dxa_monai.analysis.landmarks import LANDMARK_NAMES, landmarks_from_points
from dxa_monai.analysis.upright import BoolArray, FloatArray
from dxa_monai.errors import InputError
from dxa_monai.input_files import open_input
from dxa_monai.networks.checkpoint import load_landmark_network
from dxa_monai.networks.landmark_grid import LandmarkGrid, landmark_channels
from dxa_monai.networks.landmark_net import LandmarkNetwork, locate

RULES = "rules"
FINDERS = (RULES, "network", "rules_then_network")
"""The rules are :func:`dxa_monai.analysis.landmark_finder.find_landmarks`."""
LEAST_PRESENCE = 0.5
"""Of every landmark: with less, the network does not see it in the field, and there are no cut lines."""


class NetworkFinder:
    """Landmarks by a network; it finds none where it does not see them all, or sees them where they cannot be.

    Args:
        network: a trained one.

    Raises:
        InputError: it was trained on other landmarks.
    """

    def __init__(self, network: LandmarkNetwork) -> None:
        if set(network.landmarks) != set(LANDMARK_NAMES):
            raise InputError(
                f"landmark_network: expected a network of the {len(LANDMARK_NAMES)} landmarks, got one of "
                f"{len(network.landmarks)} others."
            )
        self.network = network.eval()

    def points(
        self, areal_density_g_cm2: FloatArray, body: BoolArray, pixel_spacing_mm: tuple[float, float]
    ) -> tuple[FloatArray, FloatArray]:
        """The network's landmarks, ``(L, 2)`` (row, column) in pixels, and ``(L,)`` how probably each is in the field.

        Args:
            areal_density_g_cm2: ``(3, H, W)`` fat, lean and bone mineral.
            body: ``(H, W)`` bool.
            pixel_spacing_mm: (row, column).
        """
        grid = LandmarkGrid((body.shape[0], body.shape[1]), pixel_spacing_mm, self.network.cell_mm)
        cells = grid.cells(landmark_channels(areal_density_g_cm2, body))
        device = next(self.network.parameters()).device
        with torch.no_grad():
            found = locate(self.network(cells[None].to(device)))
        return grid.to_pixels(found.cells[0].cpu().numpy()), found.presence[0].cpu().double().numpy()

    def __call__(
        self, areal_density_g_cm2: FloatArray, body: BoolArray, pixel_spacing_mm: tuple[float, float]
    ) -> LandmarkResult:
        """The landmarks of one scan; arguments as those of the rules."""
        points, presence = self.points(areal_density_g_cm2, body, pixel_spacing_mm)
        if presence.min() < LEAST_PRESENCE:
            return LandmarkResult(None, ("not_seen_by_network",))
        shape = (int(body.shape[0]), int(body.shape[1]))
        inside = np.clip(points, -0.5, np.array(shape) - 0.5)
        named = {
            name: (float(row), float(column))
            for name, (row, column) in zip(self.network.landmarks, inside, strict=True)
        }
        try:
            return LandmarkResult(landmarks_from_points(named, shape), ("placed_by_network",))
        except InputError:
            return LandmarkResult(None, ("landmarks_inconsistent",))


class RulesThenNetwork:
    """Landmarks by the rules; where they find none, by a network, if that sees them all.

    Args:
        network: what is asked then.
    """

    def __init__(self, network: NetworkFinder) -> None:
        self.network = network

    def __call__(
        self, areal_density_g_cm2: FloatArray, body: BoolArray, pixel_spacing_mm: tuple[float, float]
    ) -> LandmarkResult:
        """The landmarks of one scan; arguments as those of the rules. Flags say why the rules found none."""
        by_rules = find_landmarks(areal_density_g_cm2, body, pixel_spacing_mm)
        if by_rules.landmarks is not None:
            return by_rules
        by_network = self.network(areal_density_g_cm2, body, pixel_spacing_mm)
        if by_network.landmarks is None:
            return by_rules
        return LandmarkResult(by_network.landmarks, (*by_rules.flags, *by_network.flags))


def check_finder(name: str, network: str | Path | None) -> None:
    """Refuse a finder that there is not, or one without its network.

    Raises:
        InputError: it names what was expected.
    """
    if name not in FINDERS:
        raise InputError(f"landmark_finder: expected one of {', '.join(FINDERS)}, got '{name}'.")
    if name != RULES and network is None:
        raise InputError(f"landmark_network: expected the network that {name} asks, got None.")
    if name != RULES:
        landmark_finder(name, network)


def landmark_finder(name: str, network: str | Path | None = None) -> LandmarkFinder:
    """The finder of a name of ``FINDERS``; a network is read once.

    Args:
        name: of the finder.
        network: file of a :class:`dxa_monai.networks.landmark_net.LandmarkNetwork`; None for the rules.

    Raises:
        InputError: it is no file of such a network.
    """
    if name == RULES or network is None:
        return find_landmarks
    asked = _network_finder(*_state(network))
    return asked if name == "network" else RulesThenNetwork(asked)


def finder_record(name: str, network: str | Path | None) -> dict[str, str]:
    """What a scan's numbers depend on: nothing for the rules, or the finder and the SHA-256 of its network."""
    if name == RULES or network is None:
        return {}
    return {"landmark_finder": name, "landmark_network": _sha256(*_state(network))}


def _state(path: str | Path) -> tuple[str, int, int]:
    """A path and what tells that the file has changed."""
    try:
        about = Path(path).stat()
    except OSError:
        return str(path), 0, 0
    return str(path), about.st_mtime_ns, about.st_size


@lru_cache(maxsize=4)
def _network_finder(path: str, modified_ns: int, size: int) -> NetworkFinder:
    return NetworkFinder(load_landmark_network(path))


@lru_cache(maxsize=4)
def _sha256(path: str, modified_ns: int, size: int) -> str:
    with open_input(path, None, "a file of network weights") as file:
        return hashlib.sha256(file.read()).hexdigest()
