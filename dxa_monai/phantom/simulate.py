"""One virtual person from numbers to scans: body, T-pose mesh, measures, and what each visit's scanner sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dxa_monai.phantom.anthropometry import measure
from dxa_monai.phantom.body import mesh
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import BodyModel, Phenotype, PosedBody, UnreachableBody
from dxa_monai.phantom.body.positioning import (
    PROTOCOL_ARMS,
    Positioning,
    moved,
    sample_hand_under_thigh,
    sample_scatter,
)
from dxa_monai.phantom.body.table import fit_positioning
from dxa_monai.phantom.conditions import Scene, apply_conditions
from dxa_monai.phantom.people.population import Person, sample_person, visit_count
from dxa_monai.phantom.skeleton.placed import bone_maps, place_skeleton
from dxa_monai.phantom.tissue.maps import TissueMaps, body_volume_l, compose
from dxa_monai.phantom.tissue.projection import BodyDoesNotFit, Frame, centre_frame
from dxa_monai.phantom.tissue.true_landmarks import true_landmarks
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.scan.regions import regional_totals

POSE_ATTEMPTS = 4
"""How often a body that does not fit the field is put on the table anew before the person is refused."""
PERSON_ATTEMPTS = 50
"""How many persons in a row may be refused before the population itself must be wrong."""
_FIRST_VISIT_STREAM = 100  # random streams of a person: visit k uses this + k


@dataclass(frozen=True)
class Visit:
    """One scan of a person: raw counts uint16 ``(H, W, 6)``, the truth, and its regional totals."""

    counts: npt.NDArray[np.uint16]
    tissue: TissueMaps
    frame: Frame
    totals: dict[str, float]
    foreign_g_cm2: npt.NDArray[Any] | None = None
    """``(3, H, W)`` what the scan shows beside the person, None for nothing."""
    conditions: tuple[str, ...] = ()
    landmarks: FloatArray | None = None
    """``(L, 2)`` of :mod:`dxa_monai.phantom.tissue.true_landmarks`, also of a limb that was taken off."""


@dataclass(frozen=True)
class PersonRecord:
    """A simulated person.

    Attributes:
        person: the person that was scanned in the end.
        vertices_m: ``(V, 3)`` T-pose mesh, vertices of ``BodyModel.faces``.
        anthropometry: the measures of the T-pose mesh, by the names of ``BODY_MEASURES``.
        visits: one or two scans.
        reposed: how often somebody had to be put on the table anew.
        refused: how many persons were refused before this one, by reason ("unreachable", "does not fit").
    """

    person: Person
    vertices_m: FloatArray
    anthropometry: dict[str, float]
    visits: tuple[Visit, ...]
    reposed: int
    refused: dict[str, int]


class Simulator:
    """What all persons of a cohort share: the body model, the scanner, and the smoothing of the fat shell.

    Args:
        acquisition: the scanner; default: the default :class:`dxa_monai.physics.acquisition.Acquisition`.
        model: the body model; default: a new one (some seconds).
        conditions: share of people or scans with each of ``dxa_monai.phantom.conditions.CONDITIONS``; default: none.
    """

    def __init__(
        self,
        acquisition: Acquisition | None = None,
        model: BodyModel | None = None,
        conditions: Mapping[str, float] | None = None,
    ) -> None:
        self.conditions = dict(conditions or {})
        self.acquisition = Acquisition() if acquisition is None else acquisition
        self.model = BodyModel() if model is None else model
        self.smoothing = mesh.smoothing_matrix(self.model.faces, len(self.model.vertex_part))

    def simulate_person(self, index: int, seed: int, children_share: float = 0.0) -> PersonRecord:
        """Person ``index`` of cohort ``seed``, with one or two visits. The same numbers give the same bytes.

        ``children_share`` is the probability of a child instead of an adult
        (:func:`dxa_monai.phantom.people.population.sample_person`).

        A body that does not fit the field is put on the table again; if that does not help, or if the body model cannot
        make the body, the person is refused and another one drawn in the same place. Both are counted.

        Raises:
            RuntimeError: fifty persons in a row were refused.
        """
        refused: Counter[str] = Counter()
        reposed = 0
        for attempt in range(PERSON_ATTEMPTS):
            person = sample_person(index, seed, attempt, children_share)
            try:
                phenotype = self.phenotype(person)
            except UnreachableBody:
                refused["unreachable"] += 1
                continue
            visits = []
            for visit in range(visit_count(index, seed)):
                posed = self._lie_down(person, phenotype, visit)
                reposed += posed[2]
                if posed[0] is None or posed[1] is None:
                    break
                visits.append(self.scan(person, posed[0], posed[1], visit))
            else:
                standing = self.model.t_pose(phenotype)
                return PersonRecord(
                    person, standing.vertices_m, measure(standing, self.model), tuple(visits), reposed, dict(refused)
                )
            refused["does not fit"] += 1
        raise RuntimeError(
            f"person {index} of seed {seed}: {PERSON_ATTEMPTS} persons in a row were refused, {dict(refused)}"
        )

    def phenotype(self, person: Person) -> Phenotype:
        """The body model's parameters with the person's stature, volume and build.

        Raises:
            UnreachableBody: the body model has no such body.
        """
        mirrored = self.model.solve(
            sex=person.sex,
            age_years=person.age_years,
            height_cm=person.height_cm,
            volume_l=body_volume_l(person),
            muscle=person.muscle,
            proportions=person.proportions,
            local_changes=person.local_changes,
        )
        return replace(mirrored, asymmetry=person.asymmetry)

    def scan(self, person: Person, body: PosedBody, frame: Frame, visit: int) -> Visit:
        """Fill a posed body with the person's tissues and scan it."""
        skeleton = place_skeleton(body, self.model, person.frame_scale, person.asymmetry)
        tissue = compose(
            person,
            body,
            self.model,
            self.smoothing,
            frame,
            bone_maps(skeleton, frame, cortical_scale=person.cortical_scale),
        )
        landmarks = true_landmarks(body, self.model.surface, tissue.region_map, frame)
        names: tuple[str, ...] = ()
        foreign: npt.NDArray[Any] | None = None
        if self.conditions:
            scene = Scene.of(tissue, body.joints_m | skeleton.joints_m, frame)
            scene, names = apply_conditions(scene, person, visit, self.conditions)
            landmarks = landmarks + frame.displacement_px(scene.frame)
            tissue, frame, foreign = scene.tissue, scene.frame, scene.foreign_g_cm2 if names else None
        seen = tissue.areal_density_g_cm2 if foreign is None else tissue.areal_density_g_cm2 + foreign
        noise = torch.Generator().manual_seed(int(person.generator(_FIRST_VISIT_STREAM + visit).integers(2**62)))
        counts = self.acquisition.scan(torch.from_numpy(seen)[None], noise)[0]
        totals = regional_totals(tissue.areal_density_g_cm2, tissue.region_map, frame.pixel_area_cm2)
        return Visit(counts, tissue, frame, totals, foreign, names, landmarks)

    def _lie_down(self, person: Person, phenotype: Phenotype, visit: int) -> tuple[PosedBody | None, Frame | None, int]:
        """Posed body and frame of a visit, and how often the body was put on the table anew; None if it never fits."""
        rng = person.generator(_FIRST_VISIT_STREAM // 2 + visit)
        for attempt in range(POSE_ATTEMPTS):
            scatter = sample_scatter(rng)
            centre = replace(moved(Positioning(), scatter), **PROTOCOL_ARMS)
            arms = moved(scatter, sample_hand_under_thigh(rng))
            positioning = fit_positioning(self.model, phenotype, centre, arms)
            body = self.model.supine(phenotype, positioning)
            try:
                frame = centre_frame(body.vertices_m, positioning.shift_mm, self.acquisition.pixel_spacing_mm)
                return body, frame, attempt
            except BodyDoesNotFit:
                continue
        return None, None, POSE_ATTEMPTS - 1
