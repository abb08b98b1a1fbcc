from pathlib import Path

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.scan.format import counts_to_unit
from dxa_monai.scan.io import load_scan
from dxa_monai.scan.manifest import read_manifest
from dxa_monai.scan.statistics import image_statistics


def test_statistics_are_those_of_all_scans_at_once(bar_cohort: Path) -> None:
    rows = read_manifest(bar_cohort)
    mean, deviation = image_statistics(rows)
    stack = np.stack([counts_to_unit(load_scan(row["scan"]).counts) for row in rows]).astype(np.float64)
    assert mean.shape == (6, 150, 109)
    assert mean.dtype == torch.float32
    np.testing.assert_allclose(mean.numpy(), np.moveaxis(stack.mean(0), -1, 0), atol=1e-7)
    assert deviation == pytest.approx(np.sqrt(np.square(stack - stack.mean(0)).mean()), rel=1e-6)


def test_no_scan_is_refused() -> None:
    with pytest.raises(InputError, match="expected at least one scan, got none"):
        image_statistics([])
