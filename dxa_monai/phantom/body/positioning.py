"""How a person lies on the DXA table: angles and shifts, their usual scatter."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class Positioning:
    """Angles (degrees) and shifts (mm) of a supine whole-body scan; the defaults are the usual protocol.

    Supine, arms straight beside the body and clear of it, palms on the table, legs slightly apart and turned inwards,
    toes pointing away and towards each other (ISCD and NHANES whole-body procedures; Hologic's operator instructions).

    Attributes:
        left_arm_abduction_deg, right_arm_abduction_deg: upper arm from the body's long axis, outwards positive.
        left_forearm_abduction_deg, right_forearm_abduction_deg: forearm and hand from the long axis, outwards positive;
            the difference to the upper arm bends the elbow.
        left_leg_abduction_deg, right_leg_abduction_deg: leg from the long axis, outwards positive.
        left_leg_rotation_deg, right_leg_rotation_deg: inward turn of thigh and shank about their axes.
        left_foot_rotation_deg, right_foot_rotation_deg: further inward turn of the foot.
        left_plantarflexion_deg, right_plantarflexion_deg: toes away from the shin, 0 = right angle.
        head_turn_deg: face towards the left shoulder positive.
        head_tilt_deg: crown towards the left shoulder positive.
        body_rotation_deg: whole body in the table's plane, crown towards the body's own left positive.
        lateral_shift_mm, longitudinal_shift_mm: body in the field, towards its left and towards its head.
    """

    left_arm_abduction_deg: float = 12.0
    right_arm_abduction_deg: float = 12.0
    left_forearm_abduction_deg: float = 5.0
    right_forearm_abduction_deg: float = 5.0
    left_leg_abduction_deg: float = 3.5
    right_leg_abduction_deg: float = 3.5
    left_leg_rotation_deg: float = 12.0
    right_leg_rotation_deg: float = 12.0
    left_foot_rotation_deg: float = 10.0
    right_foot_rotation_deg: float = 10.0
    left_plantarflexion_deg: float = 30.0
    right_plantarflexion_deg: float = 30.0
    head_turn_deg: float = 0.0
    head_tilt_deg: float = 0.0
    body_rotation_deg: float = 0.0
    lateral_shift_mm: float = 0.0
    longitudinal_shift_mm: float = 0.0

    @property
    def shift_mm(self) -> tuple[float, float]:
        """Lateral and longitudinal shift, as :func:`dxa_monai.phantom.tissue.projection.centre_frame` takes it."""
        return self.lateral_shift_mm, self.longitudinal_shift_mm

    def side(self, side: str, name: str) -> float:
        """The angle ``name`` of side "L" or "R", for example ``side("L", "arm_abduction")``."""
        return float(getattr(self, f"{'left' if side == 'L' else 'right'}_{name}_deg"))


POSITIONING_SD = Positioning(
    left_arm_abduction_deg=2.5,
    right_arm_abduction_deg=2.5,
    left_forearm_abduction_deg=2.5,
    right_forearm_abduction_deg=2.5,
    left_leg_abduction_deg=0.8,
    right_leg_abduction_deg=0.8,
    left_leg_rotation_deg=4.0,
    right_leg_rotation_deg=4.0,
    left_foot_rotation_deg=4.0,
    right_foot_rotation_deg=4.0,
    left_plantarflexion_deg=5.0,
    right_plantarflexion_deg=5.0,
    head_turn_deg=3.0,
    head_tilt_deg=1.5,
    body_rotation_deg=0.6,
    lateral_shift_mm=4.0,
    longitudinal_shift_mm=6.0,
)
"""Standard deviations of :func:`sample_positioning` (assumption: no published series of these angles was found)."""


NO_SCATTER = Positioning(**dict.fromkeys((field.name for field in fields(Positioning)), 0.0))
"""An addition that changes nothing."""
PROTOCOL_ARMS = {
    field.name: float(getattr(Positioning(), field.name)) for field in fields(Positioning) if "arm_abd" in field.name
}
"""The arms' angles of the protocol, by name."""
HAND_UNDER_THIGH_SHARE = 0.06
HAND_UNDER_THIGH_DEG = (5.0, 11.0)
"""In so many scans one forearm lies this much further inwards than it should, and the hand under the thigh (assumption:
seen in published scans, and no share of them is)."""


def moved(positioning: Positioning, by: Positioning) -> Positioning:
    """A positioning with the angles and shifts of ``by`` added to its own."""
    names = [field.name for field in fields(Positioning)]
    return Positioning(**{name: float(getattr(positioning, name) + getattr(by, name)) for name in names})


def sample_scatter(rng: np.random.Generator) -> Positioning:
    """What a person lies off the protocol by: normal with ``POSITIONING_SD``, cut at two standard deviations."""
    names = [field.name for field in fields(Positioning)]
    scatter = np.clip(rng.standard_normal(len(names)), -2.0, 2.0)
    return Positioning(
        **{name: float(getattr(POSITIONING_SD, name) * value) for name, value in zip(names, scatter, strict=True)}
    )


def sample_positioning(rng: np.random.Generator, centre: Positioning | None = None) -> Positioning:
    """A positioning scattered about ``centre`` (default: the protocol) by :func:`sample_scatter`.

    :func:`dxa_monai.phantom.body.table.fit_positioning` then makes room for the person's own width and length.
    """
    return moved(Positioning() if centre is None else centre, sample_scatter(rng))


def sample_hand_under_thigh(rng: np.random.Generator) -> Positioning:
    """Nothing, or in a ``HAND_UNDER_THIGH_SHARE`` of all cases one forearm's turn inwards, as an addition."""
    under, side, angle = rng.random(), rng.choice(("left", "right")), rng.uniform(*HAND_UNDER_THIGH_DEG)
    return replace(NO_SCATTER, **({f"{side}_forearm_abduction_deg": -angle} if under < HAND_UNDER_THIGH_SHARE else {}))
