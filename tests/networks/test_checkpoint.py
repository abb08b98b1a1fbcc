from __future__ import annotations

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from monai.networks import copy_model_state
from torch.nn.modules.module import register_module_parameter_registration_hook

from dxa_monai.errors import InputError
from dxa_monai.networks import tensor_checks
from dxa_monai.networks.checkpoint import compact_checkpoint, load_tensors, load_vae, save_network
from dxa_monai.networks.single_output import Reconstruction
from dxa_monai.networks.vae import DXAVAE

MakeVAE = Callable[..., DXAVAE]


def _extra(path: Path) -> dict[str, Any]:
    """What a file holds beside the network."""
    return dict(torch.load(path, weights_only=True)["extra"])


def _save_with_weights_of(built: DXAVAE, other: DXAVAE, path: Path) -> None:
    """A file that names the architecture of one network and holds the weights of another."""
    save_network(SimpleNamespace(architecture=built.architecture, state_dict=other.state_dict), path)


def test_round_trip_keeps_weights_normalisation_and_extra(make_vae: MakeVAE, tmp_path: Path) -> None:
    vae, path = make_vae(), tmp_path / "model.pt"
    vae.set_normalisation(torch.rand(6, 60, 50), 0.3)
    save_network(vae, path, epoch=3, metrics={"psnr_db": 30.5})
    loaded = load_vae(path)
    assert not loaded.training
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    assert _extra(path) == {"epoch": 3, "metrics": {"psnr_db": 30.5}}
    assert os.listdir(tmp_path) == ["model.pt"]


def test_a_save_that_fails_leaves_the_old_file(make_vae: MakeVAE, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    save_network(make_vae(), path, epoch=1)
    with pytest.raises(TypeError):
        save_network(make_vae(), path, epoch=object())
    assert _extra(path) == {"epoch": 1}


def test_compact_weights_are_half_as_large_and_load_as_single_precision(make_vae: MakeVAE, tmp_path: Path) -> None:
    vae = make_vae().eval()
    save_network(vae, tmp_path / "best.pt", epoch=3)
    compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
    stored = torch.load(tmp_path / "half.pt", weights_only=True)
    halved = {name for name, tensor in stored["state"].items() if tensor.dtype == torch.float16}
    assert halved == {name for name, tensor in vae.named_parameters() if name.endswith("weight") and tensor.ndim > 1}
    assert stored["extra"] == {"epoch": 3}
    loaded = load_vae(tmp_path / "half.pt")
    for name, tensor in vae.state_dict().items():
        got = loaded.state_dict()[name]
        assert got.dtype == tensor.dtype
        # 11 bits; what is smaller than half precision's normal numbers has fewer
        torch.testing.assert_close(got, tensor, rtol=2.0**-11 if name in halved else 0.0, atol=1e-7)
    assert not torch.equal(loaded.state_dict()[min(halved)], vae.state_dict()[min(halved)])


def test_compact_components_are_bytes_and_stand_for_the_same_images(make_vae: MakeVAE, tmp_path: Path) -> None:
    vae = make_vae(linear_channels=1).eval()
    count, *shape = vae.linear_path.components.shape
    components, _ = torch.linalg.qr(torch.randn(math.prod(shape), count, generator=torch.Generator().manual_seed(0)))
    vae.set_linear_path(components.T.reshape(count, *shape).contiguous(), torch.linspace(9.0, 1.0, count))
    save_network(vae, tmp_path / "best.pt")
    compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
    assert torch.load(tmp_path / "half.pt", weights_only=True)["state"]["linear_path.components"].dtype == torch.int8
    loaded = load_vae(tmp_path / "half.pt")
    codes = torch.randn(3, count, generator=torch.Generator().manual_seed(1))
    expected, got = vae.linear_path.decode(codes), loaded.linear_path.decode(codes)
    assert (got - expected).square().mean() < 2e-5 * expected.square().mean()
    assert not got.equal(expected)


def test_weights_of_pixels_are_in_a_compact_file_unless_all_are_1(make_vae: MakeVAE, tmp_path: Path) -> None:
    name = "linear_path.pixel_weights"
    for weight in (1.0, 2.5):
        vae = make_vae(linear_channels=1, linear_directions=2).eval()
        vae.linear_path.pixel_weights[1] = weight
        save_network(vae, tmp_path / "best.pt")
        compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
        stored = torch.load(tmp_path / "half.pt", weights_only=True)["state"]
        assert (name in stored) == (weight != 1.0)
        assert load_vae(tmp_path / "half.pt").state_dict()[name].equal(vae.state_dict()[name])


def test_a_compact_state_is_loaded_by_whoever_knows_torch_alone(make_vae: MakeVAE, tmp_path: Path) -> None:
    vae = make_vae(linear_channels=1).eval()
    vae.linear_path.components.copy_(torch.randn(vae.linear_path.components.shape))
    save_network(vae, tmp_path / "best.pt")
    compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
    expected = load_vae(tmp_path / "half.pt").state_dict()
    state = torch.load(tmp_path / "half.pt", weights_only=True)["state"]
    names = set(state)
    alone, part = make_vae(linear_channels=1), Reconstruction(make_vae(linear_channels=1))
    alone.load_state_dict(state)
    part.load_state_dict({f"vae.{name}": tensor for name, tensor in state.items()})
    for network in (alone, part.vae):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=0)
    assert set(state) == names


def test_bytes_without_what_they_are_worth_are_refused(make_vae: MakeVAE, tmp_path: Path) -> None:
    save_network(make_vae(linear_channels=1), tmp_path / "best.pt")
    compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
    vae, state = make_vae(linear_channels=1), torch.load(tmp_path / "half.pt", weights_only=True)["state"]
    with pytest.raises(InputError, match=r"linear_path\.components: expected numbers, or bytes with their scales, got"):
        # takes what the network has names for
        copy_model_state(dst=vae, src=state)


@pytest.mark.parametrize("scales", [torch.ones(3), "many"])
def test_scales_that_do_not_belong_to_components_are_refused(make_vae: MakeVAE, tmp_path: Path, scales: object) -> None:
    save_network(make_vae(linear_channels=1), tmp_path / "best.pt")
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    content["state"]["linear_path.component_scales"] = scales
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"1 unexpected \(linear_path\.component_scales\)"):
        load_vae(tmp_path / "odd.pt")


def test_weights_that_half_precision_cannot_hold_are_refused_by_name(make_vae: MakeVAE, tmp_path: Path) -> None:
    vae = make_vae()
    name = next(name for name, tensor in vae.named_parameters() if name.endswith("weight") and tensor.ndim > 1)
    with torch.no_grad():
        vae.get_parameter(name).fill_(1e6)
    save_network(vae, tmp_path / "best.pt")
    with pytest.raises(InputError, match=f"half precision can hold, got others in {name}"):
        compact_checkpoint(tmp_path / "best.pt", tmp_path / "half.pt")
    assert not (tmp_path / "half.pt").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latent_channels": 5}, r"of another shape \(encoder\.mu_head\.weight"),
        ({"block_config": (1, 2, 1, 1)}, r"missing \(.*unexpected|missing \("),
        ({"block_config": (1, 1, 1, 2)}, r"missing \(encoder\.trunk\.denseblock4\.denselayer2"),
    ],
)
def test_weights_of_another_architecture_are_refused(
    make_vae: MakeVAE, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    path = tmp_path / "model.pt"
    _save_with_weights_of(make_vae(**changes), make_vae(), path)
    with pytest.raises(InputError, match=told) as caught:
        load_vae(path)
    assert str(path) in str(caught.value)


def test_unexpected_tensors_are_counted_and_the_first_named(make_vae: MakeVAE, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    _save_with_weights_of(make_vae(), make_vae(block_config=(1, 1, 1, 2)), path)
    with pytest.raises(InputError, match=r"\d+ unexpected \(.*denselayer2.*, \.\.\.\)"):
        load_vae(path)


def _truncated(path: Path, vae: DXAVAE) -> None:
    save_network(vae, path)
    path.write_bytes(path.read_bytes()[:-2000])


def _pickled(path: Path, vae: DXAVAE) -> None:
    path.write_bytes(pickle.dumps({"architecture": Path("/")}))


def _whole_module(path: Path, vae: DXAVAE) -> None:
    torch.save(vae, path)


def _bare_state(path: Path, vae: DXAVAE) -> None:
    torch.save(vae.state_dict(), path)


def _tensor(path: Path, vae: DXAVAE) -> None:
    torch.save(torch.zeros(3), path)


def _other_arguments(path: Path, vae: DXAVAE) -> None:
    torch.save({"architecture": {"depth": 3}, "state": {}, "extra": {}}, path)


def _empty(path: Path, vae: DXAVAE) -> None:
    path.write_bytes(b"")


def _missing(path: Path, vae: DXAVAE) -> None:
    pass


def _folder(path: Path, vae: DXAVAE) -> None:
    path.mkdir()


def _text(path: Path, vae: DXAVAE) -> None:
    path.write_text("subject_id,scan\n")


@pytest.mark.parametrize(
    "write",
    [
        _truncated,
        _pickled,
        _whole_module,
        _bare_state,
        _tensor,
        _other_arguments,
        _empty,
        _missing,
        _folder,
        _text,
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(
    make_vae: MakeVAE, tmp_path: Path, write: Callable[[Path, DXAVAE], None]
) -> None:
    path = tmp_path / "model.pt"
    write(path, make_vae())
    with pytest.raises(InputError) as caught:
        load_vae(path)
    sentence = str(caught.value)
    assert sentence.startswith(f"{path}: expected ")
    assert ", got " in sentence
    assert "\n" not in sentence


ARCHITECTURES: dict[str, Any] = {
    "channels": {"in_channels": 10**9},
    "negative": {"in_channels": -1},
    "fraction": {"growth_rate": 2.5},
    "text": {"growth_rate": "16"},
    "null": {"spatial_shape": None},
    "image": {"spatial_shape": [10**9, 10**9]},
    "layers": {"block_config": [10**9, 1]},
    "blocks": {"block_config": [1] * 100_000},
    "codes": {"linear_channels": 10**12},
    "beyond integers": {"latent_channels": 10**40},
    "infinite": {"growth_rate": float("inf")},
    "unknown": {"more": 1},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_that_its_file_does_not_hold_is_refused_before_it_is_built(
    name: str, make_vae: MakeVAE, tmp_path: Path
) -> None:
    vae, path = make_vae(), tmp_path / "model.pt"
    architecture = vae.architecture() | ARCHITECTURES[name]
    torch.save({"architecture": architecture, "state": vae.state_dict(), "extra": {}}, path)
    built: list[torch.Tensor] = []
    hook = register_module_parameter_registration_hook(lambda module, name, weight: built.append(weight))
    try:
        with pytest.raises(InputError, match=r"model\.pt: expected the (architecture|.* tensors) of a") as refused:
            load_vae(path)
    finally:
        hook.remove()
    assert "\n" not in str(refused.value)
    assert all(weight.is_meta for weight in built)


ODD: dict[str, Callable[[torch.Tensor], Any]] = {
    "NaN": lambda weight: torch.full_like(weight, math.nan),
    "infinity": lambda weight: torch.full_like(weight, math.inf),
    "whole numbers": lambda weight: weight.long(),
    "complex": lambda weight: torch.complex(weight, weight),
    "true and false": lambda weight: weight > 0,
    "sparse": lambda weight: weight.to_sparse(),
    "meta": lambda weight: weight.to("meta"),
    "one number for all": lambda weight: torch.zeros(1).expand(weight.shape),
    "quantised": lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    "list": lambda weight: weight.tolist(),
    "huge": lambda weight: torch.zeros(1).expand(10**12),
}


@pytest.mark.parametrize("part", ["generator.to_image.weight", "linear_path.components"])
@pytest.mark.parametrize("name", ODD)
def test_weights_that_are_no_plain_numbers_are_refused_by_name(
    name: str, part: str, make_vae: MakeVAE, tmp_path: Path
) -> None:
    vae, path = make_vae(linear_channels=2), tmp_path / "model.pt"
    state = dict(vae.state_dict())
    part = part if part in state else next(key for key in reversed(state) if key.endswith("weight"))
    content = {"architecture": vae.architecture(), "state": state | {part: ODD[name](state[part])}, "extra": {}}
    torch.save(content, path)
    with pytest.raises(InputError, match=rf"model\.pt: expected .*{part}"):
        load_vae(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_countless_small_parts_are_refused(zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would take them one by one; what is in memory for two bytes of a file, a file of a gigabyte has often."""
    monkeypatch.setattr(tensor_checks, "_MOST_STEPS", 1000)
    steps = b"\x80\x02]q\x00(" + b"h\x00" * 2000 + b"e."
    path = tmp_path / "model.pt"
    path.write_bytes(steps)
    if zipped:
        torch.save({}, path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, steps if name.endswith("data.pkl") else content)
    with pytest.raises(InputError, match=r"model\.pt: expected .*, got one of countless small parts"):
        load_tensors(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_in_either_of_torch_s_formats_are_read(zipped: bool, tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "model.pt", _use_new_zipfile_serialization=zipped)
    assert load_tensors(tmp_path / "model.pt")["a"].tolist() == [1.0, 1.0, 1.0]


def test_compressed_weights_and_pipes_are_refused(make_vae: MakeVAE, tmp_path: Path) -> None:
    torch.save({"state": torch.zeros(1_000_000)}, tmp_path / "model.pt")
    with (
        zipfile.ZipFile(tmp_path / "model.pt") as source,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert (tmp_path / "bomb.pt").stat().st_size < 20_000
    with pytest.raises(InputError, match="as torch writes it, got one that is compressed"):
        load_tensors(tmp_path / "bomb.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(InputError, match="got a pipe"):
        load_tensors(tmp_path / "pipe.pt")
