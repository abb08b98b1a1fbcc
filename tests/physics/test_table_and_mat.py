"""What lies in the beam of every scan: as much as its materials attenuate, where it lies."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.attenuation import mass_attenuation_cm2_g
from dxa_monai.physics.disturbance import Disturbance
from dxa_monai.physics.table_and_mat import stack_amounts
from tests.physics.test_acquisition import uniform

TABLE = (("acrylic", 0.6),)
MAT = (("polyethylene", 0.15),)


def expected_raw(acquisition: Acquisition, layers: dict[str, float]) -> np.ndarray:
    """The six channels behind layers in g/cm2, from the materials' coefficients."""
    response = acquisition.response()
    path = sum(areal * mass_attenuation_cm2_g(name, response.energy_kev) for name, areal in layers.items())
    return -np.log(np.exp(-np.asarray(path)) @ response.signal_weights) / 12.0


def test_air_reads_what_table_and_mat_attenuate() -> None:
    acquisition = Acquisition.ideal(table=TABLE, mat=MAT)
    raw = acquisition.forward(uniform(0, 0, 0)).flatten().numpy()
    np.testing.assert_allclose(raw, expected_raw(acquisition, {"acrylic": 0.6, "polyethylene": 0.15}), rtol=1e-9)
    # Acrylic and polyethylene have about 0.2 cm2/g in such beams: some 0.15 nepers.
    assert 0.1 < 12 * raw[0] < 12 * raw[1] < 0.2


def test_table_and_body_harden_the_beam_together() -> None:
    acquisition = Acquisition.ideal(table=(("acrylic", 2.0),))
    behind_both = acquisition.forward(uniform(6, 14, 1)).flatten().numpy()
    layers = {"acrylic": 2.0, "fat": 6.0, "lean": 14.0, "bone_mineral": 1.0}
    np.testing.assert_allclose(behind_both, expected_raw(acquisition, layers), rtol=1e-9)
    apart = Acquisition.ideal().forward(uniform(6, 14, 1)) + acquisition.forward(uniform(0, 0, 0))
    apart = apart - Acquisition.ideal().forward(uniform(0, 0, 0))  # the wheel's segment counts once
    assert (behind_both < apart.flatten().numpy()).all()


def test_the_table_is_thicker_at_its_sides_by_a_parabola() -> None:
    amounts = stack_amounts(Acquisition.ideal(table=TABLE, table_profile=0.02), 5)
    assert amounts is not None
    assert amounts.flatten().tolist() == pytest.approx([1.02, 1.005, 1.0, 1.005, 1.02])


def test_the_edge_lies_at_the_right_column_and_covers_part_of_it() -> None:
    """10 columns of 6 mm; 33 mm reach 2.75 columns to both sides of the middle."""
    acquisition = Acquisition.ideal(table=TABLE, mat=MAT, table_width_mm=33.0, pixel_spacing_mm=(10.0, 6.0))
    amounts = stack_amounts(acquisition, 10)
    assert amounts is not None
    for stack in amounts[0, :, 0]:
        assert stack.tolist() == pytest.approx([0, 0, 0.75, 1, 1, 1, 1, 0.75, 0, 0])
    raw = acquisition.forward(uniform(0, 0, 0, (2, 10)))[0, 0, 0]
    assert raw[[0, 1, 8, 9]].abs().max() < 1e-9
    np.testing.assert_allclose(raw[3:7], expected_raw(acquisition, {"acrylic": 0.6, "polyethylene": 0.15})[0])
    part = expected_raw(acquisition, {"acrylic": 0.45, "polyethylene": 0.1125})[0]
    np.testing.assert_allclose(raw[[2, 7]], [part, part])


def test_sub_pixels_resolve_the_edge() -> None:
    """A column of four parts, of which three are covered: the mean of the signals."""
    acquisition = Acquisition.ideal(
        table=(("acrylic", 5.0),), table_width_mm=33.0, pixel_spacing_mm=(10.0, 6.0), subpixels=(1, 4)
    )
    signal = torch.exp(-12 * acquisition.forward(uniform(0, 0, 0, (1, 10))))[0, 0, 0]
    assert float(signal[2]) == pytest.approx(0.25 * float(signal[0]) + 0.75 * float(signal[4]))


@pytest.mark.parametrize("width_mm", [2.0, 6.0, 1000.0])
def test_any_width_covers_what_it_should(width_mm: float) -> None:
    acquisition = Acquisition.ideal(table=TABLE, table_width_mm=width_mm, pixel_spacing_mm=(10.0, 6.0))
    for columns in (5, 6):
        amounts = stack_amounts(acquisition, columns)
        assert amounts is not None
        assert float(amounts.sum()) * 6.0 == pytest.approx(min(width_mm, 6.0 * columns))
        assert torch.equal(amounts, amounts.flip(-1))


def test_an_uneven_mat_is_the_mat_with_another_areal_density_and_never_less_than_none() -> None:
    acquisition = Acquisition.ideal(table=TABLE, mat=MAT)
    added = torch.tensor([[[0.05, -0.05, -0.4]]], dtype=torch.float64)
    raw = acquisition.forward(uniform(0, 0, 0, (1, 3)), disturbance=Disturbance(mat_g_cm2=added))[0, :, 0]
    for column, left in enumerate((0.2, 0.1, 0.0)):
        expected = expected_raw(acquisition, {"acrylic": 0.6, "polyethylene": left})
        np.testing.assert_allclose(raw[:, column], expected, rtol=1e-9)


def test_a_mats_unevenness_is_seen_in_the_scans_of_air() -> None:
    """0.01 g/cm2 of polyethylene at 0.19 cm2/g: a standard deviation of 1.9e-3 nepers."""
    acquisition = Acquisition.ideal(mat=MAT, mat_unevenness_g_cm2=0.01, mat_correlation_mm=20.0, photons_per_pixel=1e12)
    raw = 12 * acquisition.forward(uniform(0, 0, 0, (150, 109)), torch.Generator().manual_seed(0))[0]
    slope = 12 * (expected_raw(acquisition, {"polyethylene": 0.16}) - expected_raw(acquisition, {"polyethylene": 0.14}))
    np.testing.assert_allclose(raw.std(dim=(1, 2)), slope / 2.0, rtol=0.15)
    assert 1.5e-3 < float(raw[0].std()) < 2.5e-3
    pair = torch.corrcoef(torch.stack((raw[0].flatten(), raw[1].flatten())))
    assert float(pair[0, 1]) > 0.99  # one mat, seen by both energies


def test_no_table_no_amounts() -> None:
    assert stack_amounts(Acquisition.ideal(table_width_mm=100.0), 7) is None
    mat = Disturbance(mat_g_cm2=torch.zeros(1, 2, 2))
    with pytest.raises(InputError, match=r"disturbance\.mat_g_cm2: expected None without a mat"):
        Acquisition.ideal().forward(uniform(0, 0, 0, (2, 2)), disturbance=mat)


def test_a_table_of_two_layers_is_the_sum_of_both() -> None:
    both = Acquisition.ideal(table=(("acrylic", 0.6), ("aluminium", 0.1)))
    raw = both.forward(uniform(0, 3, 0)).flatten().numpy()
    expected = expected_raw(both, {"acrylic": 0.6, "aluminium": 0.1, "lean": 3.0})
    np.testing.assert_allclose(raw, expected, rtol=1e-9)
    assert dataclasses.replace(both, table=()).forward(uniform(0, 0, 0))[0, 0, 0, 0] == pytest.approx(0.0, abs=1e-9)
    assert math.isfinite(float(raw.sum()))
