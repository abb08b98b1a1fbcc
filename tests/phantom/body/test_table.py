from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, Phenotype
from dxa_monai.phantom.body.positioning import (
    NO_SCATTER,
    POSITIONING_SD,
    Positioning,
    sample_positioning,
    sample_scatter,
)
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.tissue.projection import centre_frame, grouped_thickness_maps_cm


def overlap_rows(body_model: BodyModel, person: Phenotype, positioning: Positioning) -> tuple[np.ndarray, int]:
    """Rows in which an arm's shadow meets that of trunk or legs, and the elbows' row."""
    body = body_model.supine(person, positioning)
    frame = centre_frame(body.vertices_m, positioning.shift_mm)
    maps = grouped_thickness_maps_cm(
        body_model.closed_vertices(body.vertices_m), body_model.part_faces, body_model.part_of_face, 6, frame
    )
    shadow = {name: maps[part] > 1e-6 for part, name in enumerate(PART_NAMES)}
    arms = shadow["left_arm"] | shadow["right_arm"]
    others = shadow["trunk"] | shadow["left_leg"] | shadow["right_leg"]
    elbow = np.mean([frame.to_pixels(body.joints_m[f"lowerarm01.{side}"][None])[0, 1] for side in "LR"])
    return np.flatnonzero((arms & others).any(axis=1)), int(elbow)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_arms_of_a_lean_person_are_clear(body_model: BodyModel, lean_woman: Phenotype, seed: int | None) -> None:
    wanted = Positioning() if seed is None else sample_positioning(np.random.default_rng(seed))
    rows, elbow = overlap_rows(body_model, lean_woman, fit_positioning(body_model, lean_woman, wanted))
    assert rows.max() < elbow - 8, "only around the axilla"


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_a_wide_person_stays_inside_the_field(body_model: BodyModel, heavy_man: Phenotype, seed: int | None) -> None:
    wanted = Positioning() if seed is None else sample_positioning(np.random.default_rng(seed))
    fitted = fit_positioning(body_model, heavy_man, wanted)
    centre_frame(body_model.supine(heavy_man, fitted).vertices_m, fitted.shift_mm)
    assert fitted.left_arm_abduction_deg > wanted.left_arm_abduction_deg


def test_toes_of_a_tall_person_are_pulled_up_until_he_fits(body_model: BodyModel) -> None:
    tall = body_model.solve("M", 30, 187.0, 76.0, muscle=0.4)
    fitted = fit_positioning(body_model, tall, Positioning())
    assert fitted.left_plantarflexion_deg < Positioning().left_plantarflexion_deg
    centre_frame(body_model.supine(tall, fitted).vertices_m)


def test_a_fitted_position_fits(body_model: BodyModel, lean_woman: Phenotype) -> None:
    once = fit_positioning(body_model, lean_woman, Positioning())
    assert fit_positioning(body_model, lean_woman, once) == once


def test_only_arms_and_toes_are_moved(body_model: BodyModel, heavy_man: Phenotype) -> None:
    wanted = sample_positioning(np.random.default_rng(4))
    fitted = fit_positioning(body_model, heavy_man, wanted)
    changed = {name for name in vars(wanted) if getattr(wanted, name) != getattr(fitted, name)}
    assert changed <= {
        f"{side}_{name}_deg"
        for side in ("left", "right")
        for name in ("arm_abduction", "forearm_abduction", "plantarflexion")
    }


def test_arms_scatter_as_the_table_says_once_there_is_room(body_model: BodyModel, heavy_man: Phenotype) -> None:
    """A gap that is always the same would let nobody's arms lie elsewhere than at the body's own edge."""
    rng = np.random.default_rng(6)
    narrow = body_model.solve("F", 30, 165.0, 52.0, muscle=0.4)
    for person, least in ((narrow, 2.0), (heavy_man, 1.0)):  # the heavy man's arms meet the edge of the field
        angles = []
        for _ in range(40):
            fitted = fit_positioning(body_model, person, Positioning(), sample_scatter(rng))
            angles.append([fitted.left_arm_abduction_deg, fitted.right_arm_abduction_deg])
        spread = np.std(angles, axis=0)
        assert (spread > least).all()
        assert (spread < 1.2 * POSITIONING_SD.left_arm_abduction_deg).all()


def test_a_hand_may_lie_under_the_thigh_and_stays_inside_the_field(
    body_model: BodyModel, lean_woman: Phenotype
) -> None:
    tucked = replace(NO_SCATTER, left_forearm_abduction_deg=-9.0)
    fitted = fit_positioning(body_model, lean_woman, Positioning(), tucked)
    rows, elbow = overlap_rows(body_model, lean_woman, fitted)
    assert rows.max() > elbow + 5
    outwards = replace(NO_SCATTER, left_arm_abduction_deg=40.0)
    fitted = fit_positioning(body_model, lean_woman, Positioning(), outwards)
    centre_frame(body_model.supine(lean_woman, fitted).vertices_m, fitted.shift_mm)
