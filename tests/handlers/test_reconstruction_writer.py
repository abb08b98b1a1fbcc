from pathlib import Path
from types import SimpleNamespace
from typing import Any

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
    scans: Any = SimpleNamespace(input=source, data=collect_scans(source))
    dataset = Dataset(scans.data, LoadImaged(keys="image", reader=RawDXAReader()))
    SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(dataset, batch_size=2),
        network=Echo(),
        val_handlers=[ReconstructionWriter(output_dir, scans)],
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


def _two_scans(bar_cohort: Path, folder: Path, first: str, second: str) -> None:
    for name, of in ((first, "P00-1"), (second, "P01-1")):
        save_scan(load_scan(bar_cohort.parent / "scans" / f"{of}.npy"), folder / name)


def test_a_command_can_be_repeated(bar_cohort: Path, tmp_path: Path) -> None:
    _two_scans(bar_cohort, tmp_path / "in", "a.npy", "b.npy")
    for _ in range(2):
        _run(tmp_path / "in", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "latents").iterdir()} == {"a.npz", "b.npz"}


def test_two_scans_with_one_latent_file_are_refused_before_anything_is_written(
    bar_cohort: Path, tmp_path: Path
) -> None:
    _two_scans(bar_cohort, tmp_path / "in", "a.npy", "a.nii.gz")
    with pytest.raises(InputError, match=r"out/latents/a\.npz: expected a file of its own for every output, got two"):
        _run(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_outputs_in_the_folder_of_the_scans_are_refused(bar_cohort: Path, tmp_path: Path) -> None:
    _two_scans(bar_cohort, tmp_path / "in", "a.npy", "b.npy")
    for below in ("", "out"):
        with pytest.raises(InputError, match=r"output_dir: expected a folder outside of .*/in, all of whose files"):
            _run(tmp_path / "in", tmp_path / "in" / below)
    assert not list(tmp_path.rglob("reconstructions"))


def test_a_scan_that_lies_where_a_reconstruction_would_is_kept(bar_cohort: Path, tmp_path: Path) -> None:
    _two_scans(bar_cohort, tmp_path / "in", "a.npy", "b.npy")
    _two_scans(bar_cohort, tmp_path / "out" / "reconstructions", "b.npy", "c.npy")
    measured = (tmp_path / "out" / "reconstructions" / "b.npy").read_bytes()
    with pytest.raises(InputError, match=r"reconstructions/b\.npy: expected no such file, or one that this command"):
        _run(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "reconstructions" / "b.npy").read_bytes() == measured
    assert not (tmp_path / "out" / "reconstructions" / "a.npy").exists()
