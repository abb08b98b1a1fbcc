"""The inner surface of subcutaneous fat nests in the skin, follows the person and lets the solver find it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, Phenotype, PosedBody, Positioning
from dxa_monai.phantom.people.population import Person, sample_person
from dxa_monai.phantom.tissue.fat_shell import DEEPEST_SHARE, FatShell

PERSON = next(person for person in (sample_person(index, 5) for index in range(20)) if person.sex == "F")


@pytest.fixture(scope="module")
def smoothing(body_model: BodyModel) -> scipy.sparse.csr_matrix:
    return mesh.smoothing_matrix(body_model.faces, len(body_model.vertex_part))


@pytest.fixture(scope="module")
def heavy_woman(body_model: BodyModel) -> PosedBody:
    return body_model.supine(body_model.solve("F", 40, 164.0, 104.0, muscle=0.1), Positioning())


def shell_of(
    body: PosedBody, model: BodyModel, smoothing: scipy.sparse.csr_matrix, person: Person = PERSON
) -> FatShell:
    return FatShell(person, body, model, trunk_axes(body.joints_m), smoothing)


def depth_m(shell: FatShell, body: PosedBody, factor: float = 1.0) -> np.ndarray:
    return np.linalg.norm(shell.inner_vertices_m(factor) - body.vertices_m, axis=1)


def test_factor_nought_is_the_skin(
    body_model: BodyModel, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    shell = shell_of(heavy_woman, body_model, smoothing)
    np.testing.assert_array_equal(shell.inner_vertices_m(0.0), heavy_woman.vertices_m)
    assert shell.volume_l(0.0) == pytest.approx(0.0, abs=1e-9)
    assert shell.skin_volume_l == pytest.approx(body_model.volume_l(heavy_woman.vertices_m))


def test_volume_grows_with_the_factor_and_the_solver_meets_it(
    body_model: BodyModel, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    shell = shell_of(heavy_woman, body_model, smoothing)
    volumes = [shell.volume_l(factor) for factor in (0.2, 0.5, 1.0, 2.0)]
    assert volumes == sorted(volumes)
    for wanted in (volumes[0], 0.5 * (volumes[1] + volumes[2])):
        assert shell.volume_l(shell.solve(wanted)) == pytest.approx(wanted, rel=1e-3)


def test_depth_saturates_before_the_middle_of_a_limb(
    body_model: BodyModel, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    """However large the factor, the inner surface of the upper arm keeps a quarter of the way to the bone."""
    shell = shell_of(heavy_woman, body_model, smoothing)
    arm = body_model.vertex_part == PART_NAMES.index("left_arm")
    start, end = (heavy_woman.joints_m[f"{name}.L"] for name in ("upperarm01", "lowerarm01"))
    along = (end - start) / np.linalg.norm(end - start)
    offset = heavy_woman.vertices_m - start
    height = offset @ along
    middle = arm & (height > 0.3 * np.linalg.norm(end - start)) & (height < 0.7 * np.linalg.norm(end - start))
    from_bone = np.linalg.norm(offset - height[:, None] * along, axis=1)
    assert (depth_m(shell, heavy_woman, 50.0)[middle] < (DEEPEST_SHARE["arm"] + 0.02) * from_bone[middle]).all()


def test_fat_is_deep_where_the_person_has_it(
    body_model: BodyModel, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    more_legs = replace(PERSON, fat_depth={**PERSON.fat_depth, "legs": 1.5 * PERSON.fat_depth["legs"]})
    usual = depth_m(shell_of(heavy_woman, body_model, smoothing), heavy_woman, 0.3)
    deeper = depth_m(shell_of(heavy_woman, body_model, smoothing, more_legs), heavy_woman, 0.3)
    leg = body_model.vertex_part == PART_NAMES.index("left_leg")
    head = body_model.vertex_part == PART_NAMES.index("head")
    assert deeper[leg].mean() > 1.15 * usual[leg].mean()
    np.testing.assert_allclose(deeper[head], usual[head], rtol=1e-9)


def test_heavy_breasts_are_fat_to_the_side_too(
    body_model: BodyModel, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    """Where a heavy woman's chest stands out most to the side, the shell is deeper in her than with a man's fat."""
    axes = trunk_axes(heavy_woman.joints_m)
    left, level = axes.coordinates(heavy_woman.vertices_m[:, 0], heavy_woman.vertices_m[:, 2])
    front = heavy_woman.vertices_m[:, 1] < axes.depth_m(0.6)
    chest = np.flatnonzero((body_model.vertex_part == 0) & (level > 0.5) & (level < 0.75) & front)
    outermost = chest[np.argsort(np.abs(left[chest]))[-40:]]
    woman = depth_m(shell_of(heavy_woman, body_model, smoothing), heavy_woman)
    man = depth_m(shell_of(heavy_woman, body_model, smoothing, replace(PERSON, sex="M")), heavy_woman)
    assert woman[outermost].mean() > 1.3 * man[outermost].mean()


def test_a_lean_person_has_a_thin_shell(
    body_model: BodyModel, lean_woman: Phenotype, heavy_woman: PosedBody, smoothing: scipy.sparse.csr_matrix
) -> None:
    lean = body_model.supine(lean_woman, Positioning())
    share = [
        shell.volume_l(1.0) / shell.skin_volume_l
        for shell in (shell_of(body, body_model, smoothing) for body in (lean, heavy_woman))
    ]
    assert share[0] < 0.35 < share[1]
