"""The scanner: contrasts, noise, counts."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.acquisition import Acquisition
from dxa_monai.physics.attenuation import BODY_MATERIALS, MATERIALS, mass_attenuation_cm2_g
from dxa_monai.physics.calibration import r_image
from dxa_monai.physics.spectra import energy_kev, tube_spectrum
from dxa_monai.scan.format import CHANNELS

SEGMENTS_G_CM2: dict[str, dict[str, float]] = {
    "air": {},
    "bone": {"bone_mineral": 0.9, "acrylic": 1.0},
    "tissue": {"acrylic": 8.0},
}
FILTERS_MM = {"low": {"aluminium": 4.0}, "high": {"aluminium": 4.0, "copper": 2.5}}


def uniform(fat: float, lean: float, bone: float, size: tuple[int, int] = (1, 1)) -> torch.Tensor:
    density = torch.tensor([fat, lean, bone], dtype=torch.float64).reshape(1, 3, 1, 1)
    return density.expand(1, 3, *size).contiguous()


def body(batch: int = 1) -> torch.Tensor:
    """Random tissue in the middle, air around it, float32."""
    density = torch.zeros(batch, 3, 24, 20)
    random = torch.rand(batch, 3, 14, 10, generator=torch.Generator().manual_seed(0))
    density[:, :, 5:19, 4:14] = random * torch.tensor([15.0, 20.0, 2.5]).reshape(3, 1, 1)
    return density


def photons_at_detector(channel: str, density: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Expected photons detected in each bin per photon behind the filters, with and without body and segment.

    Written out from the definitions, with the ideal scanner's numbers repeated here.
    """
    segment, phase = channel.split("_")
    energies = energy_kev()
    beam = tube_spectrum({"low": 100.0, "high": 140.0}[phase])
    for name, thickness_mm in FILTERS_MM[phase].items():
        beam = beam * np.exp(
            -MATERIALS[name].density_g_cm3 * thickness_mm / 10 * mass_attenuation_cm2_g(name, energies)
        )
    beam = beam / beam.sum()
    absorbed = 1.0 - np.exp(-7.9 * 0.3 * mass_attenuation_cm2_g("cadmium_tungstate", energies))
    path = sum(a * mass_attenuation_cm2_g(m, energies) for a, m in zip(density, BODY_MATERIALS, strict=True))
    wheel = sum((a * mass_attenuation_cm2_g(m, energies) for m, a in SEGMENTS_G_CM2[segment].items()), np.zeros(1))
    return beam * absorbed * np.exp(-path - wheel), beam * absorbed


@pytest.mark.parametrize("density", [(0.0, 0.0, 0.0), (8.0, 14.0, 1.2), (0.0, 30.0, 2.5)])
def test_equals_the_definition_written_out(density: tuple[float, float, float]) -> None:
    raw = Acquisition.ideal().forward(uniform(*density))
    for channel, value in zip(CHANNELS, raw.flatten().tolist(), strict=True):
        behind, open_beam = photons_at_detector(channel, density)
        nepers = -math.log((behind * energy_kev()).sum() / (open_beam * energy_kev()).sum())
        assert value == pytest.approx(nepers / 12.0, rel=1e-7, abs=1e-9)


# FINDINGS, "X-ray physics": R of pure materials with 2.5 mm of copper in the high-energy beam.
R_OF_PURE_MATERIALS = {
    ("fat", 1.0): 1.22,
    ("fat", 15.0): 1.19,
    ("fat", 30.0): 1.17,
    ("lean", 1.0): 1.34,
    ("lean", 15.0): 1.26,
    ("lean", 30.0): 1.22,
}


def r_of(name: str, areal_density: float, acquisition: Acquisition | None = None) -> float:
    density = [areal_density if name == material else 0.0 for material in BODY_MATERIALS]
    return float(r_image((acquisition or Acquisition.ideal()).forward(uniform(*density))))


@pytest.mark.parametrize(("name", "areal_density"), R_OF_PURE_MATERIALS)
def test_r_of_pure_soft_tissues(name: str, areal_density: float) -> None:
    assert r_of(name, areal_density) == pytest.approx(R_OF_PURE_MATERIALS[name, areal_density], abs=0.01)


def test_r_of_bone_mineral() -> None:
    """2.9 to 2.2 from thin to thick."""
    assert r_of("bone_mineral", 0.25) == pytest.approx(2.9, abs=0.05)
    assert r_of("bone_mineral", 2.7) == pytest.approx(2.2, abs=0.05)


@pytest.mark.parametrize("areal_density", [0.1, 0.5, 1.0, 3.0, 10.0, 20.0, 40.0])
def test_r_orders_fat_lean_and_bone(areal_density: float) -> None:
    fat, lean, bone = (r_of(name, areal_density) for name in BODY_MATERIALS)
    assert 1.0 < fat < lean < bone


def test_copper_separates_fat_from_lean() -> None:
    soft = Acquisition.ideal(filters_high=(("aluminium", 4.0),))
    assert r_of("lean", 15.0, soft) - r_of("fat", 15.0, soft) < 0.035
    assert r_of("lean", 15.0) - r_of("fat", 15.0) > 0.06


def test_the_beam_hardens_in_every_channel() -> None:
    thickness = [1.0, 5.0, 10.0, 20.0, 30.0]
    acquisition = Acquisition.ideal()
    open_beam = acquisition.forward(uniform(0, 0, 0))
    added = [(acquisition.forward(uniform(0, t, 0)) - open_beam) / t for t in thickness]
    assert all((later < earlier).all() for earlier, later in itertools.pairwise(added))


def test_gradients_are_right() -> None:
    density = uniform(6.0, 11.0, 0.8, (2, 2)).requires_grad_()
    for acquisition in (Acquisition.ideal(), Acquisition.ideal(scatter_fraction=0.1, blur_sigma_mm=6.0)):
        assert torch.autograd.gradcheck(acquisition.forward, density)
    assert torch.autograd.gradcheck(lambda x: Acquisition.ideal().forward(x, torch.Generator().manual_seed(0)), density)


def test_empty_pixels_have_a_gradient() -> None:
    density = torch.zeros(1, 3, 2, 2, requires_grad=True)
    Acquisition.ideal().forward(density).sum().backward()
    assert density.grad is not None
    assert (density.grad > 0).all()


def test_skipping_the_background_changes_nothing() -> None:
    density = body(2)
    skipped = Acquisition.ideal().forward(density)
    computed = Acquisition.ideal().forward(density.clone().requires_grad_()).detach()
    torch.testing.assert_close(skipped, computed, rtol=0, atol=2e-7)
    torch.testing.assert_close(Acquisition.ideal().forward(torch.zeros(1, 3, 4, 4))[:, :2], torch.zeros(1, 2, 4, 4))


def test_float32_is_good_to_a_hundredth_of_a_count() -> None:
    density = body()
    difference = Acquisition.ideal().forward(density).double() - Acquisition.ideal().forward(density.double())
    assert float(difference.abs().max()) * 16383 < 0.01


def test_a_batch_equals_its_elements() -> None:
    density = body(3)
    each = torch.cat([Acquisition.ideal().forward(scan[None]) for scan in density])
    torch.testing.assert_close(Acquisition.ideal().forward(density), each, rtol=0, atol=2e-7)


def test_does_not_mutate_its_input() -> None:
    density = body()
    before = density.clone()
    Acquisition.ideal().forward(density, torch.Generator().manual_seed(0))
    assert torch.equal(density, before)


def test_autocast_and_half_precision_do_not_reach_inside() -> None:
    density = body().to(torch.bfloat16)
    expected = Acquisition.ideal().forward(density.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(Acquisition.ideal().forward(density), expected)


def test_first_use_in_inference_mode_does_not_spoil_later_gradients() -> None:
    acquisition = Acquisition.ideal(photons_per_pixel=1234567.0)
    with torch.inference_mode():
        acquisition.forward(body())
    density = body().requires_grad_()
    acquisition.forward(density).sum().backward()
    assert density.grad is not None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu() -> None:
    everything = Acquisition(
        energy_shift_mm=(1.0, 1.0), column_gain_sd=0.01, dead_columns=(1,), passes=2, motion_mm=3.0, subpixels=(2, 2)
    )
    for acquisition in (Acquisition.ideal(), Acquisition.ideal(scatter_fraction=0.1, blur_sigma_mm=6.0), everything):
        on_cpu = acquisition.forward(body(), torch.Generator().manual_seed(0))
        on_gpu = acquisition.forward(body().cuda(), torch.Generator().manual_seed(0))
        torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=1e-6)


@pytest.mark.parametrize("density", [(0.0, 0.0, 0.0), (6.0, 14.0, 1.0)])
def test_noise_agrees_with_counting_photons(density: tuple[float, float, float]) -> None:
    """Against detected photons drawn one energy bin at a time, at 1e5 photons: mean and variance of the signal."""
    photons, draws = 1e5, 20_000
    acquisition = Acquisition.ideal(photons_per_pixel=photons)
    raw = acquisition.forward(uniform(*density, (100, draws // 100)), torch.Generator().manual_seed(0))
    signal = torch.exp(-12.0 * raw[0]).reshape(6, -1).numpy()
    rng = np.random.default_rng(0)
    for channel, ours in zip(CHANNELS, signal, strict=True):
        behind, open_beam = photons_at_detector(channel, density)
        counted = rng.poisson(photons * behind, (draws, len(behind))) @ energy_kev()
        counted = counted / (photons * (open_beam * energy_kev()).sum())
        # Standard errors: sd / sqrt(n) of a mean, sqrt(2 / n) = 1 % of a variance; both sides are random.
        assert ours.mean() == pytest.approx(counted.mean(), abs=5 * counted.std() * math.sqrt(2 / draws))
        assert ours.var() == pytest.approx(counted.var(), rel=0.07)


def test_noise_is_unbiased_in_the_open_beam() -> None:
    raw = Acquisition.ideal().forward(torch.zeros(1, 3, 150, 109), torch.Generator().manual_seed(0))[:, :2]
    assert raw.min() < 0 < raw.max()
    assert abs(float(raw.mean())) < 5 * float(raw.std()) / math.sqrt(raw.numel())


def test_twice_the_photons_half_the_variance() -> None:
    density = uniform(6.0, 12.0, 0.5, (200, 200))
    once, twice = (
        Acquisition.ideal(photons_per_pixel=photons)
        .forward(density, torch.Generator().manual_seed(seed))
        .var(dim=(2, 3))
        for seed, photons in enumerate((1e6, 2e6))
    )
    torch.testing.assert_close(once / twice, torch.full_like(once, 2.0), rtol=0.05, atol=0)


def test_noise_depends_on_the_generator_alone() -> None:
    def noisy(seed: int) -> torch.Tensor:
        torch.manual_seed(99 + seed)  # the global generator must not matter
        return Acquisition.ideal().forward(body(), torch.Generator().manual_seed(seed % 2))

    assert torch.equal(noisy(0), noisy(2))
    assert not torch.equal(noisy(0), noisy(1))


@pytest.mark.parametrize("lean", [45.0, 70.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starved_pixels_are_floored_at_full_scale(lean: float, dtype: torch.dtype) -> None:
    acquisition = Acquisition.ideal(photons_per_pixel=3e4)
    density = uniform(0.0, lean, 0.0, (40, 40)).to(dtype).requires_grad_()
    raw = acquisition.forward(density, torch.Generator().manual_seed(0))
    assert torch.isfinite(raw).all()
    assert raw.max() <= 1.0 + 1e-6
    assert (raw > 1.0 - 1e-6).any()
    raw.sum().backward()
    assert density.grad is not None
    assert torch.isfinite(density.grad).all()


def test_scatter_and_blur_leave_the_open_beam_and_uniform_bodies_alone() -> None:
    spread = Acquisition.ideal(scatter_fraction=0.2, blur_sigma_mm=8.0)
    for density in (uniform(0, 0, 0, (12, 9)), uniform(5, 15, 1, (12, 9))):
        torch.testing.assert_close(spread.forward(density), Acquisition.ideal().forward(density))


def test_scatter_brightens_a_body_in_air() -> None:
    density = torch.zeros(1, 3, 40, 60, dtype=torch.float64)
    density[:, 1, 15:25, 20:40] = 20.0
    without, scattered = Acquisition.ideal().forward(density), Acquisition.ideal(scatter_fraction=0.1).forward(density)
    assert (scattered[0, :, 20, 30] < without[0, :, 20, 30]).all()
    # Nothing is lost or gained: the sum of the signals stays, far from the field's edges.
    ratio = torch.exp(-12 * scattered).sum(dim=(2, 3)) / torch.exp(-12 * without).sum(dim=(2, 3))
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=5e-3, atol=0)


def test_blur_follows_the_pixel_spacing() -> None:
    """An edge is wider, in pixels, across the narrow columns than across the tall rows."""
    edge = torch.zeros(1, 3, 40, 40, dtype=torch.float64)
    edge[:, 1, :, 20:] = 10.0
    acquisition = Acquisition.ideal(blur_sigma_mm=12.0)
    across_columns = acquisition.forward(edge)[0, 0, 20]
    across_rows = acquisition.forward(edge.transpose(2, 3))[0, 0, :, 20]

    def mixed(profile: torch.Tensor) -> int:
        return int(((profile > profile.min() + 1e-3) & (profile < profile.max() - 1e-3)).sum())

    assert mixed(across_columns) > 1.5 * mixed(across_rows) > 0


def test_scan_gives_counts_as_on_disk() -> None:
    acquisition = Acquisition.ideal()
    counts = acquisition.scan(body(2), torch.Generator().manual_seed(0))
    assert counts.shape == (2, 24, 20, 6)
    assert counts.dtype == np.uint16
    assert counts.max() <= 16383
    raw = acquisition.forward(body(2), torch.Generator().manual_seed(0)).movedim(1, -1).numpy()
    assert np.abs(counts - 16383.0 * np.clip(raw, 0, 1)).max() <= 0.51
    assert counts.tobytes() == acquisition.scan(body(2), torch.Generator().manual_seed(0)).tobytes()


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_scan_refuses_densities_that_cannot_be(bad: float) -> None:
    density = body()
    density[0, 0, 0, 0] = bad
    with pytest.raises(InputError, match="areal_density: expected finite numbers from 0"):
        Acquisition.ideal().scan(density, torch.Generator())


@pytest.mark.parametrize("shape", [(3, 4, 4), (1, 6, 4, 4), (1, 4, 4, 3)])
def test_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"areal_density: expected shape \(B, 3, H, W\), got"):
        Acquisition.ideal().forward(torch.zeros(shape))


def test_refuses_integers() -> None:
    with pytest.raises(InputError, match=r"expected floating-point numbers, got torch\.int64"):
        Acquisition.ideal().forward(torch.zeros(1, 3, 4, 4, dtype=torch.int64))


@pytest.mark.parametrize("nominal", [Acquisition.ideal(), Acquisition()])
def test_perturbed_stays_within_its_limits_and_is_reproducible(nominal: Acquisition) -> None:
    scanners = [nominal.perturbed(np.random.default_rng(seed)) for seed in range(200)]
    assert scanners[7] == nominal.perturbed(np.random.default_rng(7))
    assert len(set(scanners)) == len(scanners)
    photons = np.array([scanner.photons_per_pixel for scanner in scanners])
    assert ((photons >= 3e5) & (photons <= 3e6)).all()
    assert np.median(photons) == pytest.approx(math.sqrt(3e5 * 3e6), rel=0.2)  # uniform in the logarithm
    for scanner in scanners:
        assert abs(scanner.kvp_low - 100.0) <= 6.0
        assert abs(scanner.kvp_high - 140.0) <= 6.0
        assert 0.5 <= scanner.detector_thickness_mm / 3.0 <= 1.5
        for ours, theirs in ((nominal.filters_low, scanner.filters_low), (nominal.filters_high, scanner.filters_high)):
            assert [name for name, _ in ours] == [name for name, _ in theirs]
            assert all(0.6 <= b / a <= 1.4 for (_, a), (_, b) in zip(ours, theirs, strict=True))
        rest = dataclasses.replace(
            scanner,
            **{
                name: getattr(nominal, name)
                for name in (
                    "kvp_low",
                    "kvp_high",
                    "filters_low",
                    "filters_high",
                    "detector_thickness_mm",
                    "photons_per_pixel",
                )
            },
        )
        assert rest == nominal
    # The spread is wider than 3 kV, 20 % and 30 %, which a fit may take as its prior.
    assert np.ptp([scanner.kvp_low for scanner in scanners]) > 11.0
    assert np.ptp([scanner.filters_high[1][1] / 2.5 for scanner in scanners]) > 0.7
    assert np.ptp([scanner.detector_thickness_mm / 3.0 for scanner in scanners]) > 0.9


def test_perturbed_voltages_never_pass_each_other() -> None:
    close = Acquisition.ideal(kvp_low=100.0, kvp_high=104.0)
    assert all(close.perturbed(np.random.default_rng(seed)).kvp_low < 104.0 for seed in range(50))


def test_perturbed_voltage_stays_in_the_table() -> None:
    edge = Acquisition.ideal(kvp_low=60.0, kvp_high=150.0)
    for seed in range(20):
        edge.perturbed(np.random.default_rng(seed)).response()
