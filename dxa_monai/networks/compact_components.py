"""Principal components as bytes, in files of weights that are to be small.

Those of scans have a scale for each direction, and the first of them a second byte: the images that they stand for
change by less than a ten-thousandth of how far scans lie apart (squares), which is less than they leave out. In a
network with a shape path the last fifth is left out: what shape tells of these is worth 0.03 dB. Components of shape
have a scale each, and only the cells that any body reaches; so have those of maps of materials, a scale for each
material, and their mean is in half precision. Weights of pixels that are all 1 are left out, as they are in files from
before there were any.

Whoever loads such a file's state into a network gets the components again, MONAI's own commands included: networks
restore what they are given (:class:`dxa_monai.networks.rebuildable.Rebuildable`).
"""

from __future__ import annotations

from typing import Any

import torch

from dxa_monai.errors import InputError

SCANS, SHAPES = "linear_path.components", "shape_path.components"
_SCALES, _FINE, _DEVIATIONS = (
    "linear_path.component_scales",
    "linear_path.component_second_bytes",
    "linear_path.deviations",
)
_BASIS, _PIXEL_WEIGHTS = "linear_path.analysis", "linear_path.pixel_weights"
_SHAPE_SCALES, _CELLS, _SHAPE_MEAN = "shape_path.component_scales", "shape_path.component_cells", "shape_path.mean"
MATERIALS = "material_path.components"
_MATERIAL_SCALES, _PIXELS, _MATERIAL_MEAN = (
    "material_path.component_scales",
    "material_path.component_pixels",
    "material_path.mean",
)
_LARGEST_BYTE, _FINE_STEPS = 127, 254
_FINE_COMPONENTS = 8
"""The first, which hold most of how scans differ, have two bytes."""
KEPT_SHARE = 0.8
"""Of the components of scans, beside a shape path."""
_MOST_NUMBERS = 50_000_000
"""Of restored components of shape: a small file cannot ask for more memory than that."""


def compact_components(state: dict[str, Any]) -> None:
    """Put bytes in the place of the components of a network's state."""
    scans, shapes = state.get(SCANS), state.get(SHAPES)
    if isinstance(scans, torch.Tensor) and scans.numel() > 0:
        state |= _scans_as_bytes(scans if shapes is None else scans[: round(KEPT_SHARE * len(scans))])
    weights = state.get(_PIXEL_WEIGHTS)
    if isinstance(weights, torch.Tensor) and bool((weights == 1).all()):
        del state[_PIXEL_WEIGHTS]
    if isinstance(shapes, torch.Tensor):
        cells = shapes.any(dim=0).nonzero()[:, 0]
        scales = _scales(shapes[:, None])[:, 0]
        state[SHAPES] = torch.round(shapes[:, cells] / scales[:, None]).to(torch.int8)
        state |= {_SHAPE_SCALES: scales, _CELLS: cells.to(torch.int32)}
    materials, mean = state.get(MATERIALS), state.get(_MATERIAL_MEAN)
    if isinstance(materials, torch.Tensor) and isinstance(mean, torch.Tensor):
        state |= _materials_as_bytes(materials, mean)


def restore_components(state: dict[str, Any]) -> None:
    """Components of a compact file in single precision; anything else is left for whoever checks names and shapes."""
    coarse, scales, fine, deviations = (state.get(name) for name in (SCANS, _SCALES, _FINE, _DEVIATIONS))
    if (
        isinstance(coarse, torch.Tensor)
        and isinstance(scales, torch.Tensor)
        and isinstance(fine, torch.Tensor)
        and isinstance(deviations, torch.Tensor)
        and coarse.ndim == fine.ndim == 4
        and scales.shape == coarse.shape[:2]
        and fine.shape[1:] == coarse.shape[1:]
        and deviations.ndim == 1
        and len(fine) <= len(coarse) <= len(deviations) <= round(len(coarse) / KEPT_SHARE)
    ):
        kept = coarse.float()
        kept[: len(fine)] += fine.float() / _FINE_STEPS
        components = kept.new_zeros(len(deviations), *kept.shape[1:])
        components[: len(kept)] = kept * scales[:, :, None, None]
        state[SCANS] = components
        del state[_SCALES], state[_FINE]
    scans = state.get(SCANS)
    if _BASIS in state and isinstance(scans, torch.Tensor) and scans.ndim == 4:
        state.setdefault(_PIXEL_WEIGHTS, torch.ones(scans.shape[1:]))
    shapes, scales, cells, mean = (state.get(name) for name in (SHAPES, _SHAPE_SCALES, _CELLS, _SHAPE_MEAN))
    if (
        isinstance(shapes, torch.Tensor)
        and isinstance(scales, torch.Tensor)
        and isinstance(cells, torch.Tensor)
        and isinstance(mean, torch.Tensor)
        and shapes.ndim == 2
        and scales.shape == shapes.shape[:1]
        and cells.shape == shapes.shape[1:]
        and mean.ndim == 1
        and len(shapes) * len(mean) <= _MOST_NUMBERS
        and bool(((cells >= 0) & (cells < len(mean))).all())
    ):
        whole = torch.zeros(len(shapes), len(mean))
        whole[:, cells.long()] = shapes.float() * scales[:, None]
        state[SHAPES] = whole
        del state[_SHAPE_SCALES], state[_CELLS]
    _restore_materials(state)


def restore_components_below(state: dict[str, Any], prefix: str) -> None:
    """:func:`restore_components` of a network that is part of another, in whose state its names begin with ``prefix``.

    Raises:
        InputError: components are bytes, and what these are worth is not there: whoever has taken the tensors that a
            network has names for, and left the others, would load something else without a word.
    """
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    given = set(own)
    restore_components(own)
    for name in (SCANS, SHAPES, MATERIALS):
        if isinstance(own.get(name), torch.Tensor) and not own[name].is_floating_point():
            raise InputError(
                f"{prefix}{name}: expected numbers, or bytes with their scales, got bytes alone; read released weights "
                "with dxa_monai.networks.load_network, or with monai.bundle.load without key_in_ckpt."
            )
    for name in given - set(own):
        del state[prefix + name]
    state.update({prefix + name: value for name, value in own.items()})


def _restore_materials(state: dict[str, Any]) -> None:
    materials, scales, pixels, mean, image = (
        state.get(name) for name in (MATERIALS, _MATERIAL_SCALES, _PIXELS, _MATERIAL_MEAN, "mean_image")
    )
    if (
        isinstance(materials, torch.Tensor)
        and isinstance(scales, torch.Tensor)
        and isinstance(pixels, torch.Tensor)
        and isinstance(mean, torch.Tensor)
        and isinstance(image, torch.Tensor)
        and materials.ndim == image.ndim == 3
        and scales.shape == materials.shape[:2]
        and pixels.shape == materials.shape[2:]
        and mean.shape == materials.shape[1:]
        and len(materials) * image[0].numel() * len(mean) <= _MOST_NUMBERS
        and bool(((pixels >= 0) & (pixels < image[0].numel())).all())
    ):
        for name, values in ((MATERIALS, materials.float() * scales[:, :, None]), (_MATERIAL_MEAN, mean.float())):
            whole = torch.zeros(*values.shape[:-1], image[0].numel())
            whole[..., pixels.long()] = values
            state[name] = whole.unflatten(-1, image.shape[1:])
        del state[_MATERIAL_SCALES], state[_PIXELS]


def _materials_as_bytes(materials: torch.Tensor, mean: torch.Tensor) -> dict[str, torch.Tensor]:
    """Components ``(K, 3, H, W)`` as bytes and their mean ``(3, H, W)``, of the pixels that any body reaches."""
    flat, mean = materials.flatten(2), mean.flatten(1)
    pixels = (flat.any(dim=(0, 1)) | mean.any(dim=0)).nonzero()[:, 0]
    scales = _scales(flat)
    return {
        MATERIALS: torch.round(flat[:, :, pixels] / scales[:, :, None]).to(torch.int8),
        _MATERIAL_SCALES: scales,
        _PIXELS: pixels.to(torch.int32),
        _MATERIAL_MEAN: mean[:, pixels].half(),
    }


def _scans_as_bytes(components: torch.Tensor) -> dict[str, torch.Tensor]:
    """Components ``(K, D, H, W)`` as bytes, what a byte of each direction is worth, a second byte of the first ones."""
    scales = _scales(components.flatten(2))
    coarse = torch.round(components / scales[:, :, None, None])
    rest = (components / scales[:, :, None, None] - coarse)[:_FINE_COMPONENTS]
    fine = torch.round(rest * _FINE_STEPS)
    return {SCANS: coarse.to(torch.int8), _SCALES: scales, _FINE: fine.to(torch.int8)}


def _scales(components: torch.Tensor) -> torch.Tensor:
    """What a byte is worth, ``(K, D)``, of components ``(K, D, N)``."""
    return components.abs().amax(dim=2).clamp_min(torch.finfo(torch.float32).tiny) / _LARGEST_BYTE
