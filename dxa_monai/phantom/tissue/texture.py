"""Texture of soft tissue: a smooth random field that belongs to the person and moves with trunk and limbs."""

from __future__ import annotations

import numpy as np

from dxa_monai.phantom.body.joints import TrunkAxes
from dxa_monai.phantom.body.mesh import FloatArray
from dxa_monai.phantom.body.model import PosedBody
from dxa_monai.phantom.people.population import Person
from dxa_monai.phantom.tissue.projection import Frame
from dxa_monai.scan.format import Array
from dxa_monai.scan.regions import Region

WAVELENGTHS_M = (0.03, 0.15)
"""Shortest and longest wavelength; from about two rows of pixels to the size of a muscle group (assumption)."""
WAVE_COUNT = 40
_STREAM = 1
_LIMBS = (
    (Region.LEFT_ARM, "upperarm01.L", "wrist.L"),
    (Region.RIGHT_ARM, "upperarm01.R", "wrist.R"),
    (Region.LEFT_LEG, "upperleg01.L", "foot.L"),
    (Region.RIGHT_LEG, "upperleg01.R", "foot.R"),
)


def tissue_texture(person: Person, body: PosedBody, axes: TrunkAxes, regions: Array, frame: Frame) -> FloatArray:
    """A Gaussian-like field of mean 0 and standard deviation 1 over the body, ``(H, W)``, 0 outside it.

    It is a sum of plane waves in each part's own coordinates (across and along trunk, arm or leg), so that the same
    person's next scan has the same field, displaced and turned with the parts.
    """
    rng = person.generator(_STREAM)
    # Equal power per octave keeps fine and coarse structure alike.
    wavelength = np.exp(rng.uniform(np.log(WAVELENGTHS_M[0]), np.log(WAVELENGTHS_M[1]), WAVE_COUNT))
    direction = rng.uniform(0.0, 2.0 * np.pi, WAVE_COUNT)
    phase = rng.uniform(0.0, 2.0 * np.pi, WAVE_COUNT)
    wave = 2.0 * np.pi / wavelength * np.stack([np.cos(direction), np.sin(direction)])

    z, x = frame.pixel_centres_m()
    field = np.zeros(frame.shape)
    pieces = [((regions != Region.BACKGROUND), axes.origin_m, axes.up)]
    for region, start, end in _LIMBS:
        along = (body.joints_m[end] - body.joints_m[start])[[0, 2]]
        pieces.append((regions == region, body.joints_m[start], along / np.linalg.norm(along)))
    for inside, origin, up in pieces:
        # A plane wave on a grid is cos(row + column) = cos(row) cos(column) - sin(row) sin(column): a matrix product.
        in_x, in_z = wave[0] * up[1] + wave[1] * up[0], wave[1] * up[1] - wave[0] * up[0]
        column = np.outer(in_x, x - origin[0])
        row = np.outer(z - origin[2], in_z) + phase
        waves = np.cos(row) @ np.cos(column) - np.sin(row) @ np.sin(column)
        field[inside] = np.sqrt(2.0 / WAVE_COUNT) * waves[inside]
    return field
