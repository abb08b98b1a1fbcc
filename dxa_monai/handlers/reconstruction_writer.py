"""Reconstructions and latent codes on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils.enums import CommonKeys
from tqdm import tqdm

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, path_inside, remove_partial
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import let_go
from dxa_monai.runs.screened_scans import InferenceScans
from dxa_monai.scan.format import PIXEL_SPACING_MM, unit_to_counts
from dxa_monai.scan.io import RawScan, file_stem, save_scan


class ReconstructionWriter:
    """Write what a VAE makes of every scan: ``reconstructions/`` in the format of the scan, and ``latents/``.

    Both repeat the folders that the scans lie in. A latent file ``<scan>.npz`` holds ``mu`` and ``log_variance``,
    float32 ``(latent_channels, rows, columns)``. Every file is whole or not there.

    The batch holds ``image`` (with metadata, so that the pixel spacing is kept) and ``relative``, as
    :func:`dxa_monai.scan.collect.collect_scans` gives it; the network's output is a
    :class:`dxa_monai.networks.vae.VAEOutput`. Reconstructions are clamped to [0, 1], the range of a scan.

    Args:
        output_dir: gets the two folders.
        scans: all that will be read, so that what they become is claimed before the first write
            (:mod:`dxa_monai.runs.outputs`); None: nothing is claimed.

    Raises:
        InputError: the folder cannot be written to; (as the evaluator starts) it lies in the folder of the scans, two
            scans would have one file, or a file is there that no such command made.
    """

    def __init__(self, output_dir: str | Path, scans: InferenceScans | None = None) -> None:
        self.output_dir = output_folder(output_dir)
        for below in ("reconstructions", "latents"):
            remove_partial(self.output_dir / below, *(self.output_dir / below).rglob("*/"))
        self.scans = scans
        self._bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Follow an evaluator."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.write)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Claim what will be written and show a progress bar."""
        if self.scans is not None:
            self._claim(self.scans)
        self._bar = tqdm(total=engine.state.epoch_length, desc="reconstructing", unit="batch")

    def _claim(self, scans: InferenceScans) -> None:
        source, folder = Path(scans.input).resolve(), self.output_dir.resolve()
        if source.is_dir() and folder.is_relative_to(source):
            raise InputError(
                f"output_dir: expected a folder outside of {scans.input}, all of whose files are taken for scans, "
                f"got {self.output_dir}."
            )
        names = [entry["relative"] for entry in scans.data]
        latents = [f"latents/{_latent_name(name)}" for name in names]
        claim_outputs(self.output_dir, [*(f"reconstructions/{name}" for name in names), *latents])

    def write(self, engine: Engine) -> None:
        """Write the scans of a batch."""
        batch: Any = engine.state.batch
        output: Any = engine.state.output
        reconstruction, mu, log_variance = output[CommonKeys.PRED]
        for index, relative in enumerate(batch["relative"]):
            path = path_inside(self.output_dir / "reconstructions", relative)
            image = _array(reconstruction[index].clamp(0.0, 1.0))
            save_scan(
                RawScan(unit_to_counts(np.moveaxis(image, 0, -1)), _spacing_mm(batch[CommonKeys.IMAGE], index)), path
            )
            path = path_inside(self.output_dir / "latents", _latent_name(relative))
            output_folder(path.parent)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, mu=_array(mu[index]), log_variance=_array(log_variance[index]))
        if self._bar is not None:
            self._bar.update()

    def finish(self, engine: Engine) -> None:
        """Say where the files lie."""
        if self._bar is not None:
            self._bar.close()
        let_go(self.output_dir)
        print(f"Reconstructions and latent codes: {self.output_dir}")


def _latent_name(relative: str) -> str:
    return (Path(relative).parent / f"{file_stem(relative)}.npz").as_posix()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return torch.as_tensor(tensor).detach().float().cpu().numpy()


def _spacing_mm(images: torch.Tensor, index: int) -> tuple[float, float]:
    if not isinstance(images, MetaTensor):
        return PIXEL_SPACING_MM
    affine = np.asarray(images.affine, dtype=np.float64)
    spacing = np.linalg.norm((affine[index] if affine.ndim == 3 else affine)[:3, :2], axis=0)
    return float(spacing[0]), float(spacing[1])
