"""Files of a scan that are written on request: maps and DICOM objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dxa_monai.analysis.composition import BodyComposition
from dxa_monai.analysis.reference_curves import ReferenceCurves
from dxa_monai.analysis.segments import Point
from dxa_monai.dicom.objects import dicom_names, dicom_paths, write_dicom
from dxa_monai.dicom.study import study_of
from dxa_monai.inference.map_files import map_names, write_maps
from dxa_monai.inference.report import with_person


@dataclass(frozen=True)
class ScanFiles:
    """What is asked for.

    Args:
        maps: fat, lean, bone mineral and regions as NIfTI (:mod:`dxa_monai.inference.map_files`).
        dicom: density, picture, regions and numbers (:mod:`dxa_monai.dicom.objects`).
        reference: of the reports; what an earlier one was written with counts.
    """

    maps: bool = False
    dicom: bool = False
    reference: ReferenceCurves | None = None

    def names(self, scan_id: str, pictures: bool) -> list[str]:
        """Files that may be written for a scan, relative to the outputs."""
        return [
            *(map_names(scan_id) if self.maps else ()),
            *(dicom_names(scan_id, pictures) if self.dicom else ()),
        ]

    def all_there(self, earlier: Mapping[str, Any], row: Mapping[str, Any], folder: Path) -> bool:
        """Whether the files that an earlier report says it was written with lie there, of the same person and study.

        Raises:
            InputError: see :func:`dxa_monai.dicom.study.study_of`.
        """
        scan_id = str(row["scan_id"])
        names = map_names(scan_id)
        if self.maps and not (earlier.get("maps") == names and all((folder / name).is_file() for name in names)):
            return False
        if not self.dicom:
            return True
        written = earlier.get("dicom")
        return (
            isinstance(written, dict)
            and with_person(earlier, row, self.reference) == earlier
            and written.get("study_sha256") == study_of(row).digest()
            and all(path.is_file() for path in dicom_paths(written, folder, scan_id))
        )

    def write(
        self,
        row: Mapping[str, Any],
        composition: BodyComposition,
        report: Mapping[str, Any],
        pixel_spacing_mm: tuple[float, float],
        folder: Path,
        pictures: bool,
        polygons: Mapping[str, Sequence[Point]],
    ) -> dict[str, Any]:
        """Write what is asked for.

        Args:
            row: of the scan.
            composition: its analysis.
            report: its report.
            pixel_spacing_mm: (row, column).
            folder: of the outputs.
            pictures: ``{scan_id}.png`` is drawn.
            polygons: the user's regions in pixels.

        Returns:
            What the report says of it.

        Raises:
            InputError: see :func:`dxa_monai.dicom.objects.write_dicom`, or a file cannot be written.
        """
        scan_id = str(row["scan_id"])
        told: dict[str, Any] = {}
        if self.maps:
            write_maps(composition, pixel_spacing_mm, folder, scan_id)
            told["maps"] = map_names(scan_id)
        if self.dicom:
            picture = folder / f"{scan_id}.png" if pictures else None
            told["dicom"] = write_dicom(row, composition, report, pixel_spacing_mm, folder, picture, polygons)
        return told
