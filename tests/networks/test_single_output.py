from __future__ import annotations

from collections.abc import Callable

import torch

from dxa_monai.networks.single_output import Reconstruction
from dxa_monai.networks.vae import DXAVAE


def test_it_is_the_vaes_reconstruction_also_in_torchscript(make_vae: Callable[..., DXAVAE]) -> None:
    vae = make_vae()
    torch.nn.init.normal_(vae.generator.to_scan.weight)
    network = Reconstruction(vae).eval()
    scans = torch.rand(2, 6, 60, 50)
    assert torch.equal(network(scans), vae.reconstruct(scans))
    torch.testing.assert_close(torch.jit.script(network)(scans), network(scans))
