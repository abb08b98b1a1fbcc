"""Scans small enough for a full VGG in a test."""

from __future__ import annotations

import pytest
import torch

from dxa_monai.losses.vgg import VGGFeatures

ROWS, COLUMNS = 40, 32


def body(rows: int = ROWS, columns: int = COLUMNS) -> torch.Tensor:
    """Two elliptic bodies, ``(2, 6, rows, columns)``: attenuation 0..0.25 with R 1.3, wheel segments on top."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    widths = torch.tensor([0.5, 0.7])[:, None, None]
    thickness = 0.25 * (1 - (y / 0.8) ** 2 - (x / widths) ** 2).clamp(min=0).sqrt()
    bone = torch.where((x.abs() < 0.1) & (y.abs() < 0.5), 0.05, 0.0)
    high, low = thickness + bone, 1.3 * thickness + 2.5 * bone
    return torch.stack([high, low, high + 0.05, low + 0.125, high + 0.1, low + 0.13], dim=1)


@pytest.fixture
def scans() -> torch.Tensor:
    """``(2, 6, 40, 32)``, float32, without noise."""
    return body()


@pytest.fixture(scope="session")
def full_vgg() -> VGGFeatures:
    """All reference layers."""
    return VGGFeatures()


@pytest.fixture(scope="session")
def short_vgg() -> VGGFeatures:
    """Layers up to relu2_2."""
    return VGGFeatures(cutoff="relu2_2")
