"""What a cohort can have beside healthy people in a good position: implants, an amputation, jewellery, another
person's arm, a head outside the field. Each is asked for by its share of people or scans, and each leaves a truth.

Metal counts as the bone mineral that weakens the beam about as much; it belongs to nobody's bone mineral and is kept
apart, with another person's arm, as what is foreign to the person. Sizes and shares are this project's assumptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from dxa_monai.errors import InputError
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.people.population import Person
from dxa_monai.phantom.tissue.maps import TissueMaps
from dxa_monai.phantom.tissue.projection import Frame
from dxa_monai.scan.regions import Region

TITANIUM_AS_MINERAL_G_CM3 = 11.0
"""4.5 g/cm3 of titanium weaken 60 keV as 2.4 times their mass of hydroxyapatite does (0.766 and 0.32 cm2/g, NIST)."""
_PERSON_STREAM, _SCAN_STREAM = 4, 400
Joints = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Scene:
    """One person in one scan, and what is foreign there.

    Attributes:
        tissue: what the person holds, in the field.
        foreign_g_cm2: float32 ``(3, H, W)`` what else is in the beam, as fat, lean and mineral.
        joints_m: joints of the posed body and of the placed skeleton.
        frame: the pixel grid.
    """

    tissue: TissueMaps
    foreign_g_cm2: npt.NDArray[Any]
    joints_m: Joints
    frame: Frame

    @staticmethod
    def of(tissue: TissueMaps, joints_m: Joints, frame: Frame) -> Scene:
        """A person alone."""
        return Scene(tissue, np.zeros_like(tissue.areal_density_g_cm2), joints_m, frame)


def _rod_cm(scene: Scene, start_m: FloatArray, end_m: FloatArray, radius_m: float) -> FloatArray:
    """Thickness ``(H, W)`` cm along the beam of a rod with round ends, averaged over each pixel."""
    finer = 4
    rows, columns = scene.frame.shape
    step_z, step_x = (side / 1000.0 / finer for side in scene.frame.pixel_spacing_mm)
    z = scene.frame.origin_z_m - (np.arange(rows * finer) + 0.5) * step_z
    x = scene.frame.origin_x_m + (np.arange(columns * finer) + 0.5) * step_x
    along = (end_m - start_m)[[0, 2]]
    dx, dz = x[None, :] - start_m[0], z[:, None] - start_m[2]
    share = np.clip((dx * along[0] + dz * along[1]) / max(float(along @ along), 1e-12), 0.0, 1.0)
    square = radius_m**2 - np.square(dx - share * along[0]) - np.square(dz - share * along[1])
    chord = 200.0 * np.sqrt(np.maximum(square, 0.0))
    return np.asarray(chord.reshape(rows, finer, columns, finer).mean(axis=(1, 3)))


def _with_metal(scene: Scene, metal_cm: FloatArray) -> Scene:
    """Metal in place of the tissue that was there."""
    tissue = scene.tissue
    metal_cm = np.minimum(metal_cm, 0.9 * tissue.volume_cm.sum(axis=0))
    held = tissue.volume_cm.sum(axis=0)
    kept = np.divide(held - metal_cm, held, out=np.zeros_like(held), where=held > 0.0)
    foreign = scene.foreign_g_cm2.copy()
    foreign[2] += TITANIUM_AS_MINERAL_G_CM3 * metal_cm
    less = replace(
        tissue,
        areal_density_g_cm2=(tissue.areal_density_g_cm2 * kept).astype(np.float32),
        volume_cm=tissue.volume_cm * kept,
        thickness_cm=tissue.thickness_cm - metal_cm,
    )
    return replace(scene, tissue=less, foreign_g_cm2=foreign)


def hip_implant(scene: Scene, rng: np.random.Generator) -> Scene:
    """A ball in a cup and a stem down the femur's shaft."""
    side = str(rng.choice(["left", "right"]))
    hip, knee = scene.joints_m[f"hip_{side}"], scene.joints_m[f"knee_{side}"]
    outwards = np.array([0.045 if side == "left" else -0.045, 0.0, -0.02])
    shaft = hip + outwards
    tip = shaft + 0.13 * (knee - shaft) / np.linalg.norm(knee - shaft)
    metal = _rod_cm(scene, hip, hip, 0.016) + _rod_cm(scene, hip, shaft, 0.006) + _rod_cm(scene, shaft, tip, 0.007)
    return _with_metal(scene, metal)


def knee_implant(scene: Scene, rng: np.random.Generator) -> Scene:
    """Caps on femur and tibia and a short stem."""
    side = str(rng.choice(["left", "right"]))
    knee, ankle = scene.joints_m[f"knee_{side}"], scene.joints_m[f"ankle_{side}"]
    across, down = np.array([0.027, 0.0, 0.0]), (ankle - knee) / np.linalg.norm(ankle - knee)
    metal = _rod_cm(scene, knee + 0.015 * down, knee + 0.06 * down, 0.006)
    for level in (-0.012, 0.015):
        metal += _rod_cm(scene, knee + level * down - across, knee + level * down + across, 0.005)
    return _with_metal(scene, metal)


def amputation(scene: Scene, rng: np.random.Generator) -> Scene:
    """One leg ends 12 to 22 cm below the knee; mesh and measures stay those of before."""
    side = str(rng.choice(["left", "right"]))
    code = Region.LEFT_LEG if side == "left" else Region.RIGHT_LEG
    knee, ankle = scene.joints_m[f"knee_{side}"], scene.joints_m[f"ankle_{side}"]
    along = (ankle - knee)[[0, 2]] / np.linalg.norm((ankle - knee)[[0, 2]])
    z, x = scene.frame.pixel_centres_m()
    below = (x[None, :] - knee[0]) * along[0] + (z[:, None] - knee[2]) * along[1]
    gone = (scene.tissue.region_map == code) & (below > rng.uniform(0.12, 0.22))
    tissue = scene.tissue
    less = TissueMaps(
        np.where(gone, np.float32(0.0), tissue.areal_density_g_cm2),
        np.where(gone, 0.0, tissue.volume_cm),
        np.where(gone, 0.0, tissue.air_cm),
        np.where(gone, 0.0, tissue.thickness_cm),
        np.where(gone, np.uint8(Region.BACKGROUND), tissue.region_map),
    )
    return replace(scene, tissue=less)


def jewellery(scene: Scene, rng: np.random.Generator) -> Scene:
    """A watch or a bracelet at one wrist and a pendant on the breastbone, on the skin."""
    wrist, neck = scene.joints_m[f"wrist.{rng.choice(['L', 'R'])}"], scene.joints_m["neck01"]
    pendant = neck - np.array([0.0, 0.0, rng.uniform(0.05, 0.12)])
    across = np.array([0.022, 0.0, 0.0])
    metal = _rod_cm(scene, wrist - across, wrist + across, 0.003) + _rod_cm(scene, pendant, pendant, 0.006)
    foreign = scene.foreign_g_cm2.copy()
    foreign[2] += TITANIUM_AS_MINERAL_G_CM3 * metal
    return replace(scene, foreign_g_cm2=foreign)


def arm_of_another(scene: Scene, rng: np.random.Generator) -> Scene:
    """A helper's forearm reaches over one edge of the field: an arm of the person's own size, from outside inwards."""
    left = bool(rng.random() < 0.5)
    own = scene.tissue.region_map == (Region.LEFT_ARM if left else Region.RIGHT_ARM)
    arm = np.where(own, scene.tissue.areal_density_g_cm2, 0.0)
    rows, columns = np.nonzero(own)
    arm = arm[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    # Turned so that its hand points to the patient: one row is about two columns wide.
    ratio = scene.frame.pixel_spacing_mm[0] / scene.frame.pixel_spacing_mm[1]
    lying = np.repeat(arm.transpose(0, 2, 1), round(ratio), axis=2)[:, :: round(ratio)]
    seen = int(rng.integers(16, 36))
    piece = lying[:, :, -seen:][:, :, :: 1 if not left else -1]
    top = int(rng.integers(20, scene.frame.shape[0] - piece.shape[1] - 20))
    foreign = scene.foreign_g_cm2.copy()
    where = slice(-seen, None) if left else slice(0, seen)
    foreign[:, top : top + piece.shape[1], where] += piece
    return replace(scene, foreign_g_cm2=foreign)


def head_cut_off(scene: Scene, rng: np.random.Generator) -> Scene:
    """The person lies 8 to 18 cm too far up: the top of the head is outside the field, and of the truth too."""
    head = np.flatnonzero((scene.tissue.region_map == Region.HEAD).any(axis=1))
    rows = int(head.min() + rng.uniform(80.0, 180.0) / scene.frame.pixel_spacing_mm[0])

    def up(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        moved = np.zeros_like(image)
        moved[..., : image.shape[-2] - rows, :] = image[..., rows:, :]
        return moved

    tissue = scene.tissue
    moved = TissueMaps(
        up(tissue.areal_density_g_cm2),
        up(tissue.volume_cm),
        up(tissue.air_cm),
        up(tissue.thickness_cm),
        up(tissue.region_map),
    )
    frame = replace(scene.frame, origin_z_m=scene.frame.origin_z_m - rows * scene.frame.pixel_spacing_mm[0] / 1000.0)
    return Scene(moved, up(scene.foreign_g_cm2), scene.joints_m, frame)


CONDITIONS: Mapping[str, Callable[[Scene, np.random.Generator], Scene]] = MappingProxyType(
    {
        "amputation": amputation,
        "hip_implant": hip_implant,
        "knee_implant": knee_implant,
        "jewellery": jewellery,
        "arm_of_another": arm_of_another,
        "head_cut_off": head_cut_off,
    }
)
"""By name, in the order in which they are applied."""
LASTING = ("amputation", "hip_implant", "knee_implant")
"""Conditions of a person, the same in every scan; the others are a scan's own."""


def check_conditions(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares by name of ``CONDITIONS``, those of 0 left out.

    Raises:
        InputError: an unknown condition, or a share outside 0 to 1.
    """
    for name, share in shares.items():
        if name not in CONDITIONS:
            raise InputError(f"conditions: expected some of {', '.join(CONDITIONS)}, got {name}.")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 <= share <= 1.0:
            raise InputError(f"conditions: expected a share from 0 to 1 for {name}, got {share!r}.")
    return {name: float(shares[name]) for name in CONDITIONS if shares.get(name)}


def apply_conditions(
    scene: Scene, person: Person, visit: int, shares: Mapping[str, float]
) -> tuple[Scene, tuple[str, ...]]:
    """What a scan shows of the conditions drawn for its person and for itself.

    Args:
        scene: the person alone.
        person: whose streams decide.
        visit: number of the scan, from 0.
        shares: probability of each condition.

    Returns:
        The scene, and the names of what is in it.
    """
    names = []
    for number, (name, change) in enumerate(CONDITIONS.items()):
        stream = _PERSON_STREAM if name in LASTING else _SCAN_STREAM + visit
        rng = np.random.default_rng(person.generator(stream).integers(2**62, size=len(CONDITIONS))[number])
        if rng.random() < shares.get(name, 0.0):
            scene = change(scene, rng)
            names.append(name)
    return scene, tuple(names)
