"""The numbers of an analysis as a Comprehensive SR (PS3.3 A.35.3) with a measurement report (PS3.16 TID 1500).

Each region is a planar group (TID 1410) that refers to its segment. A scan without numbers has one group of the whole
image (TID 1501) without measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from highdicom.sc import SCImage
from highdicom.seg import Segmentation
from highdicom.sr import (
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegmentationFrame,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes

import dxa_monai
from dxa_monai.analysis.indices import INDICES
from dxa_monai.dicom.codes import (
    ANALYSIS,
    FLAG,
    INDEX_CODES,
    INTENDED_USE,
    POLYGON_SITE,
    PROCEDURE,
    QUALITATIVE_EVALUATIONS,
    QUANTITY_CODES,
    REPORTED_PROCEDURE,
    SITES,
    UNIT_CODES,
)
from dxa_monai.dicom.study import uid_of

_WHOLE_BODY = "total"


def report_object(
    report: Mapping[str, Any],
    image: SCImage,
    regions: Segmentation | None,
    use: str,
    common: Mapping[str, Any],
) -> ComprehensiveSR:
    """The report of a scan; quantities that have no number are left out.

    Args:
        report: of :func:`dxa_monai.inference.report.as_report`.
        image: of the scan, which whole-image groups refer to.
        regions: of the scan; None where it has no numbers: the flags say why.
        use: what the numbers are for, and what not.
        common: what all objects of a scan have, for highdicom.
    """
    groups = [_group(name, numbers, report, image, regions) for name, numbers in report["regions"].items()]
    if not groups:
        groups = [_group(_WHOLE_BODY, {}, report, image, None)]
    device = DeviceObserverIdentifyingAttributes(
        uid=uid_of("device", "dxa_monai"), name="dxa_monai", manufacturer_name="dxa_monai", model_name="dxa_monai"
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=REPORTED_PROCEDURE,
        imaging_measurements=groups,
    )
    content[0].ContentSequence.append(_texts(report, use))
    evidence = [image] if regions is None else [image, regions]
    return ComprehensiveSR(
        evidence,
        content[0],
        is_complete=bool(report["regions"]),
        performed_procedure_codes=[PROCEDURE],
        **common,
    )


def _group(
    name: str, numbers: Mapping[str, Any], report: Mapping[str, Any], image: SCImage, regions: Segmentation | None
) -> PlanarROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations:
    site, side = SITES.get(name, (POLYGON_SITE, None))
    units = report["units"]
    measured = [
        Measurement(code, float(numbers[quantity]), UNIT_CODES[units[quantity]])
        for quantity, code in QUANTITY_CODES.items()
        if numbers.get(quantity) is not None
    ]
    if name == _WHOLE_BODY:
        measured += [
            Measurement(code, float(report["indices"][index]), UNIT_CODES[INDICES[index].unit])
            for index, code in INDEX_CODES.items()
            if report["indices"].get(index) is not None
        ]
    about: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid_of("region", image.SOPInstanceUID, name), name),
        "finding_sites": [FindingSite(site, side)],
        "measurements": measured,
    }
    if regions is not None:
        number = next(int(each.SegmentNumber) for each in regions.SegmentSequence if each.TrackingID == name)
        source = SourceImageForSegmentation(image.SOPClassUID, image.SOPInstanceUID)
        segment = ReferencedSegmentationFrame(regions.SOPClassUID, regions.SOPInstanceUID, number, number, source)
        # the frame says which segment it is; both together are not allowed (PS3.3 C.18.4)
        del segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **about)
    whole = SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
    return MeasurementsAndQualitativeEvaluations(source_images=[whole], **about)


def _texts(report: Mapping[str, Any], use: str) -> ContainerContentItem:
    """Intended use, program and flags, as TID 1500 has qualitative evaluations in words."""
    contains = RelationshipTypeValues.CONTAINS
    container = ContainerContentItem(CodedConcept.from_code(QUALITATIVE_EVALUATIONS), relationship_type=contains)
    program = f"dxa_monai {dxa_monai.__version__}, method {report['method']}"
    container.ContentSequence = ContentSequence(
        [TextContentItem(INTENDED_USE, use, contains), TextContentItem(ANALYSIS, program, contains)]
    )
    for flag in report["flags"]:
        container.ContentSequence.append(TextContentItem(FLAG, f"{flag['name']}: {flag['sentence']}", contains))
    return container
