"""Where the generator of a Pseudo-DXA starts from: random weights or a DXA-VAE's; every tensor accounted for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.checkpoint import describe_mismatch, load_vae
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.networks.shape_maps import CELL_M
from dxa_monai.networks.trunk_weights import RANDOM, Initialisation
from dxa_monai.networks.vae import DXAVAE

logger = logging.getLogger(__name__)

_FITTED = ("shape_path.", "material_path.")
_NOT_OF_THE_ENCODER = ("generator.", "linear_path.", "mean_image", "standard_deviation")


def network_like(
    checkpoint: str | Path,
    encoder: Mapping[str, Any] | None = None,
    shape_components: int = 0,
    material_components: int = 0,
    shape_cell_m: float = CELL_M,
) -> PseudoDXA:
    """A network with a random generator of the architecture of a DXA-VAE's checkpoint; others as of `PseudoDXA.like`.

    Raises:
        InputError: ``"random"`` instead of a file, no such file, or not a checkpoint of a DXA-VAE.
    """
    if str(checkpoint) == RANDOM:
        raise InputError(
            "architecture_of: expected the checkpoint of a DXA-VAE, whose architecture the random generator takes, "
            "got 'random'."
        )
    vae = load_vae(checkpoint)
    if shape_components and vae.linear_codes == 0:
        logger.warning(
            "%s: the generator has no linear path, so there are no components of shape and no maps: the encoder has to "
            "learn all.",
            checkpoint,
        )
    return PseudoDXA.like(vae, encoder, shape_components, material_components, shape_cell_m)


def initialise_generator(
    network: PseudoDXA, weights: str | Path | DXAVAE, mean_image: torch.Tensor, standard_deviation: float
) -> Initialisation:
    """Set where the generator starts from, and the normalisation that belongs to it; the mesh encoder stays random.

    Args:
        network: is changed. Nothing is changed unless every tensor needed is there in its shape.
        weights: ``"random"`` (as the network is), the checkpoint of a DXA-VAE, or a DXA-VAE.
        mean_image: ``(C, H, W)`` of the training scans; a DXA-VAE brings its own.
        standard_deviation: about it; likewise.

    Returns:
        What was loaded (generator, linear path, mean image, standard deviation), skipped (the VAE's encoder) and kept
        (the mesh encoder, and with random weights the generator).

    Raises:
        InputError: no such file, not a checkpoint of a DXA-VAE, or one of another generator.
    """
    expected = network.state_dict()
    kept = {name: "mesh encoder, drawn at random" for name in expected if not name.startswith(_NOT_OF_THE_ENCODER)}
    kept |= {name: "regression from shape, fitted to the training people" for name in kept if name.startswith(_FITTED)}
    if not isinstance(weights, DXAVAE) and str(weights) == RANDOM:
        network.set_normalisation(mean_image, standard_deviation)
        kept |= {name: "drawn at random" for name in expected if name.startswith("generator.")}
        kept |= {name: "data of the training scans" for name in expected if name not in kept}
        return Initialisation(RANDOM, (), {}, kept)
    source = "a DXAVAE" if isinstance(weights, DXAVAE) else str(weights)
    vae = weights if isinstance(weights, DXAVAE) else load_vae(weights)
    state = vae.state_dict()
    found = {name: tensor for name, tensor in state.items() if name.startswith(_NOT_OF_THE_ENCODER)}
    skipped = {name: "encoder of scans" for name in state if name not in found}
    wanted = {name: tensor for name, tensor in expected.items() if name not in kept}
    mismatch = describe_mismatch(wanted, found)
    if mismatch is not None:
        raise InputError(
            f"{source}: expected the {len(wanted)} tensors of this generator, got {len(found)} with {mismatch}; "
            "PseudoDXA.like(vae) has the generator of a VAE."
        )
    network.load_state_dict(found, strict=False)
    return Initialisation(source, tuple(found), skipped, kept)
