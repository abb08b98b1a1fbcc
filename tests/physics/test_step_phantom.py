"""The step phantom: layout, and what is read off its scan."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.step_phantom import COMPOSITIONS, PHANTOM_MATERIALS, TOTAL_G_CM2, StepPhantom
from dxa_monai.scan.format import SCAN_SHAPE
from tests.sharp_scanner import sharp_scanner

PATCHES = len(TOTAL_G_CM2) * len(COMPOSITIONS)


@pytest.mark.parametrize("shape", [SCAN_SHAPE, (120, 90)])
def test_every_patch_is_there_alike_and_apart_from_the_others(shape: tuple[int, int]) -> None:
    phantom = StepPhantom(shape)
    for labels in (phantom.labels, phantom.inner_labels):
        counts = np.bincount(labels[labels >= 0], minlength=PATCHES)
        assert len(counts) == PATCHES
        assert counts.min() == counts.max() >= 20
        assert all(ndimage.label(labels == patch)[1] == 1 for patch in (0, 7, PATCHES - 1))


def test_inner_pixels_lie_two_away_from_any_other_material() -> None:
    phantom = StepPhantom()
    smallest = ndimage.minimum_filter(phantom.labels, 5)
    largest = ndimage.maximum_filter(phantom.labels, 5)
    inner = phantom.inner_labels >= 0
    assert (smallest[inner] == largest[inner]).all()
    assert (phantom.inner_labels[inner] == phantom.labels[inner]).all()


def test_open_air_surrounds_the_plate() -> None:
    labels = StepPhantom().labels
    edges = np.concatenate([labels[:4].ravel(), labels[-4:].ravel(), labels[:, :4].ravel(), labels[:, -4:].ravel()])
    assert (edges == -1).all()


def test_map_holds_each_patch_s_materials() -> None:
    phantom = StepPhantom()
    areal = phantom.areal_density()[0].numpy()
    assert areal.shape == (len(PHANTOM_MATERIALS), *SCAN_SHAPE)
    for patch, expected in enumerate(phantom.patches_g_cm2):
        np.testing.assert_allclose(areal[:, phantom.labels == patch].mean(axis=1), expected, rtol=1e-5)
    assert (areal[:, phantom.labels < 0] == 0).all()


def test_plastics_add_up_to_the_row_s_total() -> None:
    patches = StepPhantom().patches_g_cm2.reshape(len(TOTAL_G_CM2), len(COMPOSITIONS), 3)
    slab = np.array([composition[3] for composition in COMPOSITIONS])
    np.testing.assert_allclose(patches.sum(axis=2) - slab, np.repeat(np.array(TOTAL_G_CM2)[:, None], 8, axis=1))


def test_scan_is_as_from_the_file_and_repeatable() -> None:
    acquisition = Acquisition(photons_per_pixel=5e5)
    first, second = (StepPhantom().scan(acquisition, torch.Generator().manual_seed(3)) for _ in range(2))
    assert first.shape == (6, *SCAN_SHAPE)
    assert first.dtype == torch.float32
    assert 0.0 <= float(first.min()) < float(first.max()) <= 1.0
    assert torch.equal(first, second)
    counts = first.double() * 16383
    assert torch.allclose(counts, counts.round(), atol=2e-3)


def test_statistics_are_unbiased_by_noise() -> None:
    """Mean log attenuation of noisy patches equals that without noise, within its own standard error."""
    phantom, acquisition = StepPhantom(), sharp_scanner(photons_per_pixel=2e4)
    noisy = phantom.scan(acquisition, torch.Generator().manual_seed(0)) * 12.0
    exact = acquisition.forward(phantom.areal_density(), materials=PHANTOM_MATERIALS)[0] * 12.0
    mean, error = phantom.patch_statistics(noisy)
    expected, _ = phantom.patch_statistics(exact)
    assert mean.shape == error.shape == (PATCHES + 1, 6)
    used = (expected < 6.0) & (expected > 0.1)
    z = ((mean - expected) / error)[used]
    assert abs(z.mean()) < 4 / np.sqrt(used.sum())
    assert 0.85 < z.std() < 1.2
