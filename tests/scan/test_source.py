from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

import dxa_monai
from dxa_monai.errors import InputError
from dxa_monai.scan.format import CHANNELS
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.reader import RawDXAReader
from dxa_monai.scan.source import ScanSource
from dxa_monai.scan.statistics import image_statistics, principal_components
from tests.scan.examples import SEGMENTS_EXCHANGED, exchanged_copies


def test_everything_read_through_a_source_has_its_channels_in_one_order(bar_cohort: Path, tmp_path: Path) -> None:
    rows, copies = read_manifest(bar_cohort), exchanged_copies(read_manifest(bar_cohort), tmp_path)
    source = ScanSource(SEGMENTS_EXCHANGED)
    torch.testing.assert_close(source.images(copies), ScanSource().images(rows), rtol=0, atol=0)
    mean, deviation = image_statistics(rows, ScanSource())
    mean_of_copies, deviation_of_copies = image_statistics(copies, source)
    torch.testing.assert_close(mean_of_copies, mean, rtol=0, atol=0)
    assert deviation_of_copies == deviation
    torch.testing.assert_close(
        principal_components(copies, mean, 3, source)[0], principal_components(rows, mean, 3, ScanSource())[0]
    )
    reader = RawDXAReader(SEGMENTS_EXCHANGED)
    image, _ = reader.get_data(reader.read(copies[0]["scan"]))
    np.testing.assert_array_equal(image, source.image(copies[0]["scan"]).numpy())


def test_a_reader_and_its_source_declare_the_same() -> None:
    declared = {"channels": SEGMENTS_EXCHANGED, "pixel_spacing_mm": (13.0, 6.3), "spatial_shape": (10, 12)}
    assert RawDXAReader(**declared).source == ScanSource(**declared)


@pytest.mark.parametrize("source", [ScanSource(), ScanSource(SEGMENTS_EXCHANGED, (13, 6), None)])
def test_a_record_gives_the_source_back(source: ScanSource) -> None:
    assert ScanSource.from_dict(source.as_dict()) == source


def test_what_is_declared_wins_over_what_another_source_declares() -> None:
    recorded = ScanSource(SEGMENTS_EXCHANGED, (13.0, 6.3))
    assert ScanSource().with_undeclared_from(recorded) == recorded
    assert ScanSource(CHANNELS).with_undeclared_from(recorded).channels == CHANNELS


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"channels": CHANNELS[:5]}, "channels: expected"),
        ({"pixel_spacing_mm": (13.0, -1.0)}, "pixel_spacing_mm: expected"),
        ({"spatial_shape": (150,)}, "spatial_shape: expected two positive whole numbers"),
    ],
)
def test_a_source_that_cannot_be_is_refused(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ScanSource(**arguments)
    with pytest.raises(InputError, match="got 'order'"):
        ScanSource.from_dict({"order": 1})


def test_nothing_else_opens_scan_files() -> None:
    """A file opened past the source would have its channels in an order that nobody declared."""
    package = Path(dxa_monai.__file__).parent
    callers = set()
    for path in package.rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        if "load_scan" in names:
            callers.add(path.relative_to(package).as_posix())
    assert callers == {"scan/source.py"}
