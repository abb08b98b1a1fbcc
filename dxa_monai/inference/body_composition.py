"""Raw scans in; reports, landmarks, pictures and one table out.

::

    output_dir/
      body_composition.csv       one row a scan
      {scan_id}.json             regions, flags, landmarks, scanner, versions
      {scan_id}.png              cut lines and labels
      scans.html, {scan_id}.html pages to hand over, on request
      landmarks/{scan_id}.json   to be edited and passed back
      maps/, dicom/              on request (map_files.py here, dxa_monai.dicom)
      scanner_model.json         where the scanner was calibrated from the scans themselves

What is there and made from the same scan, scanner, landmarks and polygons is kept; a file of one of these names that no
analysis made is not replaced (:mod:`dxa_monai.runs.outputs`).
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dxa_monai.analysis.bone import BoneSettings
from dxa_monai.analysis.composition import METHODS, BodyComposition, check_method
from dxa_monai.analysis.landmarks import Landmarks, read_landmarks, write_landmarks
from dxa_monai.analysis.polygons import read_polygons
from dxa_monai.analysis.reference_curves import ReferenceCurves, read_reference
from dxa_monai.analysis.segments import Point
from dxa_monai.errors import InputError, describe_user_error
from dxa_monai.files import output_folder, remove_partial
from dxa_monai.inference.landmark_finders import RULES, check_finder
from dxa_monai.inference.pages import page_names, write_pages
from dxa_monai.inference.report import (
    FAILED,
    TABLE_NAME,
    as_points,
    as_report,
    identity,
    read_report,
    table_row,
    with_person,
    write_composition_table,
    write_report,
)
from dxa_monai.inference.run_record import note_analysis
from dxa_monai.inference.run_scanner import CALIBRATIONS, SCANNER_MODEL_NAME, scanner_of_run
from dxa_monai.inference.run_summary import refuse_another_scanner, tell_scanner_and_flags, tell_unused_files
from dxa_monai.inference.scan_analysis import ScanAnalysis
from dxa_monai.inference.scan_files import ScanFiles
from dxa_monai.parallel.cluster import run_on_cluster
from dxa_monai.parallel.worker_pool import run_in_processes
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.runs.outputs import claim_outputs
from dxa_monai.runs.ownership import letting_go
from dxa_monai.scan.collect import check_scan_ids, collect_scans
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.quarantine import QUARANTINE_NAME, BadScan, BadScanPolicy
from dxa_monai.scan.source import ScanSource
from dxa_monai.terminal import printable

LANDMARKS = "landmarks"
"""Folder below the outputs."""
Draw = Callable[[BodyComposition, str, tuple[float, float], Mapping[str, Sequence[Point]], Path], Any]
"""Writes a picture: analysis, title, pixel spacing in mm, polygons, path."""


def collect_rows(source: str | Path) -> list[dict[str, Any]]:
    """The scans of a file, folder or manifest as rows with ``scan``, ``scan_id`` and what a manifest knows.

    Raises:
        InputError: there is no such path, it holds no scan, the manifest is faulty, or two scans have one name.
    """
    if Path(source).suffix.lower() == ".csv":
        rows = read_manifest(source)
    else:
        rows = [{"scan": entry["image"], "scan_id": entry["scan_id"]} for entry in collect_scans(source)]
    check_scan_ids(rows)
    return rows


def claim_analysis(
    folder: str | Path,
    rows: Sequence[Mapping[str, Any]],
    pictures: bool,
    calibrates: bool = True,
    quarantines: bool = False,
    landmarks_dir: str | Path | None = None,
    also: Sequence[str] = (),
) -> Path:
    """Claim what an analysis writes, see :func:`dxa_monai.runs.outputs.claim_outputs`.

    Args:
        folder: of the outputs.
        rows: with ``scan_id``.
        pictures: they are drawn.
        calibrates: the scanner of the run is calibrated.
        quarantines: bad scans are listed.
        landmarks_dir: of landmarks that are given, and not found and written.
        also: what the caller writes besides.
    """
    sometimes = {SCANNER_MODEL_NAME: calibrates, QUARANTINE_NAME: quarantines}
    names = [TABLE_NAME, *(name for name, now in sometimes.items() if now), *also]
    for row in rows:
        own = f"{row['scan_id']}.json"
        names += [own, f"{row['scan_id']}.png"] if pictures else [own]
        if landmarks_dir is None or not (Path(landmarks_dir) / own).is_file():
            names.append(f"{LANDMARKS}/{own}")
    return claim_outputs(folder, names, [name for name, now in sometimes.items() if not now])


@letting_go()
def analyse_scans(
    rows: Sequence[Mapping[str, Any]],
    output_dir: str | Path,
    scanner_model: str | Path | None = None,
    calibration: str = "run",
    landmarks_dir: str | Path | None = None,
    polygons_file: str | Path | None = None,
    draw: Draw | None = None,
    source: ScanSource | None = None,
    settings: BoneSettings | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
    policy: BadScanPolicy | None = None,
    set_aside: Sequence[BadScan] = (),
    workers: int = 1,
    cluster: bool = False,
    wheel: WheelSegments | None = None,
    method: str = METHODS[0],
    predicted: bool = False,
    pages: bool = False,
    maps: bool = False,
    dicom: bool = False,
    reference: str | Path | None = None,
    landmark_finder: str = RULES,
    landmark_network: str | Path | None = None,
) -> Path:
    """Analyse scans and write their reports. The terminal says which scanner they were read with and what was flagged.

    Args:
        rows: of :func:`collect_rows`.
        output_dir: folder to write; what is there from the same inputs is kept.
        scanner_model: file of a calibrated scanner; None: ``calibration`` says what is done.
        calibration: one of ``CALIBRATIONS``. "run" takes all scans for scans of one scanner.
        landmarks_dir: folder of edited ``{scan_id}.json``; scans without one, or with one as it was found, have theirs
            found.
        polygons_file: the user's own regions: a file for every scan, or a folder with ``{scan_id}.json`` of each.
        draw: writes the picture of a scan; None: no pictures.
        source: how the scans are read; None: as the files declare.
        settings: how bone is told from soft tissue.
        device: where the maps are computed.
        progress: show a progress bar on stderr.
        policy: whether scans without numbers are an error in the end (None, "stop") or, if they are few, only listed
            in ``quarantine.csv``. They stop no other scan either way.
        set_aside: what an earlier step left out, to be listed and counted too.
        workers: processes; with more than one (or a cluster) they write the reports, which are then collected here.
        cluster: the workers of a Dask cluster do so instead; scans and ``output_dir`` have to be theirs, too. See
            :func:`dxa_monai.parallel.cluster.run_on_cluster`.
        wheel: what the segments of the scanner's wheel are made of, where no ``scanner_model`` says so; None: the
            default.
        method: of ``dxa_monai.analysis.composition.METHODS``, how channels become materials.
        predicted: a network made the scans; see :func:`dxa_monai.analysis.composition.analyse_scan`.
        pages: also write a page for each scan and one for all (:mod:`dxa_monai.inference.pages`).
        maps: also write the maps of a scan (:mod:`dxa_monai.inference.map_files`).
        dicom: also write DICOM objects of a scan (:mod:`dxa_monai.dicom.objects`).
        reference: whom the values are held against, see
            :func:`dxa_monai.analysis.reference_curves.read_reference`; None: nobody.
        landmark_finder: of ``dxa_monai.inference.landmark_finders.FINDERS``, who finds landmarks.
        landmark_network: file of the network that does; not needed for the rules.

    Returns:
        Path of the table.

    Raises:
        InputError: an argument cannot be used, a scan has the name of another output, or a file is there that no
            analysis made (nothing is written then); or, after everything else was written, scans that could not be read
            or have no numbers, or edited landmarks that were not given (the first of them is told, all are listed on
            stderr), or a scanner that no scan is of.
    """
    if calibration not in CALIBRATIONS:
        raise InputError(f"calibration: expected one of {', '.join(CALIBRATIONS)}, got '{calibration}'.")
    check_method(method)
    check_finder(landmark_finder, landmark_network)
    if landmarks_dir is not None and not Path(landmarks_dir).is_dir():
        raise InputError(f"{landmarks_dir}: expected a folder of landmarks, got no such folder.")
    if landmarks_dir is not None:
        tell_unused_files(rows, Path(landmarks_dir), LANDMARKS)

    source = ScanSource() if source is None else source
    if polygons_file is not None:
        _check_polygons(rows, polygons_file, source)
    curves = None if reference is None else read_reference(reference)
    wheel = WheelSegments() if wheel is None else wheel
    on_request = ScanFiles(maps, dicom, curves)
    folder = claim_analysis(
        output_dir,
        rows,
        draw is not None,
        calibration == "run" and scanner_model is None,
        policy is not None and policy.quarantines,
        landmarks_dir,
        [
            *(page_names([str(row["scan_id"]) for row in rows]) if pages else ()),
            *(name for row in rows for name in on_request.names(str(row["scan_id"]), draw is not None)),
        ],
    )
    model = scanner_of_run(rows, folder, scanner_model, calibration, source, wheel)
    settings = BoneSettings() if settings is None else settings
    analysis = ScanAnalysis(
        model,
        polygons_file,
        settings,
        torch.device(device),
        source,
        wheel,
        method,
        predicted,
        landmark_finder,
        None if landmark_finder == RULES else landmark_network,
    )
    note_analysis(folder, rows, analysis, scanner_model, landmarks_dir)
    job = _Job(folder, analysis, landmarks_dir, draw, on_request, reference=curves)
    table, failed, bad, reports = [], [], list(set_aside), []
    apart = cluster or workers > 1
    if apart:
        done = _reports_elsewhere(job, rows, workers, cluster)
        for _ in tqdm(done, total=len(rows), desc="analysing", unit="scan", disable=not progress):
            pass
        remove_partial(folder, folder / LANDMARKS)
    for row in tqdm(rows, desc="collecting" if apart else "analysing", unit="scan", disable=not progress):
        try:
            report = job.report(row)
        except (InputError, OSError, MemoryError) as error:
            reason = (
                describe_user_error(error) or f"{row['scan']}: expected a scan that can be analysed, got '{error}'."
            )
            failed.append(f"{row['scan_id']}: {reason}")
            bad.append(BadScan(row, str(row["scan"]), "inference", reason))
            table.append(identity(row) | {"flags": FAILED})
            continue
        table.append(table_row(report))
        reports.append(report)
        fatal = [flag["sentence"] for flag in report["flags"] if flag["fatal"]]
        if fatal:
            failed.append(f"{row['scan_id']}: {fatal[0]}")
            bad.append(BadScan(row, str(row["scan"]), "inference", fatal[0]))
    path = folder / TABLE_NAME
    write_composition_table(table, path, job.polygon_names, curves)
    print(f"Body composition of {len(rows) - len(failed)} of {len(rows)} scans: {path}")
    if pages:
        print(f"Pages: {write_pages(reports, folder, curves)}")
    tell_scanner_and_flags(reports, scanner_model)
    for sentence in failed:
        print(printable(sentence), file=sys.stderr)
    refuse_another_scanner(reports, folder / SCANNER_MODEL_NAME if scanner_model is None else scanner_model)
    if policy is not None and policy.quarantines:
        policy.apply(bad, len(rows) + len(set_aside), folder)
    elif failed:
        raise InputError(
            f"{path}: expected numbers of all {len(rows)} scans, got none of {len(failed)}, first {failed[0]}"
        )
    return path


def _reports_elsewhere(
    job: _Job, rows: Sequence[Mapping[str, Any]], workers: int, cluster: bool
) -> Generator[Any, None, None]:
    """Let other processes write the reports of scans; yields when one is done. What cannot be read is told later."""
    if cluster:
        rows = [{**row, "scan": os.path.abspath(row["scan"])} for row in rows]
        return run_on_cluster(_write_report, rows, (job.for_other_machines(),))
    return run_in_processes(_write_report, rows, (job,), workers)


def _write_report(row: Mapping[str, Any], job: _Job) -> None:
    torch.set_num_threads(1)
    with suppress(InputError, OSError, MemoryError):
        job.report(row)


@dataclasses.dataclass
class _Job:
    """What is the same for every scan of a run."""

    folder: Path
    analysis: ScanAnalysis
    landmarks_dir: str | Path | None
    draw: Draw | None
    on_request: ScanFiles
    polygon_names: tuple[str, ...] = ()
    reference: ReferenceCurves | None = None

    def for_other_machines(self) -> _Job:
        """The same with whole paths: the workers of a cluster run in folders of their own."""
        landmarks_dir = None if self.landmarks_dir is None else os.path.abspath(self.landmarks_dir)
        polygons_file = self.analysis.polygons_file
        polygons_file = None if polygons_file is None else os.path.abspath(polygons_file)
        network = self.analysis.landmark_network
        network = None if network is None else os.path.abspath(network)
        analysis = dataclasses.replace(self.analysis, polygons_file=polygons_file, landmark_network=network)
        return dataclasses.replace(self, folder=self.folder.absolute(), analysis=analysis, landmarks_dir=landmarks_dir)

    def report(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Analyse one scan and write its files, unless they are there; its report."""
        scan_id = str(row["scan_id"])
        scan = self.analysis.read(row["scan"], scan_id)
        spacing, polygons = scan.pixel_spacing_mm, scan.polygons
        self.polygon_names = tuple(dict.fromkeys([*self.polygon_names, *polygons]))
        given = self._given_landmarks(scan_id, scan.shape)
        json_path, png_path = self.folder / f"{scan_id}.json", self.folder / f"{scan_id}.png"
        earlier = read_report(json_path)
        drawn = self.draw is None or png_path.is_file()
        if earlier is not None and drawn and self.on_request.all_there(earlier, row, self.folder):
            found_then = not earlier["landmarks_given"] and earlier["inputs_sha256"] == scan.fingerprint(None)
            if found_then and given is None:
                self._refuse_unused_edits(scan_id, [earlier["landmarks"]])
            as_found = found_then and (given is None or as_points(given) == earlier["landmarks"])
            if as_found or (given is not None and earlier["inputs_sha256"] == scan.fingerprint(given)):
                # The scan is the same; what a manifest says of the person may have changed.
                report = with_person(earlier, row, self.reference)
                if report != earlier:
                    report.pop("dicom", None)  # its objects are of the person as known then
                    write_report(report, json_path)
                return report
        composition = scan.composition(None)
        if given is None and composition.landmarks is not None:
            self._write_landmarks(composition.landmarks, scan_id, earlier)
        elif given is not None:
            found = composition.landmarks
            if found is not None and as_points(found) == as_points(given):
                given = None  # nobody has edited them
            else:
                composition = scan.composition(given)
        report = as_report(row, composition, scan.model, scan.fingerprint(given), self.reference)
        if self.draw is not None:
            self.draw(composition, _title(scan_id, composition), spacing, polygons, png_path)
        report |= self.on_request.write(row, composition, report, spacing, self.folder, self.draw is not None, polygons)
        write_report(report, json_path)
        return report

    def _given_landmarks(self, scan_id: str, shape: tuple[int, int]) -> Landmarks | None:
        if self.landmarks_dir is None:
            return None
        path = Path(self.landmarks_dir) / f"{scan_id}.json"
        return read_landmarks(path, shape) if path.is_file() else None

    def _write_landmarks(self, landmarks: Landmarks, scan_id: str, earlier: Mapping[str, Any] | None) -> None:
        """Write the landmarks found, but never over those that a person has edited."""
        before = None if earlier is None or earlier["landmarks_given"] else earlier["landmarks"]
        self._refuse_unused_edits(scan_id, [as_points(landmarks), before])
        write_landmarks(landmarks, output_folder(self.folder / LANDMARKS) / f"{scan_id}.json")

    def _refuse_unused_edits(self, scan_id: str, found: Sequence[Mapping[str, Any] | None]) -> None:
        """Refuse landmarks beside the outputs that are none of those found: somebody has edited them to be used."""
        path = self.folder / LANDMARKS / f"{scan_id}.json"
        if path.is_file() and as_points(read_landmarks(path)) not in found:
            raise InputError(
                f"{path}: expected no landmarks or those found before, got edited ones; "
                f"use them with --landmarks {path.parent}, or move them away."
            )


def _title(scan_id: str, composition: BodyComposition) -> str:
    totals = composition.totals
    scan_id = printable(scan_id)
    if not totals:
        return f"{scan_id}: no numbers ({', '.join(flag.name for flag in composition.flags if flag.fatal)})"
    numbers = (
        f"fat {totals['total_fat_g'] / 1000:.1f} kg ({totals['total_fat_percent']:.1f} %), lean "
        f"{totals['total_lean_g'] / 1000:.1f} kg, BMC {totals['total_bmc_g']:.0f} g, "
        f"BMD {totals['total_bmd_g_cm2']:.2f} g/cm2"
    )
    flags = ", ".join(flag.name for flag in composition.flags)
    return f"{scan_id}: {numbers}" + (f"\n{flags}" if flags else "")


def _check_polygons(rows: Sequence[Mapping[str, Any]], path: str | Path, source: ScanSource) -> None:
    """Refuse faulty polygons of every scan before the first is analysed, rather than once for each."""
    if Path(path).is_dir():
        tell_unused_files(rows, Path(path), "polygons")
        return
    for row in rows:
        try:
            scan = source.read(row["scan"])
        except InputError:
            continue
        read_polygons(path, (scan.counts.shape[0], scan.counts.shape[1]), scan.pixel_spacing_mm)
        return
