"""Newton's method on the physical model: exact, differentiable, never NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.physics.decomposition import bone_lines, decompose_bone, decompose_soft, noise_behind_lean, noise_g_cm2
from dxa_monai.physics.forward import add_quantum_noise
from dxa_monai.physics.scanner_model import ScannerModel

EXACT = ScannerModel(photons_per_pixel=1e12)  # no shift of the mean logarithm by noise
NOISY = ScannerModel(photons_per_pixel=5e5)


def bodies(totals: list[float], fat_shares: list[float], minerals: list[float]) -> torch.Tensor:
    """``(B, 3, H, W)`` float64: minerals x fat shares x soft totals in g/cm2."""
    mineral, share, total = torch.meshgrid(
        *(torch.tensor(values, dtype=torch.float64) for values in (minerals, fat_shares, totals)), indexing="ij"
    )
    return torch.stack([share * total, (1.0 - share) * total, mineral], dim=1)


def scan(areal: torch.Tensor, model: ScannerModel, generator: torch.Generator | None = None) -> torch.Tensor:
    """The model's own raw scan, written out from its weights."""
    mu, weights, variance = model.tensors(areal.dtype, areal.device)
    transmitted = torch.exp(-torch.einsum("bmhw,me->bhwe", areal, mu))
    signal = transmitted @ weights
    if generator is not None:
        normal = torch.randn(signal.shape, generator=generator, dtype=signal.dtype)
        signal = add_quantum_noise(signal, transmitted @ variance, normal)
    return (-torch.log(signal.clamp_min(np.exp(-12.0))) / model.full_scale_nepers).movedim(-1, 1)


ALL_SOFT = bodies([0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0], [0.0, 0.2, 0.4, 0.6, 0.8], [0.0])
WITH_BONE = bodies([0.5, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0], [0.0, 0.3, 0.8], [0.0, 0.3, 1.0, 2.0, 4.0])


def test_soft_tissue_round_trip_is_exact() -> None:
    found = decompose_soft(scan(ALL_SOFT, EXACT), EXACT)
    assert (found - ALL_SOFT[:, :2]).abs().max() < 1e-4


def test_bone_round_trip_is_exact() -> None:
    raw = scan(WITH_BONE, EXACT)
    reachable = raw[:, :2].amax(dim=1, keepdim=True) * 12.0 < 11.0
    found = decompose_bone(raw, WITH_BONE[:, :1], EXACT)
    assert ((found - WITH_BONE).abs() * reachable).max() < 2e-4
    assert reachable.double().mean() > 0.9


def test_marrow_fat_round_trip_is_exact() -> None:
    marrow = 0.8
    areal = WITH_BONE.clone()
    areal[:, :1] += marrow * areal[:, 2:]
    raw = scan(areal, EXACT)
    reachable = raw[:, :2].amax(dim=1, keepdim=True) * 12.0 < 11.0
    found = decompose_bone(raw, WITH_BONE[:, :1], EXACT, marrow)
    assert ((found - areal).abs() * reachable).max() < 2e-4


def test_start_saves_time_and_no_more() -> None:
    raw = scan(WITH_BONE, EXACT)
    likely = WITH_BONE.sum(dim=1, keepdim=True) < 25.0
    far = decompose_bone(raw, WITH_BONE[:, :1], EXACT)
    for start in (WITH_BONE[:, 1:] * 1.05, WITH_BONE[:, 1:] * 0.6):
        found = decompose_bone(raw, WITH_BONE[:, :1], EXACT, start=start)
        assert ((found - far).abs() * likely).max() < 2e-4


def test_bone_lines_are_the_tangent_of_bone_at_the_soft_solution() -> None:
    """Against the decomposition itself, with a little fat more or less than the soft solution's."""
    raw = scan(WITH_BONE, EXACT)
    likely = (WITH_BONE.sum(dim=1, keepdim=True) < 25.0) & (WITH_BONE[:, 2:] < 0.5)
    soft = decompose_soft(raw, EXACT)
    own, slope = bone_lines(raw, soft, EXACT, 0.8)
    for more in (-0.5, 0.5):
        found = decompose_bone(raw, soft[:, :1] + more, EXACT, 0.8)[:, 1:]
        assert ((own + slope * more - found).abs() * likely).max() < 0.01


def test_bone_lines_find_thin_bone_behind_the_right_fat() -> None:
    areal = bodies([5.0, 10.0, 20.0], [0.1, 0.3], [0.0, 0.05, 0.1, 0.2])
    raw = scan(areal, EXACT)
    soft = decompose_soft(raw, EXACT)
    own, slope = bone_lines(raw, soft, EXACT)
    mineral = (own + slope * (areal[:, :1] - soft[:, :1]))[:, 1:]
    assert (mineral - areal[:, 2:]).abs().max() < 0.01


def test_float32_is_as_good_as_photon_noise_needs() -> None:
    raw = scan(ALL_SOFT, EXACT)
    found = decompose_soft(raw.float(), EXACT)
    assert found.dtype == torch.float32
    assert (found.double() - ALL_SOFT[:, :2]).abs().max() < 0.02


@pytest.mark.parametrize("photons", [3e5, 3e6])
def test_pixels_at_rest_are_where_more_steps_lead(photons: float) -> None:
    """Double precision starts at 0 and moves all pixels to the end: the slow path of single precision."""
    model = ScannerModel(photons_per_pixel=photons)
    areal = bodies([0.5, 2.0, 8.0, 16.0, 24.0], [0.0, 0.2, 0.6], [0.0, 0.1, 1.0, 2.5]).repeat(20, 1, 1, 1)
    raw = scan(areal, model, torch.Generator().manual_seed(0)).float()
    soft, bone = decompose_soft(raw, model), decompose_bone(raw, areal[:, :1].float(), model, 0.8)
    slow_soft = decompose_soft(raw.double(), model)
    slow_bone = decompose_bone(raw.double(), areal[:, :1], model, 0.8)
    for found, expected in ((soft, slow_soft), (bone, slow_bone)):
        error = (found - expected).abs()
        assert error.mean() < 1e-3
        assert error.quantile(0.999) < 0.06


def test_batch_equals_one_by_one_and_where_equals_full() -> None:
    raw = scan(WITH_BONE, EXACT)
    fat = WITH_BONE[:, :1]
    where = torch.rand(fat.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    zero = torch.zeros((), dtype=raw.dtype)
    soft, bone = decompose_soft(raw, EXACT), decompose_bone(raw, fat, EXACT, 0.8)
    torch.testing.assert_close(torch.cat([decompose_soft(one[None], EXACT) for one in raw]), soft)
    pairs = zip(raw, fat, strict=True)
    torch.testing.assert_close(torch.cat([decompose_bone(one[None], f[None], EXACT, 0.8) for one, f in pairs]), bone)
    torch.testing.assert_close(decompose_soft(raw, EXACT, where), torch.where(where, soft, zero))
    torch.testing.assert_close(decompose_bone(raw, fat, EXACT, 0.8, where), torch.where(where, bone, zero))
    nowhere = torch.zeros_like(where)
    assert decompose_soft(raw, EXACT, nowhere).count_nonzero() == 0
    assert decompose_bone(raw, fat, EXACT, 0.8, nowhere).count_nonzero() == 0


def test_full_scale_cancels() -> None:
    other = ScannerModel(photons_per_pixel=1e12, full_scale_nepers=16.0)
    torch.testing.assert_close(
        decompose_soft(scan(ALL_SOFT, other), other), decompose_soft(scan(ALL_SOFT, EXACT), EXACT)
    )


def test_gradient_of_soft_tissue() -> None:
    raw = scan(bodies([2.0, 15.0], [0.1, 0.6], [0.0]), EXACT).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: decompose_soft(x, NOISY), raw, eps=1e-7, atol=0.5, rtol=0.02)


def test_gradient_is_that_of_the_solution() -> None:
    """d(areal density)/d(raw) undoes d(raw)/d(areal density)."""
    areal = bodies([4.0], [0.3], [0.0])
    forward = torch.autograd.functional.jacobian(lambda a: scan(torch.cat([a, 0 * a[:, :1]], 1), EXACT), areal[:, :2])
    backward = torch.autograd.functional.jacobian(lambda raw: decompose_soft(raw, EXACT), scan(areal, EXACT))
    product = backward.reshape(2, 6) @ forward.reshape(6, 2)
    torch.testing.assert_close(product, torch.eye(2, dtype=product.dtype), atol=1e-4, rtol=0.0)


def test_gradient_of_bone_in_both_arguments() -> None:
    areal = bodies([4.0, 15.0], [0.3], [0.5, 2.0])
    forward = torch.autograd.functional.jacobian(lambda a: scan(a, EXACT), areal[:1, :, :, :1])
    one = areal[:1, :, :, :1]
    raw = scan(one, EXACT)
    to_raw, to_fat = torch.autograd.functional.jacobian(
        lambda raw, fat: decompose_bone(raw, fat, EXACT), (raw, one[:, :1])
    )
    product = to_raw.reshape(3, 6) @ forward.reshape(6, 3)
    # With the fat given, lean and mineral are those of the scan; fat's own effect on the scan is put down to them.
    torch.testing.assert_close(product[:, 1:], torch.eye(3, dtype=product.dtype)[:, 1:], atol=1e-4, rtol=0.0)
    both = product[:, 0] + to_fat.reshape(3)
    torch.testing.assert_close(both, torch.eye(3, dtype=product.dtype)[:, 0], atol=1e-4, rtol=0.0)


ODD = {
    "zero": torch.zeros(1, 6, 4, 5),
    "one": torch.ones(1, 6, 4, 5),
    "negative": torch.full((1, 6, 4, 5), -3.0),
    "huge": torch.full((1, 6, 4, 5), 1e6),
    "constant": torch.full((1, 6, 4, 5), 0.3),
    "uniform": torch.rand(1, 6, 40, 50, generator=torch.Generator().manual_seed(0)),
    "normal": torch.randn(1, 6, 40, 50, generator=torch.Generator().manual_seed(1)),
    "swapped": scan(ALL_SOFT, EXACT).float()[:, [1, 0, 3, 2, 5, 4]],
}


@pytest.mark.parametrize("name", list(ODD))
@pytest.mark.parametrize("model", [EXACT, NOISY, ScannerModel(photons_per_pixel=1e3)], ids=["exact", "5e5", "1e3"])
def test_odd_values_have_finite_results_and_gradients(name: str, model: ScannerModel) -> None:
    raw = ODD[name].clone().requires_grad_()
    fat = (50.0 * raw.detach()[:, :1]).requires_grad_()
    soft, bone = decompose_soft(raw, model), decompose_bone(raw, fat, model, 0.8)
    assert soft.isfinite().all()
    assert bone.isfinite().all()
    (soft.abs().sum() + bone.abs().sum()).backward()
    assert raw.grad is not None
    assert fat.grad is not None
    assert raw.grad.isfinite().all()
    assert fat.grad.isfinite().all()


def test_half_precision_is_raised() -> None:
    raw = scan(ALL_SOFT, EXACT).to(torch.bfloat16)
    assert decompose_soft(raw, EXACT).dtype == torch.float32


@pytest.mark.parametrize("shape", [(6, 4, 5), (1, 5, 4, 5), (1, 3, 4, 5)])
def test_shape_of_the_scan_is_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"raw: expected shape \(B, 6, H, W\)"):
        decompose_soft(torch.zeros(shape), EXACT)


def test_shape_of_the_fat_is_checked() -> None:
    with pytest.raises(InputError, match=r"fat_g_cm2: expected shape \(2, 1, 4, 5\)"):
        decompose_bone(torch.zeros(2, 6, 4, 5), torch.zeros(1, 1, 4, 5), EXACT)


@pytest.mark.parametrize("total", [2.0, 12.0, 25.0])
@pytest.mark.parametrize("photons", [3e5, 3e6])
def test_noise_is_that_of_many_scans_and_averages_out(total: float, photons: float) -> None:
    model = ScannerModel(photons_per_pixel=photons)
    size = 60
    areal = bodies([total], [0.25], [0.8]).expand(1, 3, size, size)
    soft_areal = areal * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
    generator = torch.Generator().manual_seed(0)
    soft = decompose_soft(scan(soft_areal, model, generator), model)
    bone = decompose_bone(scan(areal, model, generator), areal[:, :1], model)
    lean_noise, _ = noise_g_cm2(soft_areal[:, :, :1, :1], model)
    _, bone_noise = noise_g_cm2(areal[:, :, :1, :1], model)
    assert float(soft[:, 1].std()) == pytest.approx(float(lean_noise), rel=0.1)
    assert float(soft[:, 0].std()) == pytest.approx(float(lean_noise), rel=0.15)
    assert float(bone[:, 2].std()) == pytest.approx(float(bone_noise), rel=0.1)
    for found, expected, noise in (
        (soft[:, 0], soft_areal[0, 0, 0, 0], lean_noise),
        (soft[:, 1], soft_areal[0, 1, 0, 0], lean_noise),
        (bone[:, 2], areal[0, 2, 0, 0], bone_noise),
    ):
        # Four standard errors of the mean, and the curvature's bias: the square of the noise over some tens of g/cm2.
        allowed = 4.0 * float(noise) / size + 0.02 * float(noise) ** 2
        assert abs(float(found.mean() - expected)) < allowed


def test_shift_of_the_mean_logarithm_is_undone() -> None:
    """The mean of -ln of a noisy signal lies above -ln of its mean by half of the relative variance."""
    model = ScannerModel(photons_per_pixel=1e5)
    areal = bodies([2.0, 10.0, 20.0], [0.1, 0.6], [0.0, 1.0])
    mu, weights, variance = model.tensors(areal.dtype, areal.device)
    transmitted = torch.exp(-torch.einsum("bmhw,me->bhwe", areal, mu))
    shift = (transmitted @ variance / (transmitted @ weights) ** 2 / 2.0).movedim(-1, 1)
    raw = scan(areal, model) + shift / model.full_scale_nepers
    torch.testing.assert_close(decompose_soft(raw, model)[0], areal[0, :2], atol=1e-3, rtol=0.0)
    torch.testing.assert_close(decompose_bone(raw, areal[:, :1], model), areal, atol=1e-3, rtol=0.0)


def test_noise_falls_with_the_root_of_the_photons_and_rises_with_thickness() -> None:
    areal = bodies([2.0, 10.0, 20.0, 30.0], [0.3], [0.5])
    few, many = (
        noise_g_cm2(areal, ScannerModel(photons_per_pixel=photons, rounding_nepers=0.0)) for photons in (3e5, 3e7)
    )
    for first, second in zip(few, many, strict=True):
        assert (first.diff(dim=-1) > 0).all()
        torch.testing.assert_close(first[..., :2], 10.0 * second[..., :2], rtol=1e-6, atol=0.0)


def test_a_coarse_export_is_as_noisy_as_few_photons() -> None:
    areal = bodies([2.0, 10.0, 20.0, 30.0], [0.3], [0.5])
    exact, coarse = (noise_g_cm2(areal, ScannerModel(rounding_nepers=step)) for step in (0.0, 0.0117))
    for first, second in zip(exact, coarse, strict=True):
        assert (second > 1.2 * first)[..., :2].all()


def test_noise_where_equals_full() -> None:
    areal = bodies([2.0, 10.0], [0.3], [0.5])
    where = torch.tensor([True, False]).reshape(1, 1, 1, 2)
    for full, part in zip(noise_g_cm2(areal, NOISY), noise_g_cm2(areal, NOISY, where), strict=True):
        torch.testing.assert_close(part, full * where)


def test_table_of_noise_is_as_good_as_the_noise() -> None:
    lean = torch.rand(1, 1, 20, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 45.0 - 2.0
    where = lean < 40.0
    every = noise_g_cm2(torch.nn.functional.pad(lean, (0, 0, 0, 0, 1, 1)), NOISY, where)
    for found, expected in zip(noise_behind_lean(lean, NOISY, where), every, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=0.0)
