"""A virtual cohort on disk: scans, truth, meshes, a manifest, and a record of how they were made.

::

    output_dir/
      manifest.csv            one row a scan
      cohort.json             seed, count, acquisition, measures, versions, people refused and re-posed, content hash
      scans/{scan_id}.npy     uint16 (150, 109, 6)
      truth/{scan_id}.npz     areal_density_g_cm2 float32 (3, 150, 109), region_map uint8, pixel_spacing_mm,
                              landmarks (24, 2) (row, column) in pixels
      meshes/{subject_id}.ply T-pose mesh
      people/{subject_id}.json  written last for each person: its manifest rows and file hashes

Every person depends on the seed and the person's index alone, so neither the number of workers nor an interruption nor
the number of people changes a byte of the others.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import dxa_monai
from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, output_folder, remove_partial
from dxa_monai.input_files import read_object
from dxa_monai.parallel.cluster import run_on_cluster
from dxa_monai.parallel.worker_pool import run_in_processes
from dxa_monai.phantom.body.mesh import write_ply
from dxa_monai.phantom.conditions import check_conditions
from dxa_monai.phantom.people.population import sample_person
from dxa_monai.phantom.simulate import PersonRecord, Simulator
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.runs.ownership import letting_go, own_folder
from dxa_monai.scan.io import RawScan, save_scan
from dxa_monai.scan.manifest import write_manifest
from dxa_monai.scan.measures import BODY_MEASURES, PAPER_MEASURES

MANIFEST_NAME = "manifest.csv"
COHORT_NAME = "cohort.json"
_SETTINGS_NAME = "settings.json"
_OWN_NAMES = (MANIFEST_NAME, COHORT_NAME, "contact_sheet.png", "scans", "truth", "meshes", "people")
_PACKAGES = ("numpy", "scipy", "numba", "torch", "anny")
_SIGNIFICANT_DIGITS = 9


@letting_go()
def generate_cohort(
    count: int,
    output_dir: str | Path,
    seed: int = 0,
    workers: int | None = None,
    save_meshes: bool = True,
    acquisition: Acquisition | None = None,
    progress: bool = True,
    children_share: float = 0.0,
    cluster: bool = False,
    conditions: Mapping[str, float] | None = None,
) -> Path:
    """Simulate ``count`` people and write them to ``output_dir``; what is already there is kept.

    Args:
        count: number of people. A finished folder can be grown by asking for more.
        output_dir: folder to write; made if need be.
        seed: the cohort's seed.
        workers: number of processes; default: the number of cores. It changes nothing but the time.
        save_meshes: also write the T-pose meshes.
        acquisition: the scanner; default: the default ``Acquisition``.
        progress: show a progress bar on stderr.
        children_share: share of children of 6 to 17 years, 0 to 1; the others are adults. The adults of a cohort with
            children are those of the cohort without.
        cluster: the workers of a Dask cluster simulate instead of ``workers`` processes here; see
            :func:`dxa_monai.parallel.cluster.run_on_cluster`. The folder has to be theirs, too. The bytes are the same.
        conditions: share of people or scans with each of :data:`dxa_monai.phantom.conditions.CONDITIONS`, for example
            ``{"hip_implant": 0.05}``; default: nobody. Their names are in the manifest's column ``conditions``, and
            what is foreign to the person is ``foreign_g_cm2`` in the truth.

    Returns:
        Path of the manifest.

    Raises:
        InputError: an argument is out of range, the folder cannot be written to, or it holds a cohort of another
            seed, other settings or other body measures.
        RuntimeError: a worker failed; the message names the person.
        SystemExit: interrupted with Ctrl-C, after one line that says how to continue.
    """
    _check_integer("count", count, 1)
    _check_integer("seed", seed, 0)
    workers = (os.cpu_count() or 1) if workers is None else workers
    _check_integer("workers", workers, 1)
    if isinstance(children_share, bool) or not isinstance(children_share, int | float) or not 0 <= children_share <= 1:
        raise InputError(f"children_share: expected a number from 0 to 1, got {children_share!r}.")
    acquisition = Acquisition() if acquisition is None else acquisition
    folder = own_folder(output_dir)
    settings: dict[str, Any] = {
        "dxa_monai": dxa_monai.__version__,
        "seed": seed,
        "save_meshes": save_meshes,
        "acquisition": acquisition.as_dict(),
        "measures": sorted(BODY_MEASURES),
    }
    if children_share:
        settings["children_share"] = float(children_share)
    shares = check_conditions(conditions or {})
    if shares:
        settings["conditions"] = shares
    below = tuple(folder / name for name in ("scans", "truth", "meshes", "people"))
    remove_partial(folder, *below)
    _claim(folder, settings, count)

    waiting = [index for index in range(count) if _finished_person(folder, index, seed) is None]
    if not waiting and (folder / MANIFEST_NAME).is_file() and _recorded_count(folder) == count:
        return folder / MANIFEST_NAME
    if waiting:
        for name in ("scans", "truth", *(["meshes"] if save_meshes else [])):
            output_folder(folder / name)
        place = folder.absolute() if cluster else folder
        arguments = (place, seed, save_meshes, acquisition, float(children_share), tuple(shares.items()))
        if cluster:
            done = run_on_cluster(_make_person, waiting, arguments)
        else:
            done = run_in_processes(_make_person, waiting, arguments, min(workers, len(waiting)))
        try:
            with tqdm(total=count, initial=count - len(waiting), unit=" people", disable=not progress) as bar:
                for _ in done:
                    bar.update()
        except KeyboardInterrupt:
            print(f"Interrupted; run the same command again to continue in {folder}.", file=sys.stderr)
            raise SystemExit(130) from None
    remove_partial(*below)
    return _finish(folder, settings, count, seed)


@lru_cache(maxsize=1)
def _simulator(acquisition: Acquisition, conditions: tuple[tuple[str, float], ...]) -> Simulator:
    """A worker's simulator, loaded with its first person."""
    torch.set_num_threads(1)
    return Simulator(acquisition, conditions=dict(conditions))


def _make_person(
    index: int,
    folder: Path,
    seed: int,
    save_meshes: bool,
    acquisition: Acquisition,
    children_share: float,
    conditions: tuple[tuple[str, float], ...],
) -> None:
    """What a worker does for one person."""
    simulator = _simulator(acquisition, conditions)
    write_person(simulator.simulate_person(index, seed, children_share), simulator.model.faces, folder, save_meshes)


def write_person(record: PersonRecord, faces: Any, folder: Path, save_mesh: bool) -> dict[str, Any]:
    """Write a person's files into ``folder`` and, last and atomically, the marker that says they are whole.

    Returns:
        The marker: ``rows`` (manifest rows, paths relative to ``folder``), ``files`` (SHA-256 and size of each),
        ``reposed`` and ``refused``.

    Raises:
        InputError: a file cannot be written (no space, no permission).
    """
    person = record.person
    files: list[str] = []
    rows: list[dict[str, Any]] = []
    try:
        mesh_path = f"meshes/{person.subject_id}.ply" if save_mesh else ""
        if save_mesh:
            write_ply(folder / mesh_path, record.vertices_m, faces)
            files.append(mesh_path)
        for number, visit in enumerate(record.visits, start=1):
            scan_id = f"{person.subject_id}_V{number}"
            scan_path, truth_path = f"scans/{scan_id}.npy", f"truth/{scan_id}.npz"
            spacing_mm = visit.frame.pixel_spacing_mm
            save_scan(RawScan(visit.counts, spacing_mm), folder / scan_path)
            truth: dict[str, Any] = {
                "areal_density_g_cm2": visit.tissue.areal_density_g_cm2,
                "region_map": visit.tissue.region_map,
                "pixel_spacing_mm": np.array(spacing_mm),
            }
            if visit.landmarks is not None:
                truth["landmarks"] = visit.landmarks
            if visit.foreign_g_cm2 is not None:
                truth["foreign_g_cm2"] = visit.foreign_g_cm2
            with atomic_path(folder / truth_path) as temporary:
                np.savez(temporary, **truth)  # not compressed: the bytes do not depend on the version of zlib
            files += [scan_path, truth_path]
            row = {
                "subject_id": person.subject_id,
                "scan_id": scan_id,
                "scan": scan_path,
                "mesh": mesh_path or None,
                "truth": truth_path,
                "age_years": person.age_years,
                "sex": person.sex,
                "height_cm": person.height_cm,
                "mass_kg": visit.totals["total_mass_g"] / 1000.0,
                **record.anthropometry,
                **visit.totals,
            }
            if visit.conditions:
                row["conditions"] = " ".join(visit.conditions)
            rows.append({name: _rounded(value) for name, value in row.items()})
        marker = {
            "rows": rows,
            "files": {name: _fingerprint(folder / name) for name in files},
            "reposed": record.reposed,
            "refused": record.refused,
        }
        _write_json(folder / "people" / f"{person.subject_id}.json", marker)
    except OSError as error:
        raise InputError(
            f"{folder}: expected room and permission to write {person.subject_id}, got '{error.strerror or error}'."
        ) from error
    return marker


def _check_integer(name: str, value: Any, lowest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
        raise InputError(f"{name}: expected an integer of at least {lowest}, got {value!r}.")


def _claim(folder: Path, settings: dict[str, Any], count: int) -> None:
    """Record the settings in a new folder; refuse one that was made with others."""
    path = folder / "people" / _SETTINGS_NAME
    if not path.is_file():
        other = next((name for name in _OWN_NAMES if _holds_a_file(folder / name)), None)
        if other is not None:
            raise InputError(f"{folder}: expected an empty folder or a cohort generated here, got another {other}.")
        output_folder(path.parent)
        _write_json(path, settings)
        return
    found = _read_json(path)
    found.setdefault("measures", sorted(PAPER_MEASURES))  # before they were recorded, everybody had these
    _check_measures(folder, settings["measures"], found["measures"])
    differing = sorted(name for name in settings.keys() | found.keys() if settings.get(name) != found.get(name))
    if differing:
        name = differing[0]
        raise InputError(
            f"{folder}: expected a folder of the same {' and '.join(differing)} or an empty one, "
            f"got a cohort made with {name} {_short(found.get(name))} where {_short(settings.get(name))} is asked for."
        )
    recorded = _recorded_count(folder)
    if recorded is not None and recorded > count:
        raise InputError(
            f"{folder}: expected to make {recorded} people or more of the {recorded} there, got count {count}."
        )


def _holds_a_file(path: Path) -> bool:
    return path.is_file() or any(each.is_file() for each in path.rglob("*"))


def _check_measures(folder: Path, wanted: list[str], made_with: list[str]) -> None:
    """Refuse to put people of other body measures into one manifest, where each would lack what the others have."""
    differences = {"without": set(wanted).difference(made_with), "with": set(made_with).difference(wanted)}
    told = [f"{word} {', '.join(sorted(names))}" for word, names in differences.items() if names]
    if told:
        raise InputError(
            f"{folder}: expected a cohort whose people have the body measures of today, got one that was made "
            f"{' and '.join(told)}; choose another folder, or delete this one to make its people again."
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else "other values"


def _recorded_count(folder: Path) -> int | None:
    path = folder / COHORT_NAME
    return int(_read_json(path)["count"]) if path.is_file() else None


def _subject_id(index: int, seed: int) -> str:
    return sample_person(index, seed).subject_id


def _finished_person(folder: Path, index: int, seed: int) -> dict[str, Any] | None:
    """The person's marker if it is there with all its files in full length, else None."""
    path = folder / "people" / f"{_subject_id(index, seed)}.json"
    if not path.is_file():
        return None
    marker = _read_json(path)
    for name, fingerprint in marker["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != fingerprint["bytes"]:
            return None
    return marker


def _finish(folder: Path, settings: dict[str, Any], count: int, seed: int) -> Path:
    """Write the manifest and the cohort's record from the people's markers."""
    rows: list[dict[str, Any]] = []
    refused: Counter[str] = Counter()
    reposed = 0
    content = hashlib.sha256()
    for index in range(count):
        marker = _read_json(folder / "people" / f"{_subject_id(index, seed)}.json")
        rows += marker["rows"]
        refused.update(marker["refused"])
        reposed += marker["reposed"]
        content.update(json.dumps([marker["rows"], marker["files"]], sort_keys=True).encode())
    write_manifest(rows, folder / MANIFEST_NAME)
    record = {
        **settings,
        "count": count,
        "scans": len(rows),
        "refused": dict(sorted(refused.items())),
        "reposed": reposed,
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "content_sha256": content.hexdigest(),
    }
    _write_json(folder / COHORT_NAME, record)
    return folder / MANIFEST_NAME


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value


def _fingerprint(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, "a JSON file written by the cohort generator")
