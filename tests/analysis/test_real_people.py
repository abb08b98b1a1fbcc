"""Two real people, projected from their CTs (tests/data/real_ct), on scanners that the analysis does not know.

What docs/real_chest_ct.md reports of ten scanners is checked on three; no setting was chosen on these people.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import torch

from dxa_monai.analysis.bone import find_and_decompose
from dxa_monai.evaluation.perturbed import VirtualScanner, draw_scanners
from dxa_monai.physics.correction import find_correction
from dxa_monai.scan.format import channels_first, pixel_area_cm2
from scripts.ct_projection import load_real_person


@lru_cache(maxsize=1)
def scanners() -> list[VirtualScanner]:
    return draw_scanners(3, seed=0)


def errors_percent(name: str) -> np.ndarray:
    """``(scanners, 3)`` of fat, lean and bone mineral over all of the person."""
    truth = load_real_person(name).astype(np.float32)
    true_grams = truth.sum(axis=(1, 2)) * pixel_area_cm2()
    found = []
    for scanner in scanners():
        counts = scanner.acquisition.scan(torch.from_numpy(truth)[None], torch.Generator().manual_seed(scanner.number))[
            0
        ]
        raw = torch.from_numpy(channels_first(counts))
        clean = find_correction(raw, scanner.phantom_model).apply(raw[None])
        found.append(find_and_decompose(clean, scanner.phantom_model)[1][0].sum(dim=(1, 2)).numpy() * pixel_area_cm2())
    return 100.0 * (np.array(found) / true_grams - 1.0)


@pytest.mark.parametrize("name", ["chest_cptac_pda", "abdomen_tcga_ov"])
def test_fat_within_five_percent_and_mineral_within_eight(name: str) -> None:
    """On average over scanners; one by one they scatter by about 4 %. Before the rib cage was looked at as a whole, the
    chest's fat was 19 % and its mineral 22 % too low."""
    fat, lean, mineral = errors_percent(name).mean(axis=0)
    assert abs(fat) < 5.0
    assert abs(lean) < 3.0
    assert abs(mineral) < 8.0


def test_maps_hold_what_their_page_says() -> None:
    for name, grams in (("chest_cptac_pda", (6191, 14357, 299)), ("abdomen_tcga_ov", (17007, 36546, 547))):
        truth = load_real_person(name)
        assert truth.min() >= 0.0
        # A last row that a scan's pixels do not fill is left out.
        share = truth.sum(axis=(1, 2)) * pixel_area_cm2() / np.array(grams)
        assert ((share > 0.95) & (share <= 1.001)).all()
