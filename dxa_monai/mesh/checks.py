"""Defects of a body scan: which make a wrong number, and are refused, and which do no harm.

A mesh is used here by points spread evenly over its surface, with the surface's normals. So

* **refused** are what puts points where no person is (other bodies, a floor, a doubled surface), leaves a part of the
  person without points (large holes, a bust), turns normals inwards, or has the person lie, stand on the head or face
  another way than stated;
* **told** are holes of up to 5 % of the surface in all (soles, scalp and armpits of most scanners) and a person who
  leans forwards or backwards (:func:`find_doubts`): what lies behind a hole counts as missing where thickness is taken
  from the surface, and leaning looks like a belly;
* **harmless** are faces without area, up to 1 % of doubled or wrongly wound faces, small pieces inside the body's own
  extent (eyes, teeth) and unused vertices.

Everything but the person's wholeness and posture can be mended (:mod:`dxa_monai.mesh.repair`).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from dxa_monai.errors import InputError
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.posture import (
    MAX_LEAN_DEGREES,
    MAX_SHIN_GIRTH,
    MAX_TILT_DEGREES,
    MAX_TURN_DEGREES,
    MIN_CENTRE,
    MIN_TOES,
    SKIN_AREA,
    Posture,
    measure_posture,
)
from dxa_monai.mesh.repair import SurfaceState, repaired, survey

MAX_OTHER_PIECES = 0.02
"""Largest share of the area outside the largest piece: about a hand."""

MAX_OUTREACH_M = 0.02
"""How far other pieces may reach beyond the largest one, because they move the floor and the measured height."""

MAX_WRONG_FACES = 0.01
"""Largest share of the area in doubled faces, and in wrongly wound ones."""

MAX_HOLES = 0.05
"""Largest area of all holes together, by the area of the surface."""

MAX_UNTOLD_HOLES = 0.005
"""Above this they are told: one of 16 cm across the belly, 1.3 %, cost 7 kg of fat in one of three people."""

ADULT_HEIGHT_M = 1.4
"""Above it leaning is told."""

DEFECTS = ("pieces", "doubled", "winding", "inside_out", "holes", "whole", "upright", "facing")
"""Names under which a defect can be accepted, in the order in which they are looked for."""


@dataclass(frozen=True)
class Defect:
    """Something about a mesh that would make a wrong number.

    Attributes:
        name: one of ``DEFECTS``.
        expected, found: the two halves of the sentence about it.
        mendable: whether ``repair`` can mend it.
        advice: what the user may have stated wrongly, for the end of the sentence.
    """

    name: str
    expected: str
    found: str
    mendable: bool
    advice: str = ""


def checked(mesh: BodyMesh, repair: bool = False, accept: str | Collection[str] = ()) -> BodyMesh:
    """The mesh if it can stand for a person; with ``repair`` after mending it, ``mends`` saying how.

    Args:
        mesh: a loaded mesh.
        repair: drop doubled faces, faces without area and other bodies, turn faces outwards and close small holes.
            The vertices keep their numbers.
        accept: name or names out of ``DEFECTS`` that are let through, where the user knows better.

    Raises:
        InputError: the first defect that makes a wrong number, naming ``repair`` or, where that does not help, the
            name under which to accept it; or an unknown name in ``accept``.
    """
    return checked_with_doubts(mesh, repair, accept)[0]


def checked_with_doubts(
    mesh: BodyMesh, repair: bool = False, accept: str | Collection[str] = ()
) -> tuple[BodyMesh, Doubts]:
    """As :func:`checked`, and :func:`find_doubts` of that mesh: one look at it, which takes longer than to read it."""
    accepted = {accept} if isinstance(accept, str) else set(accept)
    unknown = sorted(accepted - set(DEFECTS))
    if unknown:
        raise InputError(f"accept: expected names out of {', '.join(DEFECTS)}, got {', '.join(unknown)}.")
    if repair:
        mesh = repaired(mesh, others=_has_other_bodies(survey(mesh)), max_holes=MAX_HOLES)
    state, posture = survey(mesh), measure_posture(mesh)
    for defect in _defects(mesh, state, posture):
        if defect.name in accepted:
            continue
        way_out = "mend it with repair" if defect.mendable and not repair else f"accept it with accept='{defect.name}'"
        way_out = f"{defect.advice} or {way_out}" if defect.advice else way_out
        raise InputError(f"{mesh.source}: expected {defect.expected}, got {defect.found}: {way_out}.")
    return mesh, _doubts(mesh, state, posture)


def find_defects(mesh: BodyMesh) -> list[Defect]:
    """All defects of a mesh that make a wrong number, in the order of ``DEFECTS``."""
    return _defects(mesh, survey(mesh), measure_posture(mesh))


def _defects(mesh: BodyMesh, state: SurfaceState, posture: Posture) -> list[Defect]:
    found: list[Defect] = []
    if _has_other_bodies(state):
        share, reach = state.other_pieces_share, state.other_pieces_outreach_m
        found.append(
            Defect(
                "pieces",
                "one body",
                f"{state.piece_count} separate pieces ({share:.1%} of the surface and {100 * reach:.0f} cm "
                "of the extent outside the largest)",
                mendable=True,
            )
        )
    if state.doubled_share > MAX_WRONG_FACES:
        found.append(Defect("doubled", "every face once", f"{state.doubled_share:.1%} of the surface twice", True))
    if state.disagreeing_share > MAX_WRONG_FACES:
        against = f"{state.disagreeing_share:.1%} of the surface wound against the rest"
        found.append(Defect("winding", "faces wound one way", against, mendable=True))
    if state.volume_m3 < 0.0:
        found.append(Defect("inside_out", "faces that point outwards", "a surface turned inside out", True))
    if state.holes_share > MAX_HOLES:
        holes = f"holes of {state.holes_share:.1%} of its area"
        found.append(Defect("holes", f"a surface with holes of at most {MAX_HOLES:.0%}", holes, mendable=False))
    of_posture = _posture_defect(posture, mesh)
    return [*found, of_posture] if of_posture else found


@dataclass(frozen=True)
class Doubts:
    """What may make a number of a usable mesh wrong.

    Attributes:
        holes_percent: of the surface.
        lean_degrees: of the body, forwards (:class:`dxa_monai.mesh.posture.Posture`); nan for children, whose heads are
            larger than those that it was measured with.
        sentences: about what is beyond its limit, each without the mesh's name.
    """

    holes_percent: float
    lean_degrees: float
    sentences: tuple[str, ...]


def find_doubts(mesh: BodyMesh) -> Doubts:
    """Measure what is let through and may still matter."""
    return _doubts(mesh, survey(mesh), measure_posture(mesh))


def _doubts(mesh: BodyMesh, state: SurfaceState, posture: Posture) -> Doubts:
    holes = state.holes_share
    lean = posture.lean_degrees if mesh.height_m > ADULT_HEIGHT_M else math.nan
    sentences = []
    if holes > MAX_UNTOLD_HOLES:
        sentences.append(
            f"holes of {holes:.1%} of its surface: what lies behind them counts as missing, up to some kg of fat; "
            "close them (--mesh#repair True)"
        )
    if abs(lean) > MAX_LEAN_DEGREES:
        way = "forwards" if lean > 0.0 else "backwards"
        sentences.append(
            f"leans {way} by {abs(lean):.1f} degrees: a degree takes about 3 kg from fat to lean (forwards) or from "
            "lean to fat (backwards); level the scan, or scan a person who stands straight"
        )
    return Doubts(100.0 * holes, lean, tuple(sentences))


def _has_other_bodies(state: SurfaceState) -> bool:
    return state.other_pieces_share > MAX_OTHER_PIECES or state.other_pieces_outreach_m > MAX_OUTREACH_M


def _posture_defect(posture: Posture, mesh: BodyMesh) -> Defect | None:
    """The first thing about the posture that cannot be right: later ones follow from it."""
    extents = np.diff(mesh.bounds_m, axis=0)[0]
    axes = f"up_axis '{mesh.up_axis}' and facing '{mesh.facing}'"
    skin_by_length = posture.skin_area * (extents[2] / extents.max()) ** 2
    upright, front = "a person with the head up", "a person seen from the front"
    other_up, other_facing = "state another up_axis", "state another facing"
    if posture.tilt_degrees > MAX_TILT_DEGREES and SKIN_AREA[0] < skin_by_length < SKIN_AREA[1]:
        lying = f"a long axis {posture.tilt_degrees:.0f} degrees off that with {axes}"
        return Defect("upright", upright, lying, mendable=False, advice=other_up)
    if not SKIN_AREA[0] <= posture.skin_area <= SKIN_AREA[1]:
        expected = f"a whole person with {SKIN_AREA[0]} to {SKIN_AREA[1]} statures squared of skin"
        return Defect("whole", expected, f"{posture.skin_area:.2f} (a bust has more)", mendable=False)
    if posture.turn_degrees > MAX_TURN_DEGREES:
        turn = f"one turned by {posture.turn_degrees:.0f} degrees with {axes}"
        return Defect("facing", front, turn, mendable=False, advice=other_facing)
    if posture.centre < MIN_CENTRE:
        return Defect("upright", upright, f"one upside down with {axes}", mendable=False, advice=other_up)
    if posture.shin_girth > MAX_SHIN_GIRTH:
        shins = f"{posture.shin_girth:.2f} (a bust without legs)"
        return Defect("whole", f"shins of at most {MAX_SHIN_GIRTH} statures around", shins, mendable=False)
    if posture.toes < -MIN_TOES:
        return Defect("facing", front, f"toes that point backwards with {axes}", mendable=False, advice=other_facing)
    if not posture.toes > MIN_TOES:
        feet = "a lower end without toes that point forwards (a bust without legs or feet)"
        return Defect("whole", "a person with feet", feet, mendable=False)
    return None
