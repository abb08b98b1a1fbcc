"""Points of many bodies, taken once and kept as files; a training draws its input from them.

To read a mesh, find out whether it can stand for a person and divide its surface takes half a second. So each mesh is
turned into a cloud of more points than an encoder sees at a time, by whoever needs it first, and every step of every
training takes some of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable, RandomizableTrait
from monai.utils import TransformBackends
from tqdm import tqdm

from dxa_monai.errors import InputError
from dxa_monai.files import atomic_path, remove_partial
from dxa_monai.parallel.worker_pool import results_of_processes
from dxa_monai.runs.ownership import letting_go, own_folder, taking_turns
from dxa_monai.scan.manifest import Row
from dxa_monai.transforms.mesh_points import LoadMeshPointsd

CLOUD_POINTS = 16384
"""Points of a cloud, 0.5 MB: pieces of skin of about 1 cm2."""
AREA = 6
"""Row of a cloud from which on numbers are areas."""

_ROWS = "pieces: x y z nx ny nz area"
"""What a cloud holds; part of its name, so that clouds of before are not taken for these."""
_WORTH_PROCESSES = 40
"""Fewer meshes are read before a process has started."""


def draw_point_clouds(
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    mesh: Mapping[str, Any] | None = None,
    count: int = CLOUD_POINTS,
    workers: int = 1,
) -> list[Row]:
    """Manifest rows with ``points``, the file of each body's points; files that are there already are kept.

    A file is named after its mesh and a hash of the mesh's bytes and of the settings, so that it never stands for
    another mesh or another way to read it. Scans of one mesh share a file. Commands share a folder: one draws at a
    time, the others wait and find what it drew.

    Args:
        rows: manifest rows with ``mesh``.
        folder: gets the files: float32 ``(7, count)``, see :class:`LoadMeshPointsd`.
        mesh: how meshes are read: arguments of :class:`LoadMeshPointsd` (unit, up_axis, facing, repair, accept, seed).
        count: points of each body.
        workers: processes that read meshes.

    Raises:
        InputError: a row has no mesh, a mesh cannot be used, or the folder cannot be written to.
    """
    settings = dict(mesh or {}) | {"count": count}
    paths = {path: _cloud_path(folder, path, settings) for path in dict.fromkeys(mesh_paths(rows))}
    with idist.one_rank_first(local=True):  # the others of this machine find the files there
        faults = _draw_missing(paths, folder, settings, workers)
    if faults:
        raise InputError(next(faults[path] for path in paths if path in faults))
    return [dict(row) | {"points": str(paths[row["mesh"]])} for row in rows]


def mesh_faults(
    rows: Sequence[Mapping[str, Any]],
    folder: str | Path,
    mesh: Mapping[str, Any] | None = None,
    count: int = CLOUD_POINTS,
    workers: int = 1,
) -> list[str]:
    """What is wrong with the mesh of each row, in one sentence, or "". The clouds of all others are drawn on the way.

    Args:
        rows: these and the other arguments are as for :func:`draw_point_clouds`.
        folder: gets the files.
        mesh: how meshes are read.
        count: points of each body.
        workers: processes that read meshes.

    Raises:
        InputError: a row has no mesh, a setting is wrong, or the folder cannot be written to.
    """
    settings = dict(mesh or {}) | {"count": count}
    faults: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for path in dict.fromkeys(mesh_paths(rows)):
        try:
            paths[path] = _cloud_path(folder, path, settings)
        except InputError as error:
            faults[path] = str(error)
    with idist.one_rank_first(local=True):
        faults |= _draw_missing(paths, folder, settings, workers, stop=False)
    return [faults.get(str(row["mesh"]), "") for row in rows]


def _draw_missing(
    paths: Mapping[str, Path], folder: str | Path, settings: dict[str, Any], workers: int, stop: bool = True
) -> dict[str, str]:
    """Draw the clouds that are not there; what is wrong with meshes, by path: with one of them, or with all."""
    if all(cloud.is_file() for cloud in paths.values()):
        _tidy(folder)
        return {}
    with taking_turns(folder):
        remove_partial(folder)
        # another command may have drawn some meanwhile
        missing = [(path, str(cloud)) for path, cloud in paths.items() if not cloud.is_file()]
        return _draw(missing, settings, workers, stop)


def _tidy(folder: str | Path) -> None:
    """Delete what killed commands left, unless one is at work there, or the folder can only be read."""
    if Path(folder).is_dir():
        with suppress(InputError), letting_go():
            remove_partial(own_folder(folder))


def _draw(missing: Sequence[tuple[str, str]], settings: dict[str, Any], workers: int, stop: bool) -> dict[str, str]:
    LoadMeshPointsd("points", **settings)  # a wrong setting is told before any process starts
    faults: dict[str, str] = {}
    many = len(missing) >= _WORTH_PROCESSES
    if workers > 1 and many:
        done = results_of_processes(_draw_one, range(len(missing)), (missing, settings), workers)
    else:
        done = ((index, _draw_one(index, missing, settings)) for index in range(len(missing)))
    for index, fault in tqdm(done, "meshes", len(missing), unit="mesh", disable=not many or idist.get_rank() != 0):
        if fault:
            faults[missing[index][0]] = fault
            if stop:
                break
    done.close()
    return faults


def mesh_paths(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The mesh of each row.

    Raises:
        InputError: a row has none.
    """
    lacking = [row["scan_id"] for row in rows if not row.get("mesh")]
    if lacking:
        raise InputError(
            f"manifest: expected a file in column mesh for every scan, "
            f"got none for scan '{lacking[0]}' ({len(lacking)} of {len(rows)} scans)."
        )
    return [str(row["mesh"]) for row in rows]


def as_points_datalist(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows of :func:`draw_point_clouds` as a MONAI data list: ``image`` (file of points), ``label`` (scan), ids."""
    return [
        {"image": row["points"], "label": row["scan"], "scan_id": row["scan_id"], "subject_id": row["subject_id"]}
        for row in rows
    ]


class PointSubsetd(Randomizable, MapTransform, RandomizableTrait):
    """Some of the points of a cloud ``(7, P)``: ``(7, count)``, which stand for the whole of its area.

    Args:
        keys: the clouds.
        count: points to keep.
        resample: choose them anew in every call, from this transform's random state (training). Otherwise the first
            ones: points of a cloud are in random order, so they are spread over the body as well.
        allow_missing_keys: skip keys that a sample does not have.

    Raises:
        InputError: ``count`` is not positive, or a cloud has fewer points.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self, keys: KeysCollection, count: int, resample: bool = False, allow_missing_keys: bool = False
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if count < 1:
            raise InputError(f"count: expected at least one point, got {count}.")
        self.count = count
        self.resample = resample

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            cloud = sample[key]
            if cloud.shape[-1] < self.count:
                raise InputError(f"count: expected at most the {cloud.shape[-1]} points of a cloud, got {self.count}.")
            if self.resample:
                chosen = cloud[:, self.R.permutation(cloud.shape[-1])[: self.count]]
            else:
                chosen = cloud[:, : self.count]
            whole = cloud[AREA:].sum(dim=-1, keepdim=True, dtype=torch.float64)
            share = chosen[AREA:].sum(dim=-1, keepdim=True, dtype=torch.float64) / whole
            sample[key] = torch.cat([chosen[:AREA], chosen[AREA:] / share.to(chosen.dtype)])
        return sample


def load_points(row: Mapping[str, Any], count: int) -> torch.Tensor:
    """The first ``count`` points of a row of :func:`draw_point_clouds`, ``(7, count)``.

    Raises:
        InputError: the cloud has fewer.
    """
    points: torch.Tensor = PointSubsetd("points", count)({"points": load_cloud(row)})["points"]
    return points


def load_cloud(row: Mapping[str, Any]) -> torch.Tensor:
    """All points of a row of :func:`draw_point_clouds`, ``(7, P)``."""
    return torch.from_numpy(np.load(row["points"], allow_pickle=False))


def _cloud_path(folder: str | Path, mesh: str, settings: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(settings | {"rows": _ROWS}, sort_keys=True, default=str).encode())
    try:
        digest.update(Path(mesh).read_bytes())
    except OSError as error:
        raise InputError(f"{mesh}: expected a mesh file that can be read, got '{error.strerror}'.") from error
    return Path(folder) / f"{Path(mesh).stem}-{digest.hexdigest()[:16]}.npy"


def _draw_one(index: int, missing: Sequence[tuple[str, str]], settings: Mapping[str, Any]) -> str:
    """Write the cloud of a mesh, or tell what is wrong with the mesh."""
    mesh, cloud = missing[index]
    try:
        points = LoadMeshPointsd("points", **settings)({"points": mesh})["points"]
    except InputError as error:
        return str(error)
    with atomic_path(cloud) as temporary:
        np.save(temporary, torch.as_tensor(points).numpy(), allow_pickle=False)
    return ""
