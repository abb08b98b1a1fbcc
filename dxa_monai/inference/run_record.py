"""What a folder of reports remembers of how they were made, so that one scan can be analysed again in the same way.

It stands in the note beside the outputs (:mod:`dxa_monai.runs.outputs`)::

    "analyses": {
     "options": [{"scanner": ..., "method": "newton", ...}],
     "scans": {"A01": ["../../data/scans/a01.npy", 0]}
    }

A scan names its file, relative to the folder, and the place of its options in the list: several calls may have filled
the folder. Whether a report was made from what is there now is told by its ``inputs_sha256`` alone.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dxa_monai.analysis.bone import BoneSettings
from dxa_monai.analysis.composition import check_method
from dxa_monai.errors import InputError
from dxa_monai.inference.landmark_finders import check_finder
from dxa_monai.inference.run_scanner import SCANNER_MODEL_NAME
from dxa_monai.inference.scan_analysis import ScanAnalysis
from dxa_monai.physics.beam_model import WheelSegments
from dxa_monai.physics.parameter_checks import ANY, number
from dxa_monai.physics.scanner_model import ScannerModel, read_scanner_model
from dxa_monai.runs.outputs import NOTE_NAME, read_note, write_note
from dxa_monai.scan.source import ScanSource

_ENTRY = "analyses"
_EXPECTED = "what inference noted of its scans"


def note_analysis(
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    analysis: ScanAnalysis,
    scanner_model: str | Path | None = None,
    landmarks_dir: str | Path | None = None,
) -> None:
    """Note how scans are analysed, beside what other calls noted of others.

    Args:
        folder: of the outputs, which this process owns.
        rows: with ``scan_id`` and ``scan``.
        analysis: of all of them.
        scanner_model: file that its model is from; None: the folder's own, or none.
        landmarks_dir: of edited landmarks.
    """
    options = {
        "scanner": _scanner(folder, analysis.model, scanner_model),
        "polygons": None if analysis.polygons_file is None else _from(folder, analysis.polygons_file),
        "landmarks": None if landmarks_dir is None else _from(folder, landmarks_dir),
        "bone_settings": dataclasses.asdict(analysis.settings),
        "source": analysis.source.as_dict(),
        "wheel": dataclasses.asdict(analysis.wheel),
        "method": analysis.method,
        "predicted": analysis.predicted,
        "landmark_finder": analysis.landmark_finder,
        "landmark_network": None if analysis.landmark_network is None else _from(folder, analysis.landmark_network),
        "device": str(analysis.device),
    }
    options = json.loads(json.dumps(options))
    try:
        earlier, scans = _read(folder)
    except InputError:  # of another version, or damaged: nobody could use it
        earlier, scans = [], {}
    known = [*earlier, options]
    scans |= {str(row["scan_id"]): (_from(folder, row["scan"]), known.index(options)) for row in rows}
    used = sorted({place for _, place in scans.values()})
    entry = {
        "options": [known[place] for place in used],
        "scans": {scan_id: [path, used.index(place)] for scan_id, (path, place) in scans.items()},
    }
    write_note(folder, **{_ENTRY: entry})


@dataclasses.dataclass(frozen=True)
class NotedScan:
    """How one scan was analysed.

    Attributes:
        path: of the scan.
        analysis: as the run did it.
        landmarks_dir: folder of edited landmarks that the run was given; None: none.
    """

    path: Path
    analysis: ScanAnalysis
    landmarks_dir: Path | None


class RunRecord:
    """What a folder of reports remembers.

    Args:
        folder: of the outputs.

    Raises:
        InputError: nothing is noted there, or something else than :func:`note_analysis` writes.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._options, self._scans = _read(self.folder)
        self._made: dict[int, tuple[ScanAnalysis, Path | None]] = {}
        if not self._scans:
            raise InputError(
                f"{self.folder}: expected the output folder of bundles/dxa_body_composition/configs/inference.json of "
                "this version, got one that does not say how its scans were read; run that command into it again."
            )

    @property
    def scan_ids(self) -> list[str]:
        """Of all scans, in the order in which they were analysed."""
        return list(self._scans)

    def scan(self, scan_id: str) -> NotedScan:
        """How a scan was analysed.

        Raises:
            InputError: its scanner's file or the polygons are gone, or what is noted cannot be.
        """
        path, place = self._scans[scan_id]
        if place not in self._made:
            self._made[place] = self._analysis(self._options[place])
        return NotedScan(self._path(path), *self._made[place])

    def _analysis(self, options: Mapping[str, Any]) -> tuple[ScanAnalysis, Path | None]:
        """The analysis that options stand for, and the folder of landmarks that it was given."""
        note = self.folder / NOTE_NAME
        try:
            check_method(options["method"])
            for name, value in options["bone_settings"].items():
                number(name, value, ANY)
            if not isinstance(options["predicted"], bool):
                raise ValueError
            settings = BoneSettings(**options["bone_settings"])
            source, wheel = ScanSource.from_dict(options["source"]), WheelSegments(**options["wheel"])
            polygons, landmarks, network = (
                None if options[name] is None else self._path(options[name])
                for name in ("polygons", "landmarks", "landmark_network")
            )
            finder = options["landmark_finder"]
            check_finder(finder, network)
            device = torch.device(options["device"])
            scanner = options["scanner"]
            values = None if scanner is None else scanner.get("values")
            file = None if scanner is None or values is not None else self._path(scanner["file"])
        except InputError as error:
            raise InputError(f"{note}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(f"{note}: expected {_EXPECTED}, got other options.") from error
        model = None if file is None else read_scanner_model(file)
        if values is not None:
            model = ScannerModel.from_dict(values, str(note))
        if device.type == "cuda" and not torch.cuda.is_available():
            device = torch.device("cpu")
        method, predicted = options["method"], options["predicted"]
        analysis = ScanAnalysis(model, polygons, settings, device, source, wheel, method, predicted, finder, network)
        return analysis, landmarks

    def _path(self, relative: str) -> Path:
        return Path(os.path.normpath(self.folder.resolve() / relative))


def _read(folder: Path) -> tuple[list[dict[str, Any]], dict[str, tuple[str, int]]]:
    """Options, and for each scan its file and the place of its options; both empty where nothing is noted."""
    entry = read_note(folder).get(_ENTRY, {"options": [], "scans": {}})
    try:
        options, scans = entry["options"], {str(name): (path, place) for name, (path, place) in entry["scans"].items()}
        sound = all(isinstance(each, dict) and set(each) == _OPTIONS for each in options) and all(
            isinstance(path, str) and type(place) is int and 0 <= place < len(options) for path, place in scans.values()
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise InputError(f"{folder / NOTE_NAME}: expected {_EXPECTED}, got another content.")
    return list(options), scans


_OPTIONS = {
    "scanner",
    "polygons",
    "landmarks",
    "bone_settings",
    "source",
    "wheel",
    "method",
    "predicted",
    "landmark_finder",
    "landmark_network",
    "device",
}


def _scanner(folder: Path, model: ScannerModel | None, file: str | Path | None) -> dict[str, Any] | None:
    """Where the model of a run's scanner is: in a file, or nowhere else than here."""
    if model is None:
        return None
    if file is None and model.source != "nominal" and (folder / SCANNER_MODEL_NAME).is_file():
        file = folder / SCANNER_MODEL_NAME
    return {"values": model.as_dict()} if file is None else {"file": _from(folder, file)}


def _from(folder: Path, path: str | Path) -> str:
    """A path as it is reached from a folder; the name of a link is kept, since it says what the file is."""
    parent, name = os.path.split(os.fspath(path))
    return os.path.relpath(os.path.join(os.path.realpath(parent or "."), name), folder.resolve())
