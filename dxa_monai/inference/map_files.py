"""The maps that numbers are sums of, as NIfTI files on the scan's grid.

::

    output_dir/maps/
      {scan_id}_fat_g_cm2.nii.gz      float32
      {scan_id}_lean_g_cm2.nii.gz
      {scan_id}_bone_mineral_g_cm2.nii.gz
      {scan_id}_regions.nii.gz        uint8, codes of dxa_monai.scan.regions.Region

A viewer shows them in its coronal pane, on top of a scan that is a NIfTI file itself (:mod:`dxa_monai.scan.coronal`).
"""

from __future__ import annotations

from pathlib import Path

from dxa_monai.analysis.composition import BodyComposition
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.scan.coronal import write_nifti_map
from dxa_monai.scan.regions import Region

MAPS_FOLDER = "maps"
"""Below the outputs."""
MAP_NAMES = ("fat_g_cm2", "lean_g_cm2", "bone_mineral_g_cm2")
"""In the order of :attr:`dxa_monai.analysis.composition.BodyComposition.areal_density_g_cm2`."""
REGIONS_NAME = "regions"
_REGION_CODES = " ".join(f"{region.value} {region.name.lower()}" for region in Region if region)[:79]


def map_names(scan_id: str) -> list[str]:
    """Files that :func:`write_maps` writes for a scan, relative to the outputs."""
    return [f"{MAPS_FOLDER}/{scan_id}_{name}.nii.gz" for name in (*MAP_NAMES, REGIONS_NAME)]


def write_maps(
    composition: BodyComposition, pixel_spacing_mm: tuple[float, float], folder: str | Path, scan_id: str
) -> None:
    """Write the maps of a scan; one without landmarks has regions of 0.

    Args:
        composition: the analysis.
        pixel_spacing_mm: (row, column).
        folder: of the outputs; gets ``MAPS_FOLDER``.
        scan_id: of the scan.

    Raises:
        InputError: a file cannot be written.
    """
    output_folder(Path(folder) / MAPS_FOLDER)
    *densities, regions = (Path(folder) / name for name in map_names(scan_id))
    for path, name, values in zip(densities, MAP_NAMES, composition.areal_density_g_cm2, strict=True):
        with atomic_path(path) as temporary:
            write_nifti_map(values, pixel_spacing_mm, f"{name}, not for diagnosis", temporary)
    with atomic_path(regions) as temporary:
        write_nifti_map(composition.region_map, pixel_spacing_mm, _REGION_CODES, temporary, labels=True)
