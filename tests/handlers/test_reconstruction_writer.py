from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.transforms import LoadImaged

from dxa_monai.errors import InputError
from dxa_monai.handlers.reconstruction_writer import ReconstructionWriter
from dxa_monai.networks.vae import VAEOutput
from dxa_monai.scan.collect import collect_scans
from dxa_monai.scan.io import RawScan, load_scan, save_scan
from dxa_monai.scan.reader import RawDXAReader


class Echo(torch.nn.Module):
    """Gives the scan itself, and latents that say which it was."""

    def forward(self, x: torch.Tensor) -> VAEOutput:
        code = x.mean(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)
        return VAEOutput(x, code, code - 1.0)


def _run(source: Path, output_dir: Path) -> None:
    dataset = Dataset(collect_scans(source), LoadImaged(keys="image", reader=RawDXAReader()))
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=2),
        network=Echo(),
        val_handlers=[ReconstructionWriter(output_dir)],
        decollate=False,
    ).run()


@pytest.mark.parametrize("ending", [".npy", ".npz", ".nii.gz", ".nrrd"])
def test_reconstruction_has_the_format_and_spacing_of_its_scan(bar_cohort: Path, tmp_path: Path, ending: str) -> None:
    spacing = (13.0, 6.06) if ending == ".npy" else (12.5, 6.3)
    for name in ("a", "sub/b", "sub/c"):
        scan = load_scan(bar_cohort.parent / "scans" / "P00-1.npy")
        save_scan(RawScan(scan.counts, spacing), tmp_path / "in" / f"{name}{ending}")
    _run(tmp_path / "in", tmp_path / "out")
    for name in ("a", "sub/b", "sub/c"):
        given = load_scan(tmp_path / "in" / f"{name}{ending}")
        made = load_scan(tmp_path / "out" / "reconstructions" / f"{name}{ending}")
        np.testing.assert_array_equal(made.counts, given.counts)
        assert made.pixel_spacing_mm == pytest.approx(spacing)
        latents = np.load(tmp_path / "out" / "latents" / f"{name}.npz")
        assert latents["mu"].item() == pytest.approx(given.counts.mean() / 16383, rel=1e-5)
        assert latents["log_variance"].item() == pytest.approx(latents["mu"].item() - 1.0)


def test_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        ReconstructionWriter(tmp_path / "file")
