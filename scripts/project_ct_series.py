"""Makes a map of ``tests/data/real_ct`` from the CT series that it came from: ``python -m scripts.project_ct_series``.

The series are public (The Cancer Imaging Archive; README beside the maps) and are not part of this repository. Convert
one to NIfTI in Hounsfield units, for example with dcm2niix, and call

    python -m scripts.project_ct_series chest.nii.gz --bone_hu 160 --output chest_cptac_pda.npz
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path
from dxa_monai.terminal import errors_as_sentence
from scripts.ct_projection import LabelledCT, body_mask_of, label_by_brightness, load_volume, project


def project_series(volume: str | Path, bone_hu: float, output: str | Path) -> Path:
    """Write ``areal_density_g_cm2``, float16 ``(3, rows, columns)`` of fat, lean and bone mineral, and ``spacing_mm``.

    Args:
        volume: NIfTI file in Hounsfield units.
        bone_hu: see :func:`scripts.ct_projection.label_by_brightness`.
        output: npz file; one that is there is not replaced.

    Raises:
        InputError: the volume cannot be read, nobody is in it, or ``output`` exists.
    """
    path = Path(output)
    if path.exists():
        raise InputError(f"{path}: expected a new file, got one that exists.")
    hounsfield, spacing_mm = load_volume(volume)
    body = body_mask_of(hounsfield)
    if not body.any():
        raise InputError(f"{volume}: expected a body in Hounsfield units, got nothing dense.")
    bone, lung = label_by_brightness(hounsfield, body, bone_hu)
    maps = project(LabelledCT(hounsfield, bone, lung, spacing_mm), body)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, areal_density_g_cm2=maps.astype(np.float16), spacing_mm=np.array([spacing_mm[0], spacing_mm[2]])
        )
    return path


@errors_as_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Project one series.

    Args:
        arguments: instead of those of the command line.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--bone_hu", type=float, default=160.0, help="above contrast medium; default: 160, with it 250")
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    print(project_series(chosen.volume, chosen.bone_hu, chosen.output))


if __name__ == "__main__":
    main()
