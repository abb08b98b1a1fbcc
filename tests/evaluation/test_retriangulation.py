from __future__ import annotations

import numpy as np
import pytest
import torch

from dxa_monai.evaluation.retriangulation import (
    ANOTHER_SEED,
    clustered,
    reordered,
    subdivided,
    topology_agreement,
)
from dxa_monai.mesh.checks import checked
from dxa_monai.mesh.io import BodyMesh
from dxa_monai.mesh.points import centred, point_cloud
from dxa_monai.networks.pseudo_dxa import PseudoDXA
from dxa_monai.phantom.body.model import BodyModel

BODIES_APART_DB = 8.0
"""A body 5 % larger has to be this much farther away than any other topology of the same body. A network trained in
seconds reaches 9.7 to 11 dB, depending on the processor."""


@pytest.fixture(scope="module")
def body() -> BodyMesh:
    model = BodyModel()
    return BodyMesh(model.t_pose(model.solve("M", 40, 178.0, 80.0)).vertices_m, model.faces, "man")


def test_subdivision_keeps_the_surface(body: BodyMesh) -> None:
    fine = subdivided(body, 100_000)
    assert len(fine.faces) == 4 * len(body.faces) >= 100_000
    assert fine.face_areas_m2.sum() == pytest.approx(body.face_areas_m2.sum())
    np.testing.assert_allclose(fine.bounds_m, body.bounds_m)
    # Euler: V - E + F of the body model's surface is what it was
    assert _euler(fine) == _euler(body)
    checked(fine)


def test_clustering_gives_a_coarse_body_that_is_still_one(body: BodyMesh) -> None:
    coarse = clustered(body, 5000)
    assert 5000 <= len(coarse.faces) < 6000
    assert coarse.face_areas_m2.sum() == pytest.approx(body.face_areas_m2.sum(), rel=0.05)
    np.testing.assert_allclose(coarse.bounds_m, body.bounds_m, atol=0.03)
    checked(coarse)


def test_reordering_keeps_every_triangle(body: BodyMesh) -> None:
    other = reordered(body, np.random.default_rng(0))
    assert not np.array_equal(other.faces, body.faces)
    sums = [np.sort(mesh.vertices_m[mesh.faces].sum(axis=(1, 2))) for mesh in (body, other)]
    np.testing.assert_allclose(*sums, atol=1e-12)
    assert np.sort(other.face_areas_m2) == pytest.approx(np.sort(body.face_areas_m2))
    checked(other)


@pytest.fixture(scope="module")
def network(body: BodyMesh) -> PseudoDXA:
    """Trained in seconds to make brighter scans of larger bodies."""
    torch.manual_seed(0)
    network = PseudoDXA(
        {
            "kind": "pointnet2",
            "levels": [{"centres": 64, "radii_m": [0.2], "neighbours": [16], "channels": [[16, 32]]}],
            "global_channels": [64],
            "head_channels": [32],
        },
        latent_channels=4,
        generator_channels=(8, 8, 4),
        generator_kernel_sizes=(3,),
        generator_dense_shape=(38, 28),
    )
    network.set_normalisation(torch.full_like(network.mean_image, 0.4), 0.05)
    network.train()
    scales = torch.linspace(0.85, 1.15, 4)
    generator = torch.Generator().manual_seed(0)
    clouds = [
        point_cloud(centred(BodyMesh(body.vertices_m * float(scale), body.faces)), 2048, generator) for scale in scales
    ]
    wanted = (0.4 + (scales - 1.0))[:, None, None, None].expand(-1, *network.mean_image.shape)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(50):
        loss = (network(torch.stack(clouds)).reconstruction - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss) < 0.03
    return network.eval()


def test_another_topology_gives_the_same_scan(body: BodyMesh, network: PseudoDXA) -> None:
    larger = BodyMesh(body.vertices_m * 1.05, body.faces, "larger")
    ways = {
        "reordered": lambda mesh: reordered(mesh, np.random.default_rng(1)),
        "fine": subdivided,
        "coarse": clustered,
        "another body": lambda mesh: larger,
    }
    psnr_db = topology_agreement(network, [body], 2048, ways).set_index("topology")["psnr_db"]
    for way in (ANOTHER_SEED, "reordered", "fine", "coarse"):
        assert psnr_db[way] > psnr_db["another body"] + BODIES_APART_DB
    # the same pieces of the surface, in another order
    assert min(psnr_db[ANOTHER_SEED], psnr_db["reordered"]) > psnr_db["coarse"] + BODIES_APART_DB


def _euler(mesh: BodyMesh) -> int:
    sides = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), axis=1)
    return len(np.unique(mesh.faces)) - len(np.unique(sides, axis=0)) + len(mesh.faces)
