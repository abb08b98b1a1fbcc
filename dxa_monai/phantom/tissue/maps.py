"""What a posed body holds, pixel by pixel: fat, lean soft tissue, bone mineral and air.

In every pixel ``fat + lean + bone mineral + air = thickness`` (cm along the beam), all at least zero. The thickness is
shared out in this order: subcutaneous fat outside the inner surface; inside it bone (mineral, marrow, matrix), the air
of lungs and bowel, visceral fat, and for the rest lean tissue with some fat in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse

from dxa_monai.phantom.body.joints import trunk_axes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import PART_NAMES, BodyModel, PosedBody
from dxa_monai.phantom.people.population import Person
from dxa_monai.phantom.skeleton.bone_mineral import BoneMaps
from dxa_monai.phantom.tissue.fat_shell import FatShell
from dxa_monai.phantom.tissue.organs import (
    Organs,
    TrunkGrid,
    bowel_gas_profile,
    lung_profile,
    visceral_fat_profile,
)
from dxa_monai.phantom.tissue.projection import Frame, grouped_thickness_maps_cm, thickness_map_cm
from dxa_monai.phantom.tissue.region_map import region_map
from dxa_monai.phantom.tissue.texture import tissue_texture
from dxa_monai.scan.format import Array

FAT_DENSITY_G_CM3 = 0.9007
"""Triglyceride at 36 C (Fidanza 1953; the four-component model of Heymsfield 1990, Am J Clin Nutr 52:52)."""
BONE_MINERAL_DENSITY_G_CM3 = 2.982
"""Osseous mineral (Heymsfield 1990; Wang 2005)."""
EXPECTED_BONE_MINERAL_KG = {"F": 2.1, "M": 2.8}
"""Bone mineral of a person of mean height and BMD; only to foresee the body's volume."""
SUPINE_VOLUME_SHARE = 0.993
"""Volume of the supine body relative to the rest body that is solved for: skinning loses it in the bent joints (mean of
40 people, sd 0.002)."""
_EXPECTED_HEIGHT_CM = {"F": 162.0, "M": 176.0}

MARROW_SHARE_LIMIT = 0.87
"""Greatest share of marrow fat in what is not mineral in bone: that of yellow marrow."""
MINERAL_SHARE_OF_BONE = 0.42
"""Greatest volume share of mineral in bone: cortical bone holds about 1.2 g/cm3 of it."""
BONE_SHARE_LIMIT = 0.90
AIR_SHARE_LIMIT = 0.80
GAS_SHARE_LIMIT = 0.35
VISCERAL_SHARE_LIMIT = 0.50
"""Greatest share of what is left in a pixel that bone, lungs, bowel gas and visceral fat may take, each in its turn."""
INTRAMUSCULAR_LIMITS = (0.005, 0.35)
_SMALLEST_THICKNESS_CM = 1e-6  # thinner is rounding of the projection
_FILL_STEPS = 6


@dataclass(frozen=True)
class TissueMaps:
    """Truth of one scan.

    Attributes:
        areal_density_g_cm2: float32 ``(3, H, W)``: fat, lean, bone mineral.
        volume_cm: float64 ``(3, H, W)``: the same as thickness along the beam.
        air_cm: float64 ``(H, W)`` air in lungs and bowel.
        thickness_cm: float64 ``(H, W)``; ``volume_cm.sum(0) + air_cm``.
        region_map: uint8 ``(H, W)`` of :class:`dxa_monai.scan.regions.Region`.
    """

    areal_density_g_cm2: Array
    volume_cm: FloatArray
    air_cm: FloatArray
    thickness_cm: FloatArray
    region_map: Array


def body_volume_l(person: Person) -> float:
    """Volume of the body at rest, air included, whose scan holds ``person.mass_kg`` of the person's tissues.

    The bone mineral is not known before the skeleton is placed and is foreseen from sex, height and BMD; what the maps
    then hold differs from ``mass_kg`` by less than 1 %.
    """
    height = person.height_cm / _EXPECTED_HEIGHT_CM[person.sex]
    mineral_kg = EXPECTED_BONE_MINERAL_KG[person.sex] * height**2 * person.bmd_scale
    fat_kg = person.fat_fraction * person.mass_kg
    lean_kg = person.mass_kg - fat_kg - mineral_kg
    tissue_l = (
        fat_kg / FAT_DENSITY_G_CM3 + lean_kg / person.lean_density_g_cm3 + mineral_kg / BONE_MINERAL_DENSITY_G_CM3
    )
    return (tissue_l + person.air_l) / SUPINE_VOLUME_SHARE


def compose(
    person: Person,
    body: PosedBody,
    model: BodyModel,
    smoothing: scipy.sparse.csr_matrix,
    frame: Frame,
    bones: BoneMaps,
) -> TissueMaps:
    """Fill a posed body with the person's tissues.

    Args:
        person: what the body should hold.
        body: the body in the scan's pose.
        model: the body model it came from.
        smoothing: ``mesh.smoothing_matrix`` of the model's faces (made once a cohort).
        frame: the scan's pixel grid.
        bones: mineral, volume and marrow fat of the placed skeleton at BMD scale 1.

    Returns:
        The maps. The fat fraction meets ``person.fat_fraction`` unless the person is so lean or so fat that the limits
        of this module bind; what the maps hold is the truth.
    """
    axes = trunk_axes(body.joints_m)
    parts = grouped_thickness_maps_cm(
        model.closed_vertices(body.vertices_m), model.part_faces, model.part_of_face, len(PART_NAMES), frame
    )
    parts = np.maximum(parts, 0.0)
    parts[:, parts.sum(axis=0) < _SMALLEST_THICKNESS_CM] = 0.0
    thickness = parts.sum(axis=0)
    regions = region_map(parts, axes, frame)
    litres = frame.pixel_area_cm2 / 1000.0

    # The fat that all of the body must hold follows from the volumes alone: with soft tissue volume S, mineral mass B
    # and fat fraction f, F rho_f = f (F rho_f + (S - F) rho_l + B).
    mineral_wanted = person.bmd_scale * bones.mineral_g_cm2 / BONE_MINERAL_DENSITY_G_CM3
    mineral_kg = mineral_wanted.sum() * litres * BONE_MINERAL_DENSITY_G_CM3
    soft_l = thickness.sum() * litres - mineral_wanted.sum() * litres - person.air_l
    fat_l = _fat_volume_l(person, soft_l, mineral_kg)
    marrow_wanted = person.marrow_fat_scale * bones.marrow_fat_cm
    marrow_l = marrow_wanted.sum() * litres
    visceral_l = person.visceral_fat_kg / FAT_DENSITY_G_CM3
    share = person.intramuscular_share
    shell = FatShell(person, body, model, axes, smoothing)
    # Fat outside the inner surface, so that with share s of the lean space inside the sum is fat_l.
    lean_space_l = soft_l - marrow_l - visceral_l
    outside_l = max((fat_l - marrow_l - visceral_l - share * lean_space_l) / (1.0 - share), 0.05 * fat_l)
    inner_vertices = model.closed_vertices(shell.inner_vertices_m(shell.solve(outside_l)))
    inner = np.clip(thickness_map_cm(inner_vertices, model.closed_faces, frame), 0.0, thickness)

    bone = np.clip(np.maximum(bones.volume_cm, mineral_wanted / MINERAL_SHARE_OF_BONE), 0.0, BONE_SHARE_LIMIT * inner)
    mineral = np.minimum(mineral_wanted, MINERAL_SHARE_OF_BONE * bone)
    room = inner - bone
    organs, grid = Organs.of(person), TrunkGrid.of(axes, frame)
    lungs = _fill(lung_profile(organs, grid), AIR_SHARE_LIMIT * room, person.lung_air_l / litres)
    room = room - lungs
    gas = _fill(bowel_gas_profile(organs, grid), GAS_SHARE_LIMIT * room, person.bowel_gas_l / litres)
    room, air = room - gas, lungs + gas
    visceral = _fill(visceral_fat_profile(organs, grid), VISCERAL_SHARE_LIMIT * room, visceral_l / litres)
    lean_space = room - visceral

    # Of bones cut off at the skin the marrow is cut in proportion; it never displaces the bone's own matrix.
    whole = np.divide(bone, bones.volume_cm, out=np.zeros_like(bone), where=bones.volume_cm > 0.0)
    marrow = np.minimum(marrow_wanted * np.minimum(whole, 1.0), MARROW_SHARE_LIMIT * (bone - mineral))
    fat = (thickness - inner) + marrow + visceral
    soft_l = (thickness - mineral - air).sum() * litres
    fat_l = _fat_volume_l(person, soft_l, mineral.sum() * litres * BONE_MINERAL_DENSITY_G_CM3)
    share = float(np.clip((fat_l - fat.sum() * litres) / (lean_space.sum() * litres), *INTRAMUSCULAR_LIMITS))
    fat = fat + share * lean_space
    lean = (bone - mineral - marrow) + (1.0 - share) * lean_space

    # Exchange of equal volumes of fat and lean within each pixel; zero on the whole, so that the target is kept.
    exchangeable = np.divide(fat * lean, fat + lean, out=np.zeros_like(fat), where=fat + lean > 0.0)
    texture = tissue_texture(person, body, axes, regions, frame)
    texture -= (texture * exchangeable).sum() / exchangeable.sum()
    exchange = np.clip(person.texture_amplitude * texture, -0.9, 0.9) * exchangeable
    fat, lean = fat + exchange, lean - exchange

    volume = np.stack([fat, lean, mineral])
    density = np.array([FAT_DENSITY_G_CM3, person.lean_density_g_cm3, BONE_MINERAL_DENSITY_G_CM3])
    return TissueMaps(
        areal_density_g_cm2=(volume * density[:, None, None]).astype(np.float32),
        volume_cm=volume,
        air_cm=air,
        thickness_cm=thickness,
        region_map=regions,
    )


def _fat_volume_l(person: Person, soft_l: float, mineral_kg: float) -> float:
    """Fat among ``soft_l`` litres of soft tissue that makes ``person.fat_fraction`` of the body's mass."""
    target, lean_density = person.fat_fraction, person.lean_density_g_cm3
    return target * (soft_l * lean_density + mineral_kg) / (FAT_DENSITY_G_CM3 * (1.0 - target) + target * lean_density)


def _fill(profile_cm: FloatArray, room_cm: FloatArray, wanted_cm: float) -> FloatArray:
    """The multiple of ``profile_cm`` cut off at ``room_cm`` whose sum over pixels is ``wanted_cm``, or nearly so."""
    filled = np.minimum(profile_cm, room_cm)
    factor = 1.0
    for _ in range(_FILL_STEPS):
        total = filled.sum()
        if total <= 0.0 or abs(total - wanted_cm) < 1e-3 * wanted_cm:
            break
        factor *= wanted_cm / total
        filled = np.minimum(factor * profile_cm, room_cm)
    return filled
