from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import torch

from dxa_monai.errors import InputError
from dxa_monai.networks.vae import DXAVAE

MakeVAE = Callable[..., DXAVAE]


def scans(count: int = 2) -> torch.Tensor:
    """Smooth bodies of different widths, ``(count, 6, 60, 50)``."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 50), indexing="ij")
    widths = torch.linspace(0.4, 0.8, count)[:, None, None]
    bodies = (1 - rows**2 - (columns / widths) ** 2).clamp(min=0)
    return bodies[:, None] * torch.linspace(0.3, 0.8, 6)[:, None, None]


def test_training_starts_at_the_mean_image(make_vae: MakeVAE) -> None:
    vae, mean = make_vae(), scans().mean(0)
    vae.set_normalisation(mean, 0.1)
    output = vae(scans())
    torch.testing.assert_close(output.reconstruction, mean.expand(2, -1, -1, -1))
    assert output.mu.shape == output.log_variance.shape == (2, 4, 2, 2)


def woken(vae: DXAVAE) -> DXAVAE:
    """The same network as if it had learnt something: its last layer is no longer zero."""
    torch.nn.init.normal_(vae.generator.to_scan.weight)
    return vae


def test_training_samples_and_evaluation_does_not(make_vae: MakeVAE) -> None:
    vae = woken(make_vae(norm="instance"))
    first, second = vae(scans()), vae(scans())
    torch.testing.assert_close(first.mu, second.mu)
    assert not torch.allclose(first.reconstruction, second.reconstruction)
    vae.eval()
    torch.testing.assert_close(vae(scans()).reconstruction, vae(scans()).reconstruction, rtol=0, atol=0)


def test_seeded_sampling_repeats(make_vae: MakeVAE) -> None:
    vae = woken(make_vae(norm="instance"))
    outputs = []
    for _ in range(2):
        torch.manual_seed(5)
        outputs.append(vae(scans()).reconstruction)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=0)


def test_sample_has_the_mean_and_variance_it_says(make_vae: MakeVAE) -> None:
    vae = make_vae(norm="instance")
    seen: list[torch.Tensor] = []
    vae.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.nn.init.constant_(vae.encoder.log_variance_head.bias, -2.0)
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = [vae(scans()) for _ in range(400)]
    z = torch.stack(seen)
    sd = torch.exp(0.5 * outputs[0].log_variance)
    assert ((z.mean(0) - outputs[0].mu).abs() < 5 * sd / 400**0.5).all()
    assert ((z.std(0) / sd - 1).abs() < 0.2).all()


def test_reconstruct_is_the_clamped_decoding_of_mu(make_vae: MakeVAE) -> None:
    vae = woken(make_vae()).eval()
    vae.set_normalisation(scans().mean(0), 10.0)
    x = scans()
    mu, _ = vae.encode(x)
    assert not torch.equal(vae.decode(mu), vae.decode(mu).clamp(0, 1))
    torch.testing.assert_close(vae.reconstruct(x), vae.decode(mu).clamp(0, 1))


def test_normalisation_is_undone_at_the_output(make_vae: MakeVAE) -> None:
    """Scans and normalisation shifted and scaled together give outputs shifted and scaled alike."""
    vae, x = woken(make_vae()).eval(), scans()
    vae.set_normalisation(x.mean(0), 0.2)
    before = vae(x).reconstruction
    vae.set_normalisation(3.0 * x.mean(0) + 1.0, 0.6)
    torch.testing.assert_close(vae(3.0 * x + 1.0).reconstruction, 3.0 * before + 1.0, atol=1e-4, rtol=1e-4)


def test_normalisation_that_cannot_be_right_is_refused(make_vae: MakeVAE) -> None:
    vae = make_vae()
    with pytest.raises(InputError, match=r"mean_image: expected .*\(6, 60, 50\).*got shape \(6, 50, 60\)"):
        vae.set_mean_image(torch.zeros(6, 50, 60))
    with pytest.raises(InputError, match="finite"):
        vae.set_mean_image(torch.full((6, 60, 50), torch.nan))
    with pytest.raises(InputError, match="standard_deviation"):
        vae.set_normalisation(torch.zeros(6, 60, 50), 0.0)


def test_architecture_is_json_and_builds_an_equal_network(make_vae: MakeVAE) -> None:
    vae = make_vae(norm=("group", {"num_groups": 2}))
    twin = DXAVAE(**json.loads(json.dumps(vae.architecture())))
    twin.load_state_dict(vae.state_dict())
    torch.testing.assert_close(twin.eval()(scans()).mu, vae.eval()(scans()).mu)


def test_torchscript_agrees_with_eager_and_keeps_reconstruct(make_vae: MakeVAE) -> None:
    vae = woken(make_vae()).eval()
    stored = io.BytesIO()
    torch.jit.save(torch.jit.script(vae), stored)
    stored.seek(0)
    scripted = torch.jit.load(stored)
    torch.testing.assert_close(scripted(scans())[0], vae(scans()).reconstruction)
    torch.testing.assert_close(scripted.reconstruct(scans()), vae.reconstruct(scans()))


def test_a_traced_network_takes_other_batch_sizes(make_vae: MakeVAE) -> None:
    vae = woken(make_vae()).eval()
    traced = torch.jit.trace(vae.forward, scans())
    torch.testing.assert_close(traced(scans(3))[0], vae(scans(3)).reconstruction)
