"""All DICOM objects of an analysed scan: density, picture, regions, numbers.

::

    output_dir/dicom/
      {scan_id}_density.dcm    Secondary Capture, 16 bits, on the scan's grid
      {scan_id}_picture.dcm    Secondary Capture, RGB: the picture with regions
      {scan_id}_regions.dcm    Segmentation of the density image
      {scan_id}_report.dcm     Comprehensive SR (TID 1500) that refers to both

UIDs follow from what is in the objects: the same analysis of the same scan gives the same UIDs again, and any other
number, region, flag or person others. Dates and times are those of the writing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dxa_monai
from dxa_monai.analysis.composition import BodyComposition
from dxa_monai.analysis.segments import Point
from dxa_monai.dicom.study import PatientStudy, study_of, uid_of
from dxa_monai.files import atomic_path, output_folder
from dxa_monai.terminal import printable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DICOM_FOLDER = "dicom"
"""Below the outputs."""
KINDS = ("density", "picture", "regions", "report")
USE = "Research software, tested on virtual people alone. Not a medical device; not for diagnosis."
_VIRTUAL = "A virtual person: made by a simulator."
_SERIES = {"density": 901, "picture": 902, "regions": 903, "report": 904}
"""Numbers of the series, out of the way of a scanner's."""
_DESCRIPTIONS = {
    "density": "DXA areal density, not for diagnosis",
    "picture": "DXA regions, not for diagnosis",
    "regions": "DXA regions, not for diagnosis",
    "report": "DXA body composition, not for diagnosis",
}
_MOST_COMMENT = 10240


def dicom_names(scan_id: str, pictures: bool) -> list[str]:
    """Files that :func:`write_dicom` may write for a scan, relative to the outputs."""
    return [f"{DICOM_FOLDER}/{scan_id}_{kind}.dcm" for kind in KINDS if pictures or kind != "picture"]


def dicom_paths(written: Mapping[str, Any], folder: str | Path, scan_id: str) -> list[Path]:
    """Where the objects lie that :func:`write_dicom` says it has written."""
    kinds = written.get("sop_instance_uids", {})
    return [Path(folder) / DICOM_FOLDER / f"{scan_id}_{kind}.dcm" for kind in KINDS if kind in kinds]


def write_dicom(
    row: Mapping[str, Any],
    composition: BodyComposition,
    report: Mapping[str, Any],
    pixel_spacing_mm: tuple[float, float],
    folder: str | Path,
    picture: Path | None = None,
    polygons: Mapping[str, Sequence[Point]] | None = None,
) -> dict[str, Any]:
    """Write the objects of a scan. One without numbers has no regions; its flags say why.

    Args:
        row: of the scan, see :func:`dxa_monai.dicom.study.study_of`; one with a ``truth`` is of a virtual person.
        composition: the analysis.
        report: of :func:`dxa_monai.inference.report.as_report`.
        pixel_spacing_mm: (row, column).
        folder: of the outputs; gets ``DICOM_FOLDER``.
        picture: PNG of the analysis; None: no picture.
        polygons: the user's regions in pixels, of which the report has numbers.

    Returns:
        For the report: ``study_instance_uid``, ``sop_instance_uids`` by kind, and ``study_sha256`` of
        :meth:`dxa_monai.dicom.study.PatientStudy.digest`.

    Raises:
        InputError: see :func:`dxa_monai.dicom.study.study_of`, or a file cannot be written.
    """
    from dxa_monai.dicom.images import density_image, picture_image, rgb_of
    from dxa_monai.dicom.measurement_report import report_object
    from dxa_monai.dicom.segmentation import region_masks, regions_object

    study = study_of(row)
    content = hashlib.sha256(json.dumps([study.digest(), report], sort_keys=True).encode())
    content.update(composition.region_map.tobytes() + composition.areal_density_g_cm2.tobytes())
    rgb = None if picture is None else rgb_of(picture)
    content.update(b"" if rgb is None else rgb.tobytes())
    seed = content.hexdigest()

    def common(kind: str) -> dict[str, Any]:
        return _common(kind, seed, study)

    image = density_image(composition.areal_density_g_cm2, pixel_spacing_mm, study, common("density"))
    objects: dict[str, Dataset] = {"density": image}
    _describe(image, report, row, study)
    if rgb is not None:
        objects["picture"] = picture_image(rgb, study, common("picture"))
        _describe(objects["picture"], report, row, study)
    regions = None
    if composition.totals:
        masks = region_masks(composition.region_map, polygons)
        regions = regions_object(masks, image, pixel_spacing_mm, composition.landmarks_given, common("regions"))
        regions.ImageComments = image.ImageComments
        objects["regions"] = regions
    objects["report"] = report_object(report, image, regions, image.ImageComments.split("\n")[0], common("report"))
    output_folder(Path(folder) / DICOM_FOLDER)
    for kind, dataset in objects.items():
        if row.get("truth"):
            dataset.SyntheticData = "YES"
        with atomic_path(Path(folder) / DICOM_FOLDER / f"{row['scan_id']}_{kind}.dcm") as temporary:
            dataset.save_as(temporary, enforce_file_format=True)
    return {
        "study_instance_uid": study.study_instance_uid,
        "study_sha256": study.digest(),
        "sop_instance_uids": {kind: str(dataset.SOPInstanceUID) for kind, dataset in objects.items()},
    }


def _common(kind: str, seed: str, study: PatientStudy) -> dict[str, Any]:
    """What highdicom's objects have in common."""
    return {
        "manufacturer": "dxa_monai",
        "manufacturer_model_name": "dxa_monai",
        "software_versions": dxa_monai.__version__,
        "series_instance_uid": uid_of("series", kind, study.study_instance_uid, seed),
        "series_number": _SERIES[kind],
        "sop_instance_uid": uid_of("instance", kind, study.study_instance_uid, seed),
        "instance_number": 1,
        "series_description": _DESCRIPTIONS[kind],
        "content_qualification": "RESEARCH",
        "specific_character_set": "ISO_IR 192",
    }


def _describe(image: Dataset, report: Mapping[str, Any], row: Mapping[str, Any], study: PatientStudy) -> None:
    """Say what the object is for and what was flagged, and how old, tall and heavy the person is."""
    lines = [f"{USE} {_VIRTUAL}" if row.get("truth") else USE]
    lines += [f"{flag['name']}: {flag['sentence']}" for flag in report["flags"]]
    image.BodyPartExamined = "WHOLEBODY"
    image.ImageComments = "\n".join(printable(line) for line in lines)[:_MOST_COMMENT]
    if study.patient_age:
        image.PatientAge = study.patient_age
    if study.patient_size:
        image.PatientSize = study.patient_size
    if study.patient_weight:
        image.PatientWeight = study.patient_weight
