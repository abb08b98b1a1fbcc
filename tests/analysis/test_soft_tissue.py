"""The fat shell around a limb, and how it is carried on."""

from __future__ import annotations

import math

import pytest
import torch

from dxa_monai.analysis.soft_tissue import FAT_OF_MUSCLE, fat_of_fields, fields_of_fat, trunk_share, upper_envelope

SPACING_MM = (13.0, 6.06)


def chords(half_width: float, half_depth: float, across: torch.Tensor) -> torch.Tensor:
    """Length of a beam through an ellipse at distances from its middle."""
    return 2.0 * half_depth * (1.0 - (across / half_width) ** 2).clamp_min(0.0).sqrt()


@pytest.mark.parametrize(("half_width", "half_depth"), [(8.0, 8.0), (9.0, 6.0), (5.0, 7.5)])
@pytest.mark.parametrize("layer", [0.05, 0.2])
def test_shell_is_the_same_across_a_limb(half_width: float, half_depth: float, layer: float) -> None:
    """Circle and ellipse with a proportional layer and fat in the muscle, unit densities: equation (1)."""
    across = torch.linspace(0.0, (1.0 - layer) * half_width * 0.99, 50, dtype=torch.float64)
    total = chords(half_width, half_depth, across)
    inside = chords((1.0 - layer) * half_width, (1.0 - layer) * half_depth, across)
    lean = (1.0 - FAT_OF_MUSCLE) * inside  # the rest of it lies between the muscles
    soft = torch.stack([total - lean, lean])[None, :, None]
    fields = fields_of_fat(soft, torch.zeros(1, 1, 1, 50, dtype=torch.float64))
    thickness = layer * half_depth
    expected = 4.0 * (2.0 * half_depth * thickness - thickness**2)
    torch.testing.assert_close(fields[:, 0], torch.full_like(fields[:, 0], expected))
    torch.testing.assert_close(fields[:, 1], soft[:, 0])
    # While fat itself is not the same: carrying it on from the sides would be wrong by this factor.
    assert abs(float(soft[0, 0, 0, -1] / soft[0, 0, 0, 0]) - 1.0) > 0.25


def test_fat_of_fields_undoes_fields_of_fat() -> None:
    generator = torch.Generator().manual_seed(0)
    soft = 0.1 + 20.0 * torch.rand(2, 2, 6, 5, generator=generator, dtype=torch.float64)
    soft[:, 0] += FAT_OF_MUSCLE * soft[:, 1]  # as much as the muscle holds, at least
    fields = fields_of_fat(soft, torch.zeros(2, 1, 6, 5, dtype=torch.float64))
    for share in (0.0, 0.4, 1.0):
        trunk = torch.full((2, 1, 6, 5), share, dtype=torch.float64)
        torch.testing.assert_close(fat_of_fields(fields, soft, trunk), soft[:, :1])


def test_noise_does_not_shift_the_shell() -> None:
    """Fat and lean of the decomposition are noisy against each other; their sum hardly is."""
    generator = torch.Generator().manual_seed(0)
    noise = 1.5 * torch.randn(1, 1, 200, 200, generator=generator, dtype=torch.float64)
    soft = torch.cat([4.0 + noise, 11.0 - noise], dim=1)
    found = fields_of_fat(soft, torch.full_like(noise, 1.5))[:, 0].mean()
    expected = 15.0**2 - (11.0 / (1.0 - FAT_OF_MUSCLE)) ** 2
    assert float(found) == pytest.approx(expected, abs=4.0 * 1.5 * 2.0 * 11.0 / 200.0)


def test_fat_lies_between_nothing_and_everything() -> None:
    generator = torch.Generator().manual_seed(0)
    fields = 300.0 * torch.randn(1, 2, 20, 20, generator=generator)
    soft = 10.0 * torch.randn(1, 2, 20, 20, generator=generator)
    total = soft.sum(dim=1, keepdim=True).clamp_min(0.0)
    fat = fat_of_fields(fields, soft, torch.zeros(1, 1, 20, 20))
    assert (fat >= -0.011).all()  # the floor under the square root
    assert (fat <= total + 1e-4).all()


def test_fat_has_finite_gradients_where_all_or_nothing_is_fat() -> None:
    soft = torch.tensor([[5.0, 0.0, 0.0, 8.0], [0.0, 5.0, 0.0, -8.0]], dtype=torch.float64)[None, :, None]
    soft.requires_grad_()
    fields = fields_of_fat(soft, torch.zeros(1, 1, 1, 4, dtype=torch.float64))
    fat_of_fields(fields, soft, torch.full((1, 1, 1, 4), 0.5, dtype=torch.float64)).sum().backward()
    assert soft.grad is not None
    assert soft.grad.isfinite().all()


def test_gradient_of_fat() -> None:
    generator = torch.Generator().manual_seed(0)
    soft = (2.0 + 10.0 * torch.rand(1, 2, 3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    trunk = torch.rand(1, 1, 3, 4, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(trunk)
    assert torch.autograd.gradcheck(lambda x: fat_of_fields(0.7 * fields_of_fat(x, zero), x, trunk), soft)


def test_trunk_is_wide_and_limbs_are_not() -> None:
    """A trunk 35 cm wide above two legs 14 cm wide and 18 cm apart."""
    body = torch.zeros(1, 1, 120, 109, dtype=torch.bool)
    body[..., 20:65, 26:84] = True
    body[..., 65:115, 26:49] = True
    body[..., 65:115, 79:102] = True
    share = trunk_share(body, SPACING_MM)
    assert (share[0, 0, 35:55, 50:60] == 1).all()
    assert (share[0, 0, 85:110] == 0).all()
    assert (share[~body] == 0).all()
    assert 0 <= float(share.min()) <= float(share.max()) <= 1


def test_envelope_is_the_quantile_around() -> None:
    """A limb half of which reads zero behind bone: a high quantile is the other half's value."""
    fields = torch.full((1, 2, 40, 21), 30.0)
    fields[..., 8:13] = 0.0
    body = torch.ones(1, 1, 40, 21, dtype=torch.bool)
    total = torch.full((1, 1, 40, 21), 15.0)
    envelope = upper_envelope(fields, total, body, 0.77, SPACING_MM)
    assert envelope.shape == fields.shape
    torch.testing.assert_close(envelope[:, :, 10:30, 8:13], torch.full((1, 2, 20, 5), 30.0))
    assert (upper_envelope(fields, total, body, 0.0, SPACING_MM)[:, :, 10:30, 8:13] == 0).all()


def test_a_thin_arm_is_not_guessed_from_the_thick_trunk_beside_it() -> None:
    fields = torch.full((1, 2, 40, 30), 5.0)
    fields[..., 12:] = 300.0
    total = torch.full((1, 1, 40, 30), 8.0)
    total[..., 12:] = 25.0
    body = torch.ones(1, 1, 40, 30, dtype=torch.bool)
    arm = upper_envelope(fields, total, body, 0.95, SPACING_MM)[:, :, 10:30, 8:11]
    torch.testing.assert_close(arm, torch.full_like(arm, 5.0))
    same_thickness = upper_envelope(fields, torch.full_like(total, 25.0), body, 0.95, SPACING_MM)
    assert (same_thickness[:, :, 10:30, 8:11] > 100.0).all()


def test_touching_thighs_are_no_trunk_and_a_cut_off_body_has_none() -> None:
    body = torch.zeros(1, 1, 150, 109, dtype=torch.bool)
    body[..., 10:140, 25:85] = True
    share = trunk_share(body, SPACING_MM)
    assert (share[0, 0, 30:70, 45:65] == 1).all()
    assert (share[0, 0, 85:140] == 0).all()
    body[..., 140:, 25:85] = True
    assert (trunk_share(body, SPACING_MM)[0, 0, 85:130, 45:65] == 1).all()


def test_envelope_is_never_negative_and_zero_in_the_air() -> None:
    fields = torch.randn(2, 2, 30, 20, generator=torch.Generator().manual_seed(0)) - 2.0
    body = torch.zeros(2, 1, 30, 20, dtype=torch.bool)
    body[..., 5:25, 5:15] = True
    envelope = upper_envelope(fields, torch.ones(2, 1, 30, 20), body, 0.77, SPACING_MM)
    assert (envelope >= 0).all()
    assert (envelope[~body.expand_as(envelope)] == 0).all()
    assert math.isfinite(float(envelope.sum()))
