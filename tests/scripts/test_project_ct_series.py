"""A CT series without labels becomes a map: a block of muscle with a rod of bone, a lung and a speck of contrast."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from scripts.project_ct_series import main

SPACING_MM = (2.0, 2.0, 5.0)  # right to left, back to front, feet to head


def volume() -> np.ndarray:
    """``(left to right, back to front, feet to head)`` in Hounsfield units."""
    ct = np.full((60, 50, 12), -1000, dtype=np.int16)
    ct[10:50, 10:40] = 55
    ct[20:26, 20:26] = 600  # bone, to the person's right of the middle: low x in left-to-right order is the left
    ct[35:45, 15:35] = -800  # lung
    ct[12, 12, 5] = 300  # contrast medium
    return ct


@pytest.fixture
def series(tmp_path: Path) -> Path:
    path = tmp_path / "series.nii.gz"
    # x runs to the patient's left in LPS files; a canonical one runs to the right
    nibabel.save(nibabel.Nifti1Image(volume(), np.diag([*SPACING_MM, 1.0])), path)
    return path


def test_bone_lung_and_muscle_are_told_apart(series: Path, tmp_path: Path) -> None:
    main([str(series), "--bone_hu", "160", "--output", str(tmp_path / "map.npz")])
    with np.load(tmp_path / "map.npz") as stored:
        maps, spacing = stored["areal_density_g_cm2"].astype(float), stored["spacing_mm"]
    np.testing.assert_array_equal(spacing, [5.0, 2.0])
    assert maps.shape == (3, 12, 60)
    fat, lean, mineral = maps
    columns = np.flatnonzero(mineral[0] > 0.1)
    # right to left: the volume's last column comes first
    assert (columns.min(), columns.max()) == (60 - 26, 60 - 21)
    assert (mineral[:, :30] < 0.01).all()  # the speck is no bone
    muscle_g_cm2 = 1.067 * 30 * 0.2
    np.testing.assert_allclose((fat + lean)[:, 60 - 30], muscle_g_cm2, rtol=0.01)
    assert (lean[0, 60 - 40] < 0.7 * muscle_g_cm2).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.nii.gz", "--output", "map.npz"], r"missing.nii.gz: expected a NIfTI volume"),
        (["air.nii.gz", "--output", "map.npz"], "expected a body in Hounsfield units, got nothing dense"),
        (["flat.nii.gz", "--output", "map.npz"], "expected a volume of 3 axes, got 2"),
        (["air.nii.gz", "--output", "there.npz"], "there.npz: expected a new file, got one that exists"),
    ],
)
def test_what_cannot_be_projected_is_told_in_a_sentence(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.full((9, 9, 9), -1000, dtype=np.int16), np.eye(4)), "air.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9), dtype=np.int16), np.eye(4)), "flat.nii.gz")
    Path("there.npz").write_bytes(b"mine")
    with pytest.raises(SystemExit, match=message):
        main(arguments)
    assert Path("there.npz").read_bytes() == b"mine"
