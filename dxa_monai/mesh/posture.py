"""Is it a whole person, upright, facing forwards? Answered from points spread evenly over the surface.

Points instead of vertices or faces make the answers independent of the topology, and lengths are taken in statures, so
that they hold from child to adult. The limits stand between what a body model gives (900 people of the virtual cohort
in a T-pose, from 4 years on, and six people on the table with their arms down) and what every ninth of the 900 gives
when it is cut, turned or put upside down:

=====================  ======================  ==============================================  ==============
measure                whole people            others                                          limit
=====================  ======================  ==============================================  ==============
skin / stature^2       0.53 .. 0.87            cut at the hip 1.27 .. 1.89                     0.4 .. 1.15
centre of the skin     0.53 .. 0.56 of height  upside down 0.44 .. 0.46                        0.49
girth of both shins    0.27 .. 0.50 statures   cut in the thigh 0.86 .. 1.51                   0.7
toes ahead of ankles   0.047 .. 0.059          cut at the knee -0.02 .. 0.00, at the ankle     0.03
                                               0.00 .. 0.025; facing backwards -0.059 ..
                                               -0.047
tilt of the long axis  0 .. 3 degrees          lying 90                                        20
turn about it          below 5 degrees         facing sideways 90                              30
lean forwards          -0.9 .. 0.6 degrees     leant by 2 degrees 1.1 .. 2.5 (-2.9 .. -1.5)    1, told
=====================  ======================  ==============================================  ==============

The lean (480 adults among them; a child of 4 years, with a larger head, has -1.9) is how far the head is ahead of the
ankles, beyond what it is in people who stand straight. The long axis does not tell it: bellies and breasts turn it by
as much.

The body model is always barefoot and stands straight: the limits of tilt, turn and toes leave room for what people do.
Missing feet are known by the toes alone; a missing head, missing arms or a person who sits are not recognised.

.. [1] Mosteller RD. Simplified calculation of body-surface area. N Engl J Med 1987;317:1098.
   doi:10.1056/NEJM198710223171717
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import sample_points

FloatArray = npt.NDArray[np.float64]

SKIN_AREA = (0.4, 1.15)
MIN_CENTRE = 0.49
MAX_SHIN_GIRTH = 0.7
MIN_TOES = 0.03
MAX_TILT_DEGREES = 20.0
MAX_TURN_DEGREES = 30.0
MAX_LEAN_DEGREES = 1.0
"""The limits of the table above; beyond 1.15 statures squared of skin a person of 1.7 m would weigh 230 kg [1]_."""

_POINTS = 20_000
_SHINS = (0.05, 0.20)
_SOLES = (0.0, 0.03)
_ANKLES = (0.05, 0.12)
_HEAD = (0.88, 0.98)
"""Parts of the height, from the floor."""
_HEAD_AHEAD = 0.0426
"""Statures that the surface of the head is ahead of that of the ankles, mean of 240 people."""


@dataclass(frozen=True)
class Posture:
    """Lengths in statures, areas in statures squared, angles in degrees; see the table above.

    Attributes:
        skin_area: area of the surface.
        centre: height of the surface's centre above the floor.
        shin_girth: mean girth of all that is between 5 % and 20 % of the height.
        toes: how far the lowest 3 % lie ahead of the ankles; nan if there is nothing at one of the two.
        tilt_degrees: of the surface's longest axis of inertia against z, 0 .. 90.
        turn_degrees: of the horizontal direction of the largest spread against x, 0 .. 90.
        lean_degrees: of the body as a whole, forwards; nan if there is no head or no ankle.
    """

    skin_area: float
    centre: float
    shin_girth: float
    toes: float
    tilt_degrees: float
    turn_degrees: float
    lean_degrees: float


def measure_posture(mesh: BodyMesh) -> Posture:
    """Posture of a mesh with an area and a height; the same mesh always gives the same numbers."""
    height = mesh.height_m
    spread = sample_points(mesh, _POINTS, torch.Generator().manual_seed(0))[0].double().numpy()
    points = (spread - np.array([0.0, 0.0, mesh.bounds_m[0, 2]])) / height
    area = float(mesh.face_areas_m2.sum()) / height**2
    covariance = np.cov(points.T)
    long_axis = np.linalg.eigh(covariance)[1][:, 2]
    across = np.linalg.eigh(covariance[:2, :2])[1][:, 1]
    in_shins = _between(points[:, 2], _SHINS)
    soles_y, ankles_y, head_y = (_mean(points[_between(points[:, 2], part), 1]) for part in (_SOLES, _ANKLES, _HEAD))
    lever = np.mean(_HEAD) - np.mean(_ANKLES)
    return Posture(
        skin_area=area,
        centre=float(points[:, 2].mean()),
        shin_girth=float(in_shins.mean() * area / (_SHINS[1] - _SHINS[0])),
        toes=ankles_y - soles_y,
        tilt_degrees=_angle_degrees(float(long_axis[2])),
        turn_degrees=_angle_degrees(float(across[0])),
        lean_degrees=float(np.degrees(np.arctan2(ankles_y - head_y - _HEAD_AHEAD, lever))),
    )


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _between(values: FloatArray, part: tuple[float, float]) -> npt.NDArray[np.bool_]:
    return (values >= part[0]) & (values < part[1])


def _angle_degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(abs(cosine), 1.0))))
