"""What a training reads: from a manifest to the people of each part, screened, as MONAI data lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dxa_monai.distributed import share_of_process
from dxa_monai.runs.provenance import manifest_hash
from dxa_monai.runs.screened_scans import screen_split
from dxa_monai.scan.manifest import Row, as_datalist, read_manifest
from dxa_monai.scan.measures import as_labelled_datalist, first_pairs, measure_statistics, measures_of
from dxa_monai.scan.moments import ScanMoments, scan_moments
from dxa_monai.scan.quarantine import BadScanPolicy
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.splits import Split, read_split, split_by_subject, split_from_path_lists
from dxa_monai.transforms.point_clouds import as_points_datalist, draw_point_clouds, mesh_faults, mesh_paths


class TrainingData:
    """Scans of a manifest, split by person and screened; read when they are first asked for.

    Args:
        manifest: CSV file, see :func:`dxa_monai.scan.manifest.read_manifest`.
        output_dir: of the run; gets what screening finds.
        reader: how the scans are read.
        split_file: file (or folder with ``split.csv``) that says who is in which part; empty: they are split here.
        split_seed: of the split by person.
        path_lists: instead of a manifest the published code's three one-column lists (training, validation, test).
        bad_scans: see :class:`dxa_monai.scan.quarantine.BadScanPolicy`.
        max_bad_share: see there.
        duplicates: see :func:`dxa_monai.runs.screened_scans.screen_split`.
        screened_parts: whose scans are screened; None: all parts.
        workers: processes that read scans to screen them.

    Raises:
        InputError: (when data are asked for) the manifest, the split or a scan cannot be used.
    """

    def __init__(
        self,
        manifest: str | Path,
        output_dir: str | Path,
        reader: RawDXAReader | None = None,
        split_file: str | Path = "",
        split_seed: int = 0,
        path_lists: Sequence[str] = (),
        bad_scans: str = "stop",
        max_bad_share: float = 0.02,
        duplicates: str = "warn",
        screened_parts: Sequence[str] | None = None,
        workers: int = 0,
    ) -> None:
        self.manifest = manifest
        self.output_dir = output_dir
        self.source = (RawDXAReader() if reader is None else reader).source
        self.split_file = split_file
        self.split_seed = split_seed
        self.path_lists = list(path_lists)
        self.policy = BadScanPolicy(bad_scans, max_bad_share)
        self.duplicates = duplicates
        self.screened_parts = screened_parts
        self.workers = workers

    def check(self) -> None:
        """Look at what needs no scan to be read.

        Raises:
            InputError: the manifest or the split cannot be used.
        """
        _ = self.whole_split

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the manifest; none with ``path_lists``."""
        return [] if self.path_lists else read_manifest(self.manifest)

    @cached_property
    def whole_split(self) -> Split:
        """Rows by part, before scans are read."""
        if self.path_lists:
            return split_from_path_lists(*self.path_lists)
        if self.split_file:
            return read_split(self.split_file, self.rows)
        return split_by_subject(self.rows, seed=self.split_seed)

    @cached_property
    def split(self) -> Split:
        """Rows by part, without scans that cannot be used."""
        return screen_split(
            self.whole_split,
            self.output_dir,
            self.policy,
            self.source,
            self.duplicates,
            self.workers,
            self._faults_of_bodies,
            self.screened_parts,
        )

    @property
    def unscreened_training_rows(self) -> list[Row]:
        """Rows that the network is trained on if all their scans can be used; no scan is read for it."""
        return self.whole_split["train"]

    @cached_property
    def training_rows(self) -> list[Row]:
        """Rows that the network is trained on, over all processes."""
        return self.split["train"]

    @property
    def training(self) -> list[dict[str, Any]]:
        """MONAI data list of the training scans: ``image, scan_id, subject_id``."""
        return self._items(self.training_rows)

    @property
    def validation(self) -> list[dict[str, Any]]:
        """MONAI data list of this process' share of the validation scans."""
        return self._items(share_of_process(self.split["validation"]))

    @cached_property
    def moments(self) -> ScanMoments:
        """Moments of the training rows' scans, which are read once for them."""
        return scan_moments(self.training_rows, self.source)

    @property
    def statistics(self) -> tuple[torch.Tensor, float]:
        """Mean scan of the training rows and the deviation from it."""
        return self.moments.mean_image, self.moments.deviation

    def as_dict(self) -> dict[str, Any]:
        """What the record of a run should tell, in plain types."""
        kept = [row for part in self.split.values() for row in part]
        return {
            "data": self.path_lists or str(self.manifest),
            "split_seed": self.split_seed,
            "bad_scans": self.policy.bad_scans,
            "left_out": sum(map(len, self.whole_split.values())) - len(kept),
            "people": len({row["subject_id"] for row in kept}),
            "scans": len(kept),
            "reader": self.source.as_dict(),
            "dataset_hash": "" if self.path_lists else manifest_hash(self.manifest),
        }

    def _items(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return list(as_datalist(rows))

    _faults_of_bodies: Any = None
    """Tells what is wrong with the mesh of each row; None: there are no meshes to look at."""


class PairedData(TrainingData):
    """Scans with what is known of their people; the number of pairs can be limited, for a learning curve.

    Args:
        pairs: scans that are used at all; 0: all. See :func:`dxa_monai.scan.measures.first_pairs`.
        training_pairs: of those of the training people; 0: all.
        arguments: see :class:`TrainingData`.
    """

    def __init__(self, *, pairs: int = 0, training_pairs: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.pairs = pairs
        self.training_pairs = training_pairs

    def check(self) -> None:
        super().check()
        _ = self.unscreened_training_rows

    @cached_property
    def rows(self) -> list[Row]:
        return first_pairs(read_manifest(self.manifest), self.pairs, self.split_seed)

    @property
    def unscreened_training_rows(self) -> list[Row]:
        return self._first(self.whole_split["train"])

    @cached_property
    def training_rows(self) -> list[Row]:
        return self._first(self.split["train"])

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"training_pairs": len(self.training_rows)}

    def _first(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        return first_pairs(rows, self.training_pairs, self.split_seed, "training_pairs")


class MeasuredData(PairedData):
    """Scans with measures of the body (columns of the manifest), for a network that reads them from scans.

    Data lists have ``label``, float32 ``(M,)`` in the columns' units.

    Args:
        measures: columns of the manifest; None: those of ``BODY_MEASURES`` that it has.
        arguments: see :class:`PairedData`.
    """

    def __init__(self, *, measures: Sequence[str] | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._wanted = measures
        self._moved: dict[str, np.ndarray[Any, Any]] = {}

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """The columns that are predicted: those asked for, or all body measures that the manifest has.

        Raises:
            InputError: see :func:`dxa_monai.scan.measures.measures_of`.
        """
        return measures_of(self.rows, self._wanted)

    def move_labels(self, by: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Add to the labels of training scans, ``(M,)`` by ``scan_id``; their truth in the manifest stays."""
        self._moved = dict(by)

    @property
    def training(self) -> list[dict[str, Any]]:
        """As of :class:`TrainingData`, with labels moved (:meth:`move_labels`)."""
        items = super().training
        for item in items:
            if item["scan_id"] in self._moved:
                item["label"] = (item["label"] + self._moved[item["scan_id"]]).astype(np.float32)
        return items

    def measure_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the measures over the training rows, ``(M,)`` each."""
        return measure_statistics(self.training_rows, self.measures)

    def as_dict(self) -> dict[str, Any]:
        return super().as_dict() | {"measures": list(self.measures)}

    def _items(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return as_labelled_datalist(rows, self.measures)


class BodyData(PairedData):
    """Scans with a 3D body scan each, for a network that predicts the scan from points of the body's surface.

    Data lists have ``image``, the file of a body's points, ``label``, the scan, and ``moved``, how it is to be moved.

    Args:
        clouds_dir: where the points are kept, see :func:`dxa_monai.transforms.point_clouds.draw_point_clouds`.
        mesh: how meshes are read, see there.
        mesh_workers: processes that read meshes.
        arguments: see :class:`PairedData`.
    """

    def __init__(
        self,
        *,
        clouds_dir: str | Path,
        mesh: Mapping[str, Any] | None = None,
        mesh_workers: int = 1,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.clouds_dir = clouds_dir
        self.mesh = dict(mesh or {})
        self.mesh_workers = mesh_workers

        self._moved: dict[str, torch.Tensor] = {}

    @cached_property
    def rows(self) -> list[Row]:
        rows = first_pairs(read_manifest(self.manifest), self.pairs, self.split_seed)
        mesh_paths(rows)
        return rows

    def clouds_of(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """The rows with ``points``, the file of each body's points, which is made if it is not there."""
        return draw_point_clouds(rows, self.clouds_dir, self.mesh, workers=self.mesh_workers)

    def place_scans(self, moved: Mapping[str, torch.Tensor]) -> None:
        """Say how training scans are moved, ``(3,)`` by ``scan_id``, see :class:`MoveScand`."""
        self._moved = dict(moved)

    def _items(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        still = torch.zeros(3)
        return [
            item | {"moved": self._moved.get(str(item["scan_id"]), still)}
            for item in as_points_datalist(self.clouds_of(rows))
        ]

    def _faults_of_bodies(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        return mesh_faults(rows, self.clouds_dir, self.mesh, workers=self.mesh_workers)
