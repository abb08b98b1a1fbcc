"""Table, electronics and detector faults of a scanner, and all its effects together."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.acquisition_parameters import IDEAL
from dxa_monai.physics.attenuation import BODY_MATERIALS
from dxa_monai.physics.disturbance import Disturbance, draw_disturbance
from dxa_monai.physics.forward import gaussian_blur, transmitted_signal
from tests.physics.test_acquisition import body, uniform

RECORDED_BODY = [2962, 3854, 3443, 4600, 4752, 5932]  # row 8, column 10
RECORDED_AIR = [2, 0, 495, 967, 1809, 2231]  # row 20, column 3
EVERYTHING = Acquisition(
    table_width_mm=100.0,
    dark_signal=1e-5,
    scatter_fraction=0.01,
    energy_shift_mm=(0.5, -1.0),
    column_gain_sd=0.005,
    dead_columns=(2,),
    hot_columns=(3,),
    passes=2,
    motion_mm=4.0,
    fan_magnification=1.05,
    subpixels=(2, 2),
)
"""All effects at once, for maps of 20 columns (121 mm)."""
DETERMINISTIC = [
    Acquisition.ideal(table=(("acrylic", 0.6),), table_profile=0.1, table_width_mm=70.0),
    Acquisition.ideal(mat=(("polyethylene", 0.2),), pedestal_counts=1800),
    Acquisition.ideal(scatter_to_primary=0.1, dark_signal=1e-4),
    Acquisition.ideal(energy_shift_mm=(1.0, 0.5)),
    Acquisition.ideal(fan_magnification=1.1, passes=2),
    Acquisition.ideal(subpixels=(2, 3)),
    EVERYTHING,
]


def nepers(raw: torch.Tensor) -> torch.Tensor:
    return 12.0 * raw


def test_the_default_looks_through_a_table_and_has_a_zero() -> None:
    """And each of its effects can be turned off by name."""
    default, ideal = Acquisition(), Acquisition.ideal()
    assert default.table
    assert min(default.pedestal_counts) > 0  # type: ignore[arg-type]
    assert {name for name, value in ideal.as_dict().items() if value != default.as_dict()[name]} <= set(IDEAL)
    assert dataclasses.replace(default, **IDEAL) == ideal


def scan_of_the_first_version(acquisition: Acquisition, density: torch.Tensor, seed: int) -> np.ndarray:
    """Counts as the scanner gave them before it had any of these effects, with its steps written out."""
    response = acquisition.response()
    attenuation = torch.tensor(response.mass_attenuation_cm2_g, dtype=density.dtype)
    weights = torch.tensor(np.concatenate((response.signal_weights, response.variance_weights), 1), dtype=density.dtype)
    pixels = density.movedim(1, -1).reshape(-1, 3)
    inside = pixels.any(dim=1)
    computed = transmitted_signal(torch.cat((pixels[inside], pixels.new_zeros(1, 3))), attenuation, weights)
    values = computed[-1].repeat(len(pixels), 1)
    values[inside] = computed[:-1]
    images = values.reshape(len(density), *density.shape[2:], 12).movedim(-1, 1)
    if acquisition.scatter_fraction > 0:
        veil = gaussian_blur(images, (acquisition.scatter_sigma_mm / 13.0, acquisition.scatter_sigma_mm / 6.06))
        images = (1.0 - acquisition.scatter_fraction) * images + acquisition.scatter_fraction * veil
    images = gaussian_blur(images, (acquisition.blur_sigma_mm / 13.0, acquisition.blur_sigma_mm / 6.06))
    signal, variance = images[:, :6], images[:, 6:] / acquisition.photons_per_pixel
    normal = torch.randn(signal.shape, generator=torch.Generator().manual_seed(seed), dtype=signal.dtype)
    signal = signal + variance.clamp_min(torch.finfo(signal.dtype).tiny).sqrt() * normal
    raw = -torch.log(signal.clamp_min(math.exp(-12.0))) / 12.0
    return np.rint(raw.clamp(0.0, 1.0).movedim(1, -1).numpy().astype(np.float64) * 16383).astype(np.uint16)


@pytest.mark.parametrize(
    "acquisition", [Acquisition.ideal(), Acquisition.ideal(scatter_fraction=0.1, blur_sigma_mm=6.0)]
)
def test_an_ideal_scan_has_the_bytes_it_always_had(acquisition: Acquisition) -> None:
    counts = acquisition.scan(body(2), torch.Generator().manual_seed(0))
    assert counts.tobytes() == scan_of_the_first_version(acquisition, body(2), 0).tobytes()


def test_an_ideal_scan_has_the_counts_it_always_had() -> None:
    """Recorded at commit 798bcab; one count is left to the processors' rounding."""
    counts = Acquisition.ideal().scan(body(), torch.Generator().manual_seed(0))[0].astype(int)
    assert np.abs(counts[8, 10] - RECORDED_BODY).max() <= 1
    assert np.abs(counts[20, 3] - RECORDED_AIR).max() <= 1


def test_a_config_can_name_the_ideal_scanner() -> None:
    target = {"_target_": "dxa_monai.physics.acquisition.Acquisition.ideal", "photons_per_pixel": 1e6}
    parser = ConfigParser({"scanner": target})
    assert parser.get_parsed_content("scanner") == Acquisition.ideal(photons_per_pixel=1e6)
    with pytest.raises(InputError, match="got 'tabel'"):
        Acquisition.ideal(tabel=())


def test_everything_survives_json() -> None:
    for acquisition in (EVERYTHING, Acquisition()):
        restored = Acquisition.from_dict(json.loads(json.dumps(acquisition.as_dict())))
        assert restored == acquisition
        assert hash(restored) == hash(acquisition)
    assert Acquisition(pedestal_counts=7) == Acquisition(pedestal_counts=(7.0,) * 6)
    assert Acquisition.ideal().as_dict()["table_width_mm"] is None


def test_the_wheel_of_the_realistic_scanner_is_as_thick_everywhere() -> None:
    """12.5 mm of acrylic (1.19 g/cm3); beside 0.9 g/cm2 of bone mineral (3.16 g/cm3) the rest of it."""
    realistic = Acquisition()
    assert dict(realistic.tissue_segment)["acrylic"] == pytest.approx(1.25 * 1.19)
    assert dict(realistic.bone_segment)["acrylic"] == pytest.approx((1.25 - 0.9 / 3.16) * 1.19, abs=1e-4)


def test_air_of_the_realistic_scanner_is_as_grey_as_in_published_pictures() -> None:
    """About 0.16 of the largest value."""
    density = torch.zeros(1, 3, 150, 109)
    density[:, :, 40:100, 35:75] = torch.tensor([9.0, 20.0, 1.0]).reshape(3, 1, 1)
    counts = Acquisition().scan(density, torch.Generator().manual_seed(0))[0]
    for channel in (0, 1):
        assert 0.12 < np.median(counts[:30, :, channel]) / counts.max() < 0.2


def test_a_pedestal_adds_its_counts_to_each_channel() -> None:
    pedestal = (1800.0, 1790.0, 0.0, 10.0, 0.5, 3000.0)
    density = uniform(5, 15, 1)
    without, with_it = (
        Acquisition.ideal(pedestal_counts=counts).forward(density) * 16383 for counts in (0.0, pedestal)
    )
    assert (with_it - without).flatten().tolist() == pytest.approx(pedestal, abs=1e-8)
    counts = Acquisition.ideal(pedestal_counts=1800).scan(torch.zeros(1, 3, 60, 60), torch.Generator().manual_seed(0))
    assert counts[..., 0].mean() == pytest.approx(1800, abs=0.2)  # and the noise about it is not cut


def test_a_pedestal_leaves_full_scale_where_it_is() -> None:
    density = uniform(0, 70, 0).requires_grad_()
    raw = Acquisition.ideal(pedestal_counts=6000).forward(density)
    torch.testing.assert_close(raw, torch.ones_like(raw))
    raw.sum().backward()
    assert density.grad is not None
    assert float(density.grad.abs().max()) == 0.0


def test_a_dark_signal_is_all_that_is_left_behind_a_thick_absorber() -> None:
    raw = Acquisition.ideal(dark_signal=1e-3).forward(uniform(0, 1e3, 0))
    torch.testing.assert_close(nepers(raw), torch.full_like(raw, -math.log(1e-3)))
    air = Acquisition.ideal(dark_signal=1e-3).forward(uniform(0, 0, 0))[0, :2]
    torch.testing.assert_close(nepers(air), torch.full_like(air, -math.log(1.001)))


def test_dead_columns_read_full_scale_and_hot_ones_the_pedestal() -> None:
    acquisition = Acquisition.ideal(dead_columns=(0, 7), hot_columns=(9,), pedestal_counts=(5, 6, 7, 8, 9, 10))
    counts = acquisition.scan(body(2), torch.Generator().manual_seed(0))
    assert (counts[:, :, [0, 7]] == 16383).all()
    assert (counts[:, :, 9] == [5, 6, 7, 8, 9, 10]).all()
    healthy = Acquisition.ideal(pedestal_counts=acquisition.pedestal_counts)
    others = [column for column in range(20) if column not in (0, 7, 9)]
    expected = healthy.scan(body(2), torch.Generator().manual_seed(0))
    assert np.array_equal(counts[:, :, others], expected[:, :, others])
    with pytest.raises(InputError, match="dead_columns: expected columns of the scan, 0 to 4, got 7"):
        acquisition.forward(torch.zeros(1, 3, 4, 5))


def test_gains_multiply_the_signal_and_the_noises_standard_deviation() -> None:
    """A gain changes the logarithm by its own logarithm; relative noise stays."""
    density = uniform(5, 15, 1, (6, 300))
    row_gain = torch.tensor([[[1.02] * 6, [0.97] * 6]], dtype=torch.float64)
    columns = torch.linspace(0.9, 1.1, 300, dtype=torch.float64)[None]
    acquisition = Acquisition.ideal(photons_per_pixel=3e5)
    gains = Disturbance(row_gain=row_gain, column_gain=columns)
    without = nepers(acquisition.forward(density, torch.Generator().manual_seed(0)))
    with_it = nepers(acquisition.forward(density, torch.Generator().manual_seed(0), disturbance=gains))
    expected = -torch.log(columns)[:, None, None] - torch.log(row_gain.repeat(1, 3, 1))[..., None]
    torch.testing.assert_close(with_it - without, expected.expand_as(without))


def test_a_scan_draws_its_disturbance_before_its_noise() -> None:
    acquisition = Acquisition(column_gain_sd=0.01)
    generator = torch.Generator().manual_seed(3)
    drawn = draw_disturbance(acquisition, 2, (24, 20), generator)
    replayed = acquisition.forward(body(2), generator, disturbance=drawn)
    assert torch.equal(replayed, acquisition.forward(body(2), torch.Generator().manual_seed(3)))
    noise_free = acquisition.forward(body(2), disturbance=drawn)
    assert not torch.equal(noise_free, acquisition.forward(body(2)))
    assert torch.equal(noise_free, acquisition.forward(body(2), disturbance=drawn))


@pytest.mark.parametrize("acquisition", DETERMINISTIC)
def test_a_batch_equals_its_elements(acquisition: Acquisition) -> None:
    density = body(3)
    each = torch.cat([acquisition.forward(scan[None]) for scan in density])
    torch.testing.assert_close(acquisition.forward(density), each, rtol=0, atol=3e-7)


@pytest.mark.parametrize("acquisition", DETERMINISTIC)
def test_gradients_are_right(acquisition: Acquisition) -> None:
    acquisition = Acquisition.from_dict({**acquisition.as_dict(), "table_width_mm": None, "hot_columns": ()})
    random = torch.rand(1, 3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    density = (1.0 + random * torch.tensor([5.0, 10.0, 1.0]).reshape(3, 1, 1)).requires_grad_()
    assert torch.autograd.gradcheck(acquisition.forward, density)
    assert torch.autograd.gradcheck(lambda x: acquisition.forward(x, torch.Generator().manual_seed(0)), density)


@pytest.mark.parametrize("acquisition", DETERMINISTIC)
def test_types_are_kept_and_agree(acquisition: Acquisition) -> None:
    density = body()
    single, double = acquisition.forward(density), acquisition.forward(density.double())
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert float((single.double() - double).abs().max()) * 16383 < 0.05


def test_a_realistic_scan_is_noisy_finite_and_its_own() -> None:
    first, second = EVERYTHING.scan(body(2), torch.Generator().manual_seed(0))
    again = EVERYTHING.scan(body(2), torch.Generator().manual_seed(0))
    assert np.array_equal(np.stack((first, second)), again)
    same_body = torch.cat((body(), body()))
    one, other = EVERYTHING.scan(same_body, torch.Generator().manual_seed(0)).astype(int)
    assert not np.array_equal(one, other)  # each scan of a batch has its own disturbance


def test_other_materials_are_scanned_on_the_same_table() -> None:
    acquisition = Acquisition()
    body_like = acquisition.forward(uniform(0, 12, 0, (2, 2)))
    named = acquisition.forward(uniform(0, 12, 0, (2, 2))[:, 1:2], materials=(BODY_MATERIALS[1],))
    torch.testing.assert_close(named, body_like)
