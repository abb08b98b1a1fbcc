"""Where a trunk starts from: random weights, ImageNet's or a pretrained DXA-VAE's; every tensor accounted for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import CHECKPOINT_KEYS, describe_mismatch, load_tensors
from dxa_monai.networks.imagenet import download_state_dict
from dxa_monai.networks.regressor import AnthropometryRegressor
from dxa_monai.networks.tensor_checks import refuse_odd_numbers

RANDOM, IMAGENET = "random", "imagenet"

_VAE_SKIPPED = {
    "encoder.mu_head.": "head of the latent code",
    "encoder.log_variance_head.": "head of the latent code",
    "generator.": "generator",
    "linear_path.": "linear path of the VAE",
}
"""Tensors of a DXA-VAE that a regressor has no place for, by the start of their names."""
_TORCHVISION_SKIPPED = {"classifier.": "classifier of ImageNet"}
_NORMALISATION = ("mean_image", "standard_deviation")
# torchvision names a dense layer's parts norm1, conv1, ...; its published files still have norm.1, conv.1, ...
_DENSE_LAYER_PART = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12])\.")


@dataclass(frozen=True)
class Initialisation:
    """What became of the tensors of a file and of the trunk."""

    source: str
    """``random``, ``imagenet`` or a path."""
    loaded: tuple[str, ...]
    """Names of the network's tensors that came from the file."""
    skipped: dict[str, str]
    """Names of the file's tensors that were not used, and why."""
    kept: dict[str, str]
    """Names of the trunk's tensors that did not come from the file, and why."""

    def summary(self) -> str:
        """One line for people."""
        reasons: dict[str, int] = {}
        for reason in self.skipped.values():
            reasons[reason] = reasons.get(reason, 0) + 1
        skipped = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "none"
        return f"{self.source}: {len(self.loaded)} tensors loaded, skipped {skipped}; {len(self.kept)} as they were"


def initialise_trunk(
    network: AnthropometryRegressor, weights: str | Path, mean_image: torch.Tensor, standard_deviation: float
) -> Initialisation:
    """Set where the trunk starts from, and the normalisation of the scans that belongs to it.

    Args:
        network: is changed; its head is not. Nothing is changed unless every tensor needed is there in its shape.
        weights: ``"random"`` (as the network is); ``"imagenet"`` (torchvision's DenseNet-121, downloaded once); or a
            file: a checkpoint of bundles/dxa_vae or a state dict of torchvision's DenseNet-121.
        mean_image: ``(C, H, W)`` of the training scans; a DXA-VAE brings its own.
        standard_deviation: about it; likewise.

    Returns:
        What was loaded, skipped and kept.

    Raises:
        InputError: the file is none of these, holds tensors that nobody knows, or does not fit the trunk.
    """
    network.set_normalisation(mean_image, standard_deviation)
    expected = {name: tensor for name, tensor in network.state_dict().items() if name.startswith("trunk.")}
    if str(weights) == RANDOM:
        return Initialisation(RANDOM, (), {}, dict.fromkeys(expected, "drawn at random"))
    content = _download_imagenet() if str(weights) == IMAGENET else load_tensors(weights)
    if isinstance(content, dict) and set(content) == CHECKPOINT_KEYS and isinstance(content["state"], dict):
        expected |= {name: getattr(network, name) for name in _NORMALISATION}
        found, skipped = _of_vae(content["state"], weights)
        kept: dict[str, str] = {}
    else:
        found, skipped = _of_torchvision(content, weights)
        kept = {
            name: "scans have six channels, photographs three: trained"
            for name in expected
            if name.startswith("trunk.to_three_channels.")
        } | {
            name: "a counter that the file does not hold"
            for name in expected
            if name.endswith("num_batches_tracked") and name not in found
        }
    wanted = {name: tensor for name, tensor in expected.items() if name not in kept}
    mismatch = describe_mismatch(wanted, found)
    if mismatch is not None:
        raise InputError(
            f"{weights}: expected the {len(wanted)} tensors of this trunk, got {len(found)} with {mismatch}; "
            "network_def needs the block_config, growth_rate and init_features that the weights were trained with."
        )
    refuse_odd_numbers(found, weights)
    network.load_state_dict(found, strict=False)
    return Initialisation(str(weights), tuple(found), skipped, kept)


def _of_vae(state: dict[str, Any], source: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    found, skipped = {}, {}
    for name, tensor in state.items():
        reason = _reason(name, _VAE_SKIPPED)
        if reason is not None:
            skipped[name] = reason
        elif name.startswith(("encoder.to_three_channels.", "encoder.trunk.")):
            found["trunk." + name.removeprefix("encoder.")] = tensor
        elif name in _NORMALISATION:
            found[name] = tensor
        else:
            raise InputError(f"{source}: expected the tensors of a DXA-VAE, got one named '{name}'.")
    return found, skipped


def _of_torchvision(state: Any, source: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    if not isinstance(state, dict):
        raise InputError(
            f"{source}: expected a checkpoint of a DXA-VAE or torchvision's DenseNet-121, got {type(state).__name__}."
        )
    found, skipped = {}, {}
    for name, tensor in state.items():
        reason = _reason(str(name), _TORCHVISION_SKIPPED)
        if reason is not None:
            skipped[name] = reason
        elif str(name).startswith("features."):
            inside = _DENSE_LAYER_PART.sub(r"\1.layers.\2\3.", name.removeprefix("features."))
            found[f"trunk.trunk.{inside}"] = tensor
        else:
            raise InputError(
                f"{source}: expected a checkpoint of a DXA-VAE or torchvision's DenseNet-121, "
                f"got a tensor named '{name}'."
            )
    return found, skipped


def _reason(name: str, skipped: dict[str, str]) -> str | None:
    return next((reason for start, reason in skipped.items() if name.startswith(start)), None)


def _download_imagenet() -> dict[str, Any]:
    # Imported here: torchvision takes a second to import and only this choice of weights needs it.
    from torchvision.models import DenseNet121_Weights

    return download_state_dict(DenseNet121_Weights.IMAGENET1K_V1, "DenseNet-121", "or leave the arm out")
