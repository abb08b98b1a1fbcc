"""How the scans of a run are read and analysed: by inference, and again where somebody moves landmarks by hand."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from dxa_monai.analysis.bone import BoneSettings
from dxa_monai.analysis.composition import METHODS, BodyComposition, analyse_scan
from dxa_monai.analysis.landmarks import Landmarks
from dxa_monai.analysis.polygons import polygons_of_scan
from dxa_monai.analysis.segments import Point
from dxa_monai.inference.landmark_finders import RULES, finder_record, landmark_finder
from dxa_monai.inference.report import fingerprint
from dxa_monai.inference.run_scanner import scanner_of_scan
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import channels_first
from dxa_monai.scan.source import ScanSource


@dataclass(frozen=True)
class ScanAnalysis:
    """What is the same for every scan of a run.

    Attributes:
        model: the scanner; None: each scan has its own.
        polygons_file: the user's own regions, a file or a folder with one for each scan; None: there are none.
        settings: how bone is told from soft tissue.
        device: where the maps are computed.
        source: how the scans are read.
        wheel: what the segments of the scanner's wheel are made of, where no model says so.
        method: of ``dxa_monai.analysis.composition.METHODS``, how channels become materials.
        predicted: a network made the scans; see :func:`dxa_monai.analysis.composition.analyse_scan`.
        landmark_finder: of ``dxa_monai.inference.landmark_finders.FINDERS``, who finds landmarks.
        landmark_network: file of the network that does; None: the rules do.
    """

    model: ScannerModel | None = None
    polygons_file: str | Path | None = None
    settings: BoneSettings = dataclasses.field(default_factory=BoneSettings)
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    source: ScanSource = dataclasses.field(default_factory=ScanSource)
    wheel: WheelSegments = dataclasses.field(default_factory=WheelSegments)
    method: str = METHODS[0]
    predicted: bool = False
    landmark_finder: str = RULES
    landmark_network: str | Path | None = None

    def read(self, path: str | os.PathLike[str], scan_id: str) -> ScanToAnalyse:
        """A scan, with its scanner and the user's regions.

        Args:
            path: of its file.
            scan_id: its name.

        Raises:
            InputError: the scan, the polygons, or the scan's own scanner cannot be used.
        """
        scan = self.source.read(path)
        raw = torch.from_numpy(channels_first(scan.counts))
        shape, spacing = (scan.counts.shape[0], scan.counts.shape[1]), scan.pixel_spacing_mm
        polygons = {}
        if self.polygons_file is not None:
            polygons = polygons_of_scan(self.polygons_file, scan_id, shape, spacing)
        model = scanner_of_scan(raw, spacing, self.wheel) if self.model is None else self.model
        return ScanToAnalyse(path, raw, shape, spacing, polygons, model, self)


@dataclass(frozen=True, eq=False)
class ScanToAnalyse:
    """One scan that was read.

    Attributes:
        path: of its file.
        raw: ``(6, H, W)`` in [0, 1].
        shape: (rows, columns).
        pixel_spacing_mm: (row, column).
        polygons: the user's regions, points (row, column) in pixels by name.
        model: its scanner.
        how: it is analysed.
    """

    path: str | os.PathLike[str]
    raw: torch.Tensor
    shape: tuple[int, int]
    pixel_spacing_mm: tuple[float, float]
    polygons: dict[str, list[Point]]
    model: ScannerModel
    how: ScanAnalysis

    def fingerprint(self, landmarks: Landmarks | None) -> str:
        """Hash of all that the scan's numbers depend on, see :func:`dxa_monai.inference.report.fingerprint`.

        Args:
            landmarks: given by a person; None: they are found.
        """
        source = self.how.source
        settings = dataclasses.asdict(self.how.settings)
        settings |= {"zero_counts": source.zero_counts, "method": self.how.method}
        # what is not declared is not named, so that reports made before it could be are kept
        settings |= {"channels": source.channels} if source.channels is not None else {}
        settings |= {"predicted": True} if self.how.predicted else {}
        settings |= finder_record(self.how.landmark_finder, self.how.landmark_network)
        return fingerprint(Path(self.path), self.model, self.pixel_spacing_mm, landmarks, self.polygons, settings)

    def composition(self, landmarks: Landmarks | None) -> BodyComposition:
        """The analysis, see :func:`dxa_monai.analysis.composition.analyse_scan`.

        Args:
            landmarks: given by a person; None: they are found.
        """
        return analyse_scan(
            self.raw.to(self.how.device),
            self.model,
            self.pixel_spacing_mm,
            landmarks,
            self.polygons,
            self.how.settings,
            self.how.source.zero_counts,
            self.how.method,
            self.how.predicted,
            landmark_finder(self.how.landmark_finder, self.how.landmark_network),
        )
