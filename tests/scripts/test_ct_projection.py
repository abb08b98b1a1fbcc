"""From CT numbers to areal densities, on blocks whose content is known, and on the chest CT where it is installed."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from scripts import ct_projection
from scripts.ct_projection import (
    CT_EFFECTIVE_KEV,
    LabelledCT,
    body_mask_of,
    load_chest_ct,
    onto_grid,
    project,
    tissue_densities,
)


def densities(hounsfield: float, bone: bool = False, lung: bool = False) -> np.ndarray:
    return tissue_densities(np.array([hounsfield]), np.array([bone]), np.array([lung]))[:, 0]


def is_installed() -> bool:
    try:
        importlib.metadata.version(ct_projection.PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_adipose_tissue_is_mostly_fat_and_muscle_hardly() -> None:
    fat, lean, mineral = densities(-98.0)
    assert (fat + lean, fat / (fat + lean), mineral) == pytest.approx((0.93, 0.8, 0.0))
    fat, lean, mineral = densities(55.0)
    assert fat + lean == pytest.approx(1.067, abs=0.005)
    assert (fat / (fat + lean), mineral) == pytest.approx((0.03, 0.0))


def test_marrow_is_soft_tissue() -> None:
    for hounsfield in (-80.0, 0.0, 50.0):
        np.testing.assert_array_equal(densities(hounsfield, bone=True), densities(hounsfield))


def test_air_weighs_nothing() -> None:
    for hounsfield in (-1000.0, -2048.0):
        np.testing.assert_array_equal(densities(hounsfield), 0.0)


def test_contrast_medium_counts_as_muscle() -> None:
    for hounsfield in (80.0, 300.0, 2000.0):
        np.testing.assert_array_equal(densities(hounsfield), densities(55.0))


def test_lung_is_thin_lean_tissue() -> None:
    fat, lean, mineral = densities(-800.0, lung=True)
    assert fat == 0
    assert mineral == 0
    assert 0.1 < lean < 0.3


@pytest.mark.parametrize("hounsfield", [150.0, 300.0, 700.0, 1200.0, 2000.0])
def test_bone_attenuates_as_its_number_says(hounsfield: float) -> None:
    amounts = densities(hounsfield, bone=True)
    coefficients = [float(mass_attenuation_cm2_g(name, CT_EFFECTIVE_KEV)) for name in ("fat", "lean", "bone_mineral")]
    water = 0.998 * float(mass_attenuation_cm2_g("water", CT_EFFECTIVE_KEV))
    assert amounts @ coefficients == pytest.approx((1.0 + hounsfield / 1000.0) * water, rel=1e-9)
    assert amounts.sum() == pytest.approx(1.017 + 0.592e-3 * hounsfield)
    # Quantitative CT at 120 kV finds some 0.6 to 0.9 mg/cm3 a unit.
    assert 0.55e-3 < amounts[2] / hounsfield < 0.95e-3


def test_densities_are_never_negative() -> None:
    hounsfield = np.arange(-2048.0, 3072.0, 7.0)
    for bone, lung in ((False, False), (True, False), (False, True)):
        found = tissue_densities(hounsfield, np.full(hounsfield.shape, bone), np.full(hounsfield.shape, lung))
        assert found.shape == (3, len(hounsfield))
        assert (found >= 0).all()


def block() -> LabelledCT:
    """A box of muscle with a bar of bone through it, a gas bubble inside, and a thin table behind it."""
    hounsfield = np.full((20, 40, 30), -1000, dtype=np.int16)
    hounsfield[3:17, 8:32, 5:27] = 55
    hounsfield[3:17, 15:19, 12:16] = 800
    hounsfield[8:12, 21:25, 13:17] = -1000
    hounsfield[:, 36:38, :] = 200
    bone = np.zeros(hounsfield.shape, dtype=bool)
    bone[:, 15:19, 12:16] = True
    return LabelledCT(hounsfield, bone, np.zeros_like(bone), (2.5, 0.7, 0.7))


def test_body_is_the_largest_piece_with_its_air() -> None:
    body = body_mask_of(block().hounsfield)
    assert body[8:12, 21:25, 13:17].all()
    assert not body[:, 34:].any()
    box = np.zeros_like(body)
    box[3:17, 8:32, 5:27] = True
    assert (body & ~box).sum() == 0
    assert body.sum() > 0.95 * box.sum()


def test_empty_volume_has_no_body() -> None:
    assert not body_mask_of(np.full((4, 5, 6), -1000, dtype=np.int16)).any()


def test_projection_is_thickness_times_density() -> None:
    ct = block()
    body = np.zeros(ct.hounsfield.shape, dtype=bool)
    body[:, :34] = True
    maps = project(ct, body)
    assert maps.shape == (3, 20, 30)
    muscle, bone = densities(55.0), densities(800.0, bone=True)
    np.testing.assert_allclose(maps[:, 5, 6], 24 * 0.07 * muscle)
    np.testing.assert_allclose(maps[:, 5, 13], 0.07 * (20 * muscle + 4 * bone))
    np.testing.assert_allclose(maps[:, 10, 16], 20 * 0.07 * muscle)
    assert (maps[:, :3] == 0).all()


def test_grid_keeps_mass_and_means() -> None:
    rng = np.random.default_rng(0)
    maps = rng.uniform(0.0, 5.0, (3, 26, 60))
    # 26 x 2.5 = 5 x 13 mm, 60 x 0.707 = 7 x 6.06 mm: nothing is cut off.
    coarse = onto_grid(maps, (2.5, 0.707), (13.0, 6.06))
    assert coarse.shape == (3, 5, 7)
    np.testing.assert_allclose(coarse.sum(axis=(1, 2)) * 13.0 * 6.06, maps.sum(axis=(1, 2)) * 2.5 * 0.707, rtol=1e-9)
    np.testing.assert_allclose(onto_grid(np.ones((3, 26, 60)), (2.5, 0.707)), 1.0)
    same = onto_grid(maps, (2.0, 2.0), (2.0, 2.0))
    np.testing.assert_allclose(same, maps)


def test_missing_package_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct_projection, "PACKAGE", "a-package-that-nobody-made")
    with pytest.raises(InputError, match="requirements-chest-ct"):
        load_chest_ct()


@pytest.mark.skipif(not is_installed(), reason="the chest CT's package is not installed")
def test_the_chest_ct_is_a_chest() -> None:
    ct = load_chest_ct()
    assert ct.hounsfield.shape == ct.bone.shape == ct.lung.shape == (133, 512, 512)
    assert ct.spacing_mm == pytest.approx((2.5, 0.703125, 0.703125))
    thin = LabelledCT(*(volume[::12] for volume in (ct.hounsfield, ct.bone, ct.lung)), ct.spacing_mm)
    fat, lean, mineral = project(thin, np.stack([body_mask_of(level[None])[0] for level in thin.hounsfield]))
    total = fat + lean + mineral
    # Chests are 18 to 25 cm deep, and a third of that is air.
    assert 8.0 < np.median(total[total > 1.0]) < 20.0
    assert 0.1 < fat.sum() / total.sum() < 0.6
    assert 0.006 < mineral.sum() / total.sum() < 0.03
    spine = np.convolve(mineral.sum(axis=0), np.ones(15), "same")
    assert 200 < int(np.argmax(spine)) < 312
    # The liver's dome lies on the person's right, below the lung's middle; columns begin there.
    assert lean[6:9, 120:240].sum() > 1.05 * lean[6:9, 272:392].sum()
    # Head up: the lungs' tops are narrower than their bases.
    lung_width = ct.lung.any(axis=1).sum(axis=1)
    assert lung_width[:20].mean() < lung_width[60:80].mean()
