from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.errors import InputError
from dxa_monai.mesh.checks import DEFECTS, checked, find_defects, find_doubts
from dxa_monai.mesh.io import BodyMesh
from tests.mesh.shapes import box, cut_above, joined, moved, sphere, turned


def names(mesh: BodyMesh) -> list[str]:
    return [defect.name for defect in find_defects(mesh)]


@pytest.mark.parametrize("name", ["woman", "man", "child", "supine"])
def test_whole_people_pass_unchanged(people: dict[str, BodyMesh], name: str) -> None:
    assert checked(people[name]) is people[name]


def spoilt(woman: BodyMesh) -> dict[str, BodyMesh]:
    centres = woman.vertices_m[woman.faces].mean(axis=1)
    low, _ = woman.bounds_m
    arm = centres[:, 0] > 0.3
    return {
        "two people": joined(woman, moved(woman, x=2.5)),
        "a speck below the floor": joined(woman, moved(box((0.01, 0.01, 0.01)), z=low[2] - 0.3)),
        "a floor": joined(woman, moved(box((2.0, 2.0, 0.01)), z=low[2] - 0.01)),
        "both sides": replace(woman, faces=np.concatenate([woman.faces, woman.faces[:, ::-1]])),
        "an arm turned": replace(woman, faces=np.where(arm[:, None], woman.faces[:, ::-1], woman.faces)),
        "inside out": replace(woman, faces=woman.faces[:, ::-1]),
        "front alone": replace(woman, faces=woman.faces[centres[:, 1] < 0.0]),
        "chest up": cut_above(woman, 0.72),
        "hip up": cut_above(woman, 0.48),
        "thigh up": cut_above(woman, 0.38),
        "knee up": cut_above(woman, 0.28),
        "ankle up": cut_above(woman, 0.1),
        "on the back": turned(woman, [[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "on the side": turned(woman, [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]),
        "on the head": turned(woman, [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
        "backwards": turned(woman, [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
        "sideways": turned(woman, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
        "a ball": sphere(),
        "a pole": box((0.05, 0.05, 1.7)),
    }


@pytest.mark.parametrize(
    ("what", "name", "sentence"),
    [
        ("two people", "pieces", "one body, got .* separate pieces .* mend it with repair"),
        (
            "a speck below the floor",
            "pieces",
            r"pieces \(0.* and 30 cm of the extent",
        ),
        ("a floor", "pieces", "one body"),
        ("both sides", "doubled", "every face once, got 50.0% of the surface twice: mend it with repair"),
        ("an arm turned", "winding", "faces wound one way, got .* against the rest: mend it with repair"),
        ("inside out", "inside_out", "point outwards, got a surface turned inside out: mend it with repair"),
        ("front alone", "holes", r"holes of at most 5%, got holes of .*accept it with accept='holes'"),
        ("chest up", "whole", "a bust"),
        ("hip up", "whole", "a bust"),
        ("thigh up", "whole", "a bust"),
        ("knee up", "whole", "without legs"),
        ("ankle up", "whole", "without legs or feet"),
        ("on the back", "upright", "state another up_axis or accept it"),
        ("on the side", "upright", "state another up_axis or accept it"),
        ("on the head", "upright", "upside down with up_axis 'z' and facing '-y'"),
        ("backwards", "facing", "toes that point backwards .* state another facing"),
        ("sideways", "facing", "one turned by 90 degrees .* state another facing"),
        ("a ball", "whole", "got 3.14 "),
        ("a pole", "whole", "got 0.1"),
    ],
)
def test_each_defect_is_told_in_its_sentence(woman: BodyMesh, what: str, name: str, sentence: str) -> None:
    mesh = spoilt(woman)[what]
    assert name in names(mesh)
    with pytest.raises(InputError, match=sentence) as raised:
        checked(mesh, accept=set(DEFECTS) - {name})
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"{mesh.source}: expected ")
    assert checked(mesh, accept=DEFECTS) is mesh


def test_the_first_defect_is_the_one_that_is_told(woman: BodyMesh) -> None:
    inside_out_twice = joined(woman, moved(woman, x=2.5))
    inside_out_twice = replace(inside_out_twice, faces=inside_out_twice.faces[:, ::-1])
    with pytest.raises(InputError, match="one body"):
        checked(inside_out_twice)


def test_harmless_flaws_pass(woman: BodyMesh) -> None:
    centres = woman.vertices_m[woman.faces].mean(axis=1)
    no_soles = replace(woman, faces=woman.faces[centres[:, 2] > woman.bounds_m[0, 2] + 0.01])
    flat = replace(woman, faces=np.concatenate([woman.faces, woman.faces[:50][:, [0, 1, 1]]]))
    stray = replace(woman, vertices_m=np.concatenate([woman.vertices_m, [[50.0, 50.0, 50.0]]]))
    some_doubled = replace(woman, faces=np.concatenate([woman.faces, woman.faces[:50]]))
    soup = BodyMesh(woman.vertices_m[woman.faces].reshape(-1, 3), np.arange(woman.faces.size).reshape(-1, 3))
    inner = joined(woman, moved(sphere(0.03, 1), z=woman.bounds_m[0, 2] + 1.0))
    for mesh in (no_soles, flat, stray, some_doubled, soup, inner):
        assert names(mesh) == []


def test_what_passes_and_may_still_matter_is_told(people: dict[str, BodyMesh], woman: BodyMesh) -> None:
    for name in ("woman", "man", "child"):
        assert find_doubts(people[name]).sentences == ()
    assert np.isnan(find_doubts(people["child"]).lean_degrees)
    centres = woman.vertices_m[woman.faces].mean(axis=1)
    navel = np.array([0.0, centres[:, 1].min(), woman.bounds_m[0, 2] + 1.0])
    belly = (np.abs(centres - navel)[:, [0, 2]] < 0.08).all(axis=1) & (centres[:, 1] < 0.0)
    holed = replace(woman, faces=woman.faces[~belly])
    assert names(holed) == []
    (sentence,) = find_doubts(holed).sentences
    assert re.match(r"holes of [1-3]\.\d% of its surface: .*--mesh#repair True", sentence)
    assert find_doubts(checked(holed, repair=True)).sentences == ()
    leant = turned(woman, [[1, 0, 0], [0, 0.9986, 0.0523], [0, -0.0523, 0.9986]])
    assert names(leant) == []
    (sentence,) = find_doubts(leant).sentences
    assert re.match(r"leans backwards by [23]\.\d degrees: ", sentence)


def test_an_unknown_name_to_accept_is_refused(woman: BodyMesh) -> None:
    with pytest.raises(InputError, match=r"accept: expected names out of pieces, .* got bust"):
        checked(woman, accept=["bust"])
    with pytest.raises(InputError, match="got bust"):
        checked(woman, accept="bust")


def test_what_repair_cannot_mend_is_refused_all_the_same(woman: BodyMesh) -> None:
    with pytest.raises(InputError, match="accept it with accept='whole'"):
        checked(cut_above(woman, 0.48), repair=True, accept="holes")
