"""Maps and sums from shape, where the right answer is known: bodies whose maps are a line in their components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from dxa_monai.errors import InputError
from dxa_monai.networks.material_path import MaterialPath
from dxa_monai.phantom.simulate import Simulator
from dxa_monai.physics.scanner_model import ScannerModel
from dxa_monai.scan.format import pixel_area_cm2
from dxa_monai.scan.regions import Region, regional_sums
from dxa_monai.scan.source import ScanSource
from dxa_monai.training.material_start import ScanMaterials, fit_materials, materials_of_scans
from dxa_monai.training.shape_fit import BodyCodes

ROWS, COLUMNS, SHAPE_COMPONENTS, PEOPLE = 20, 16, 4, 40
REGION_MAP = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
REGION_MAP[1:7, 6:10] = Region.HEAD
REGION_MAP[7:13, 5:11] = Region.RIBS
REGION_MAP[7:13, 1:5] = Region.RIGHT_ARM
REGION_MAP[7:13, 11:15] = Region.LEFT_ARM
REGION_MAP[13:19, 2:8] = Region.RIGHT_LEG
REGION_MAP[13:19, 8:14] = Region.LEFT_LEG


def bodies(noise_g_cm2: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Components of shape, the last of which tells left from right, and maps of the same people.

    Those of the mirrored bodies follow after the bodies'.
    """
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(PEOPLE, SHAPE_COMPONENTS)) * [3.0, 2.0, 1.0, 1.0]
    pattern = np.random.default_rng(5).uniform(0.0, 1.0, (SHAPE_COMPONENTS, 3, ROWS, COLUMNS))
    pattern = pattern + pattern[..., ::-1]
    pattern[3] = np.linspace(-1.0, 1.0, COLUMNS)
    level = np.array([6.0, 12.0, 0.8])[:, None, None]
    maps = level * (2.0 + 0.05 * np.einsum("nk,kmhw->nmhw", u, pattern))
    maps += noise_g_cm2 * level * rng.normal(size=maps.shape)
    return np.concatenate([u, u * [1.0, 1.0, 1.0, -1.0]]), maps * (REGION_MAP > 0)


def found(maps: np.ndarray) -> ScanMaterials:
    """As of the analysis of scans."""
    stored = maps.astype(np.float16)
    sums = np.stack([regional_sums(each, REGION_MAP, pixel_area_cm2()) for each in stored])
    return ScanMaterials(np.ones(len(maps), dtype=bool), stored, sums)


def fitted(components: int, noise_g_cm2: float = 0.3, **changes: Any) -> tuple[MaterialPath, dict[str, Any]]:
    inputs, maps = bodies(noise_g_cm2)
    path = MaterialPath(SHAPE_COMPONENTS, components, (ROWS, COLUMNS))
    materials = found(maps)._replace(**changes)
    people = [f"p{index}" for index in range(PEOPLE)]
    codes = BodyCodes(inputs.reshape(2, 1, PEOPLE, -1), people)
    return path, fit_materials(path, codes, materials, torch.zeros(PEOPLE, 3))


@pytest.mark.parametrize("components", [1, SHAPE_COMPONENTS])
def test_sums_of_the_maps_are_a_direct_regression_of_the_sums(components: int) -> None:
    path, told = fitted(components)
    inputs, maps = bodies(0.3)
    totals = found(maps).sums[:, :8, :3].sum(axis=1)
    both = np.concatenate([totals, totals])  # a mirror image holds as much
    mean, middle = inputs.mean(axis=0), both.mean(axis=0)
    x = (inputs - mean) / np.sqrt(np.square(inputs - mean).sum(axis=1).mean())
    oracle = KernelRidge(alpha=told["penalty"], kernel="linear").fit(x, both - middle)
    new = np.random.default_rng(9).normal(size=(5, SHAPE_COMPONENTS)) * 3.0
    at = (new - mean) / np.sqrt(np.square(inputs - mean).sum(axis=1).mean())
    expected = oracle.predict(at) + middle
    codes = torch.from_numpy(new).float()
    of_maps = path(codes).sum(dim=(2, 3)) * pixel_area_cm2()
    np.testing.assert_allclose(of_maps.numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(path.sums(codes)[:, :8, :3].sum(dim=1).numpy(), expected, rtol=1e-4)


def test_with_all_components_each_pixel_is_its_own_regression() -> None:
    path, told = fitted(SHAPE_COMPONENTS)
    inputs, maps = bodies(0.3)
    both = np.concatenate([maps, maps[..., ::-1]]).astype(np.float16).astype(np.float64).reshape(2 * PEOPLE, -1)
    mean = inputs.mean(axis=0)
    x = (inputs - mean) / np.sqrt(np.square(inputs - mean).sum(axis=1).mean())
    oracle = KernelRidge(alpha=told["penalty"], kernel="linear").fit(x, both - both.mean(axis=0))
    expected = (oracle.predict(x) + both.mean(axis=0)).reshape(-1, 3, ROWS, COLUMNS)
    np.testing.assert_allclose(path(torch.from_numpy(inputs).float()).numpy(), expected, atol=2e-3)
    assert told["share_of_maps"] == pytest.approx(1.0)


def test_fewer_components_are_the_first_of_more() -> None:
    many, few = fitted(SHAPE_COMPONENTS)[0], fitted(2)[0]
    torch.testing.assert_close(few.components, many.components[:2])
    torch.testing.assert_close(few.readout.linear, many.readout.linear[:, :2])
    torch.testing.assert_close(few.held.linear, many.held.linear)


def test_shape_that_tells_all_is_told_by_maps_and_sums() -> None:
    path, _ = fitted(SHAPE_COMPONENTS, noise_g_cm2=0.0)
    others, maps = bodies(0.0, seed=1)
    codes = torch.from_numpy(others[:PEOPLE]).float()
    np.testing.assert_allclose(path(codes).numpy(), maps, atol=0.2)
    # masses: bone area jumps where a pixel's mineral crosses the level, which no line follows
    np.testing.assert_allclose(path.sums(codes)[..., :3].numpy(), found(maps).sums[..., :3], rtol=0.01)


def test_a_mirrored_body_has_its_arms_exchanged() -> None:
    path, _ = fitted(SHAPE_COMPONENTS)
    inputs, _ = bodies(0.3)
    here, mirrored = (torch.from_numpy(each).float() for each in (inputs[:PEOPLE], inputs[PEOPLE:]))
    left, right = Region.LEFT_ARM - 1, Region.RIGHT_ARM - 1
    torch.testing.assert_close(path.sums(here)[:, left], path.sums(mirrored)[:, right], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(path(here), path(mirrored).flip(-1), rtol=1e-3, atol=1e-3)


def test_scans_without_a_whole_body_are_left_out() -> None:
    inputs, maps = bodies(0.0)
    kept = np.arange(PEOPLE) != 3
    sums = found(maps).sums * kept[:, None, None]
    path, _ = fitted(SHAPE_COMPONENTS, noise_g_cm2=0.0, kept=kept, sums=sums, maps=maps * kept[:, None, None, None])
    codes = torch.from_numpy(inputs[3:4]).float()
    # of 6 to 30 g/cm2; with zeros for maps and sums among forty it would be off by half a g/cm2
    np.testing.assert_allclose(path(codes)[0].numpy(), maps[3], atol=0.2)


def test_maps_of_a_scan_are_those_of_the_analysis_and_air_is_refused(tmp_path: Any) -> None:
    rows = []
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", Simulator().simulate_person(index, 11).visits[0].counts)
        rows.append({"scan": str(tmp_path / f"{index}.npy")})
    materials = materials_of_scans(rows, ScanSource(), ScannerModel())
    assert materials.kept.all()
    of_maps = materials.maps.astype(np.float64).sum(axis=(2, 3)) * pixel_area_cm2()
    np.testing.assert_allclose(materials.sums[:, :8, :3].sum(axis=1), of_maps, rtol=1e-3)
    for row in rows[:2]:
        np.save(row["scan"], np.full_like(np.load(row["scan"]), 300))
    with pytest.raises(InputError, match=r"at least 3 training scans that show a whole body, got 1 of 3; set it to 0"):
        materials_of_scans(rows, ScanSource(), ScannerModel())
