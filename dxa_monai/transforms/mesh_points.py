"""Body scans from mesh files to what a point network reads: points with normals."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data.meta_obj import get_track_meta
from monai.data.meta_tensor import MetaTensor
from monai.transforms import MapTransform, Randomizable, RandomizableTrait
from monai.utils import TransformBackends

from dxa_monai.errors import InputError
from dxa_monai.mesh.checks import checked
from dxa_monai.mesh.io import BodyMesh, load_mesh
from dxa_monai.mesh.points import (
    FIXED_STEP,
    centred,
    fixed_vertices,
    point_cloud,
    sample_points,
    with_areas,
    with_noise,
)


class LoadMeshPointsd(Randomizable, MapTransform, RandomizableTrait):
    """Read a body scan, refuse or mend what cannot stand for a person, and take points of its surface.

    Each key holds a path; it gets a float32 tensor ``(7, count)``: x, y, z in metres (x towards the person's left, y
    towards the back, z up; the floor at 0, the surface's centre over x = y = 0), the outward unit normal, and the area
    in m2 that the point stands for. Size is kept. With metadata tracked it is a ``MetaTensor`` with
    ``filename_or_obj``, ``height_m``, ``unit`` and ``mends`` (one string).

    Args:
        keys: the paths.
        count: number of points; not used with ``fixed_vertices``.
        resample: draw new points in every call (:func:`dxa_monai.mesh.points.sample_points`), from this transform's
            random state (training). Otherwise a file always gives the same, whatever its name: the centres of pieces of
            its surface (:func:`dxa_monai.mesh.points.point_cloud`).
        seed: of the order of the pieces without ``resample``.
        unit, up_axis, facing: of the files, see :func:`dxa_monai.mesh.io.load_mesh`.
        repair, accept: what to do about defects, see :func:`dxa_monai.mesh.checks.checked`. What was mended or inferred
            is printed the first time a file is read.
        fixed_vertices: take every ``fixed_step``-th vertex instead of points (the published input, for meshes of one
            topology): ``(7, ceil(V / fixed_step))``.
        fixed_step: see ``fixed_vertices``.
        vertex_count: number of vertices that every mesh must have with ``fixed_vertices``; None takes any.
        noise_mm: standard deviation of normal noise added to each coordinate of the points; the normals keep.
        cache_size: number of meshes kept in memory, those used last (about 1 MB per 14,000 vertices, in each worker).
        allow_missing_keys: skip keys that a sample does not have.

    Raises:
        InputError: a number out of its range, or a file that cannot be used.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(
        self,
        keys: KeysCollection,
        count: int = 4096,
        resample: bool = False,
        seed: int = 0,
        unit: str | None = None,
        up_axis: str = "z",
        facing: str | None = None,
        repair: bool = False,
        accept: str | Collection[str] = (),
        fixed_vertices: bool = False,
        fixed_step: int = FIXED_STEP,
        vertex_count: int | None = None,
        noise_mm: float = 0.0,
        cache_size: int = 0,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        for name, value, smallest in (
            ("count", count, 1),
            ("fixed_step", fixed_step, 1),
            ("noise_mm", noise_mm, 0),
            ("cache_size", cache_size, 0),
        ):
            if not value >= smallest:
                raise InputError(f"{name}: expected at least {smallest}, got {value}.")
        self.count = count
        self.resample = resample
        self.seed = seed
        self.unit = unit
        self.up_axis = up_axis
        self.facing = facing
        self.repair = repair
        self.accept = accept
        self.fixed_vertices = fixed_vertices
        self.fixed_step = fixed_step
        self.vertex_count = vertex_count
        self.noise_mm = noise_mm
        self.cache_size = cache_size
        self._cache: OrderedDict[str, BodyMesh] = OrderedDict()
        self._announced: set[str] = set()
        self._drawn_seed = 0

    def randomize(self, data: Any = None) -> None:
        """Draw the seed of the next points."""
        self._drawn_seed = int(self.R.randint(2**62, dtype=np.int64))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            path = str(sample[key])
            if self.resample:
                self.randomize()
                seed = self._drawn_seed
            else:
                seed = self.seed
            sample[key] = self._points(path, torch.Generator().manual_seed(seed))
        return sample

    def _points(self, path: str, generator: torch.Generator) -> torch.Tensor:
        mesh = self._mesh(path)
        if self.fixed_vertices or self.resample:
            points, normals = (
                fixed_vertices(mesh, self.fixed_step, self.vertex_count)
                if self.fixed_vertices
                else sample_points(mesh, self.count, generator)
            )
            image = with_areas(points, normals, float(mesh.face_areas_m2.sum()))
        else:
            image = point_cloud(mesh, self.count, generator)
        if self.noise_mm > 0.0:
            image = torch.cat([with_noise(image[:3], self.noise_mm, generator), image[3:]])
        if not get_track_meta():
            return image
        meta = {
            "filename_or_obj": path,
            "height_m": mesh.height_m,
            "unit": mesh.unit,
            "mends": "; ".join(mesh.mends),
        }
        return MetaTensor(image, meta=meta)

    def _mesh(self, path: str) -> BodyMesh:
        if path in self._cache:
            self._cache.move_to_end(path)
            return self._cache[path]
        is_new = path not in self._announced
        self._announced.add(path)
        loaded = load_mesh(path, self.unit, self.up_axis, self.facing, announce=is_new)
        mesh = centred(checked(loaded, self.repair, self.accept))
        if mesh.mends and is_new:
            print(f"{path}: mended: {'; '.join(mesh.mends)}.")
        if self.cache_size:
            self._cache[path] = mesh
            if len(self._cache) > self.cache_size:
                self._cache.popitem(last=False)
        return mesh
