"""The command that writes a network as a file of ``torch.export``; see ``configs/export.json`` of the bundles."""

from __future__ import annotations

from pathlib import Path

import torch

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.networks.checkpoint import load_network
from dxa_monai.networks.exported import exportable, exported_program, loaded_program
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.transforms.point_clouds import CLOUD_POINTS

SUFFIX = ".pt2"


@letting_go()
def export_network(checkpoint: str | Path, output: str | Path, points: int = CLOUD_POINTS) -> Path:
    """Write the program of a checkpoint, which ``torch.export.load(output).module()`` runs.

    Before the file gets its name it is read again, and has to give what the network gives, bit for bit.

    Args:
        checkpoint: by :func:`dxa_monai.networks.checkpoint.save_network`.
        output: a file that ends in ``.pt2``.
        points: of each body, for a mesh-to-scan network.

    Returns:
        ``output``.

    Raises:
        InputError: the checkpoint is none, ``output`` has another ending or is a file that this command did not make,
            or the program gives something else than the network.
    """
    output = Path(output)
    if output.suffix != SUFFIX:
        raise InputError(f"output: expected a name that ends in {SUFFIX}, got {output}.")
    of = exportable(load_network(checkpoint), points)
    claim_outputs(output.parent, [output.name])
    program = exported_program(of)
    inputs = torch.cat([of.example, of.example.flip(-1)])
    with atomic_path(output) as temporary, torch.no_grad():
        torch.export.save(program, temporary)
        off = float((loaded_program(temporary)(inputs) - of.module(inputs)).abs().max())
        if off != 0.0:
            raise InputError(f"{output}: expected what the network gives, got a program that is off by {off:.3g}.")
    sizes = ", ".join(str(size) for size in of.example.shape[1:])
    print(f"Program: {output}, of inputs (any number, {sizes}); torch.export.load('{output}').module()(inputs) runs it")
    return output
